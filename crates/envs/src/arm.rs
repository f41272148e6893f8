//! Arms from URDF files.

pub mod drawing;
pub mod geometry;
pub mod robot;
mod urdf;

pub use robot::Robot;
pub use urdf::UrdfError;
