//! What is quoted for `sh`, read by the real `sh`.

use std::process::Command;

use forebay_slurm::script::quote_command;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_command_arrives_unchanged(
        arguments in proptest::collection::vec("[^\0]{0,30}|[\r\n#'\"$\\\\]{0,8}", 0..5),
    ) {
        let mut command = vec!["printf".to_owned(), "%s\\0".to_owned(), "first".to_owned()];
        command.extend(arguments.iter().cloned());
        let output = Command::new("/bin/sh").arg("-c").arg(quote_command(&command)).output().unwrap();
        let wanted: String = command[2..].iter().map(|word| word.clone() + "\0").collect();
        prop_assert_eq!(String::from_utf8(output.stdout).unwrap(), wanted);
    }
}
