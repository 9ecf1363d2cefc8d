//! What `forebay-testbed setup` does: says what is missing and why, then installs it or says how.

use std::process::ExitCode;

use crate::accounts;
use crate::packages::{self, Package, Server};

/// Everything that tests start.
const SERVERS: [Server; 9] = [
    Server::Postgres,
    Server::OtherPostgres,
    Server::Munge,
    Server::Slurm,
    Server::SlurmAccounting,
    Server::SlurmRest,
    Server::Faketime,
    Server::Node,
    Server::Chromium,
];
/// Test accounts made beforehand, so that a full disk or a directory service shows here.
const ACCOUNTS: u32 = 4;

/// Installs what is missing and makes the test accounts as root; else prints the line to type and
/// fails if there is one. What it says goes to `printer`, a line at a time.
pub async fn run(printer: &mut (dyn FnMut(&str) + Send)) -> ExitCode {
    let missing = packages::missing(&SERVERS);
    for line in explain(&missing) {
        printer(&line);
    }
    if !rustix::process::geteuid().is_root() {
        if missing.is_empty() {
            return match other_postgres(printer).await {
                Ok(()) => ExitCode::SUCCESS,
                Err(sentence) => {
                    printer(&sentence);
                    ExitCode::FAILURE
                }
            };
        }
        printer(&packages::sentence(&missing));
        return ExitCode::FAILURE;
    }
    if let Err(error) = packages::install(&missing, printer).await {
        print_chain(&error, printer);
        printer(&packages::sentence(&missing));
        return ExitCode::FAILURE;
    }
    let left = packages::missing(&SERVERS);
    if !left.is_empty() {
        printer(&format!(
            "installed, and still: {}",
            packages::sentence(&left)
        ));
        return ExitCode::FAILURE;
    }
    if let Err(sentence) = other_postgres(printer).await {
        printer(&sentence);
        return ExitCode::FAILURE;
    }
    match accounts::test_accounts(ACCOUNTS) {
        Ok(accounts) => {
            let names: Vec<_> = accounts
                .iter()
                .map(|account| account.name.as_str())
                .collect();
            printer(&format!("test accounts: {}", names.join(" ")));
            ExitCode::SUCCESS
        }
        Err(error) => {
            print_chain(&error, printer);
            ExitCode::FAILURE
        }
    }
}

/// Brings the other version of Postgres where it can be had. Needs no root.
async fn other_postgres(printer: &mut (dyn FnMut(&str) + Send)) -> Result<(), String> {
    use packages::other_postgres;
    let Some(line) = other_postgres::install_line().filter(|_| other_postgres::bin().is_none())
    else {
        return Ok(());
    };
    let Some((program, args)) = line.split_first() else {
        return Ok(());
    };
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let brought = packages::run(std::path::Path::new(program), &args, printer).await;
    brought.map_err(|error| error.to_string())?;
    other_postgres::settle().map_err(|error| format!("cannot keep it: {error}"))?;
    other_postgres::missing().map_or(Ok(()), Err)
}

/// One line for each package, with its reason.
fn explain(missing: &[Package]) -> Vec<String> {
    if missing.is_empty() {
        return vec!["nothing is missing".to_owned()];
    }
    let system = packages::system();
    let line = |package: &Package| {
        let name = if system == Some(packages::System::Dnf) {
            package.dnf
        } else {
            package.apt
        };
        format!("missing: {name:<24} {}", package.why)
    };
    missing.iter().map(line).collect()
}

fn print_chain(error: &dyn std::error::Error, printer: &mut (dyn FnMut(&str) + Send)) {
    printer(&error.to_string());
    let mut source = error.source();
    while let Some(cause) = source {
        printer(&format!("  because: {cause}"));
        source = cause.source();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_missing_package_has_its_reason() {
        assert_eq!(explain(&[]), ["nothing is missing"]);
        let lines = explain(packages::wanted(Server::SlurmRest));
        assert_eq!(lines.len(), 2);
        assert!(
            lines.iter().all(|line| line.starts_with("missing: slurm")),
            "{lines:?}"
        );
    }

    #[tokio::test]
    async fn where_everything_is_there_it_installs_nothing() {
        crate::need!(
            Root,
            Postgres,
            OtherPostgres,
            Slurm,
            SlurmAccounting,
            SlurmRest,
            Faketime,
            Node,
            Chromium
        );
        let mut lines = Vec::new();
        let code = run(&mut |line| lines.push(line.to_owned())).await;
        assert_eq!(code, ExitCode::SUCCESS);
        assert_eq!(
            lines,
            [
                "nothing is missing",
                "test accounts: fbtest1 fbtest2 fbtest3 fbtest4"
            ]
        );
    }
}
