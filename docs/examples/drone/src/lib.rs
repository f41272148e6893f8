//! A drone in gusty wind, as an environment of Backburn's trainer.

mod drone;

pub use drone::{Drone, DroneParameters};

use envs::{Entry, Environments};

/// Every environment of these programs: the built-in ones, and `drone`.
#[must_use]
pub fn environments() -> Environments {
    let drone =
        Entry::with_parameters::<Drone>("drone", "fly to a waypoint in gusty wind and hold it");
    Environments::default().with(drone)
}
