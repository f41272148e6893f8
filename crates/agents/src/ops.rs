//! Everything that a Burn backend may do in its own way.
//!
//! Each operation is a backend extension: a default body of tensor operations, which serves every
//! backend, and for Burn's CPU backend `flex` loops over plain slices. Which of them runs is decided by
//! the tensors' type. A tensor's numbers are `f32`.
//!
//! An algorithm's minibatch is a gradient ([`PolicyGradients`], [`ValueGradients`]), which is gathering,
//! [`forward`], a loss ([`surrogate_loss`], [`value_loss`]) that gives its derivative with respect to the
//! outputs, and [`backward`]; then [`clip_scale`], [`adam`]. A product with the Fisher matrix is one operation, too
//! ([`Fisher`]). Losses carry their derivatives in closed form because recording them took too long; autodiff judges
//! them in the tests (see `docs/architecture.md`).

#![allow(deprecated)] // `ndarray` is kept because users know it.

pub mod chunks;
mod fisher;
mod gradient;
pub mod kernel;
mod lanes;
pub(crate) mod network;
mod reports;
mod spare;
mod surrogate;
mod tensors;
mod value;
mod vector;

pub use fisher::Fisher;
pub use gradient::{PolicyGradients, ValueGradients};
pub use kernel::{AdamStep, Bounds};
pub use network::{backward, forward, jvp};
pub use reports::Reports;
pub use surrogate::{Family, LossTerms, Surrogate, SurrogateLoss, surrogate_loss};
pub use tensors::Handle;
pub use value::{ValueLoss, value_loss};
pub(crate) use vector::copy;
pub use vector::{adam, clip_scale, standardized, sum_of_squares};

#[cfg(test)]
pub(crate) use tensors::ran;
