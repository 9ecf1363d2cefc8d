//! The `forebay` command.

fn main() -> std::process::ExitCode {
    forebay::main()
}
