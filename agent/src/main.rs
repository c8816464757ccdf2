//! The `ops-agent` command.

fn main() -> std::process::ExitCode {
    ops_agent::cli::main()
}
