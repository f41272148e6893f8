//! A drone in gusty wind, as an environment of Backburn's trainer.

mod drone;

pub use drone::{Drone, DroneParameters};

use envs::{Entry, Registry};

/// Every environment of these programs: the built-in ones, and `drone`.
#[must_use]
pub fn registry() -> Registry {
    let drone =
        Entry::with_parameters::<Drone>("drone", "fly to a waypoint in gusty wind and hold it");
    Registry::default().with(drone)
}
