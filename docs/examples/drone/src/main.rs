//! Backburn's trainer with one environment more: `drone`.

mod drone;

use drone::Drone;
use envs::{Entry, Registry};
use std::process::ExitCode;

fn main() -> ExitCode {
    let drone = Entry::of::<Drone>("drone", "fly to a waypoint in gusty wind and hold it");
    trainer::main(Registry::default().with(drone))
}
