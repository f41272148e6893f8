//! Backburn's trainer with the built-in environments.

use std::process::ExitCode;

fn main() -> ExitCode {
    trainer::main(envs::Environments::default())
}
