//! Backburn's trainer with one environment more.

use std::process::ExitCode;

fn main() -> ExitCode {
    trainer::main(drone::environments())
}
