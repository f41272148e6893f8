//! Arms from URDF files.

mod constraints;
pub mod drawing;
mod dynamics;
pub mod geometry;
mod ldl;
mod mechanism;
pub mod robot;
mod sin_cos;
mod urdf;

pub use dynamics::Motors;
pub use mechanism::{Integrator, JointPhysics, Mechanism, Physics};
pub use robot::Robot;
pub use urdf::UrdfError;
