#![doc = include_str!("../README.md")]
//! # Inside
//!
//! No tensor library in here: states are `f64`, observations `f32`, randomness an explicit stream.
//! [`Environment`] is one copy of a task, and its [`Spec`] says what it is. [`Environments`] finds an
//! environment by its name; an [`Entry`] with the parameters of a [`TaskConfig`] is a [`Task`]; and
//! [`VectorEnv`] is many copies of a task with automatic resets.

pub mod arm;
mod budget;
mod cartpole;
mod check;
mod cliff;
mod drawing;
mod environment;
mod environments;
mod gusty;
mod normalize;
mod parameters;
mod pendulum;
#[cfg(unix)]
mod process;
mod randomized;
mod reach;
mod rng;
mod space;
mod task;
mod vector;
mod wrapper;

pub use arm::{Arm, ArmParameters};
pub use budget::{Budget, BudgetParameters};
pub use cartpole::{CartPole, CartPoleParameters};
pub use check::{Effort, Finding, check};
pub use cliff::{Cliff, CliffParameters};
pub use drawing::{Body, Camera, Color, Drawing, Frame, Scene, Shape, Solid};
pub use environment::{Environment, Spec, StateError, Step};
pub use environments::{Entry, Environments};
pub use gusty::{Gusty, GustyParameters};
pub use normalize::{ObservationNormalizer, RewardNormalizer, RunningMeanStd};
pub use parameters::{ParameterError, Parametric};
pub use pendulum::{Pendulum, PendulumParameters};
#[cfg(unix)]
pub use process::ProcessParameters;
pub use reach::{Reach, ReachParameters};
pub use rng::{Rng, Stream, stream};
pub use space::{Action, Space};
pub use task::{ActionDelay, ObservationNoise, Task, TaskConfig};
pub use vector::{Episode, Transition, VectorEnv, VectorEnvState, VectorStateError};
