//! Everything that a Burn backend may do in its own way.
//!
//! Each operation is a backend extension: a default body of tensor operations, which serves every
//! backend, and for Burn's CPU backend `flex` loops over plain slices. Which of them runs is decided by
//! the tensors' type. A tensor's numbers are `f32`.
//!
//! An algorithm's minibatch is: [`take_rows`], [`forward`], a loss ([`surrogate_loss`],
//! [`value_loss`]) that gives its derivative with respect to the outputs, [`backward`],
//! [`sum_of_squares`], [`norm_and_scale`], [`adam`]. Losses carry their derivatives in closed form because recording them
//! took too long; autodiff judges them in the tests (see `docs/architecture.md`).

#![allow(deprecated)] // `ndarray` is kept because users know it.

pub(crate) mod kernel;
mod network;
mod surrogate;
mod value;
mod vector;

pub use network::{backward, forward, jvp};
pub use surrogate::{Family, LossTerms, Surrogate, SurrogateLoss, surrogate_loss};
pub use value::{ValueLoss, value_loss};
pub use vector::{AdamStep, Bounds, adam, norm_and_scale, standardized, sum_of_squares, take_rows};

use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Flex, TensorMetadata};
use burn::tensor::{Shape, Slice, TensorData};
use std::ops::{Add, Mul, Neg, Sub};

/// A tensor on `flex`.
type Array = FloatTensor<Flex>;

/// A tensor's numbers in row-major order.
///
/// # Panics
/// When they are no `f32`, which every tensor of this crate is.
fn slice_of(tensor: &Array) -> &[f32] {
    let Some(numbers) = tensor.as_slice() else {
        unreachable!("a contiguous tensor of f32 is expected")
    };
    numbers
}

/// The tensor in row-major order; a copy only where it is not yet.
fn contiguous(tensor: Array) -> Array {
    if tensor.is_contiguous() { tensor } else { tensor.to_contiguous() }
}

fn tensor_of<const D: usize>(numbers: Vec<f32>, shape: [usize; D]) -> Array {
    Flex::float_from_data(TensorData::new(numbers, shape), &Default::default())
}

/// A tensor of any backend with the signs of arithmetic, so that default bodies read like formulas.
/// A dimension of size 1 stands for as many as the other side has.
struct Expr<B: Backend>(FloatTensor<B>);

impl<B: Backend> Clone for Expr<B> {
    fn clone(&self) -> Self {
        Expr(self.0.clone())
    }
}

impl<B: Backend> Add for Expr<B> {
    type Output = Expr<B>;
    fn add(self, other: Expr<B>) -> Expr<B> {
        Expr(B::float_add(self.0, other.0))
    }
}

impl<B: Backend> Sub for Expr<B> {
    type Output = Expr<B>;
    fn sub(self, other: Expr<B>) -> Expr<B> {
        Expr(B::float_sub(self.0, other.0))
    }
}

impl<B: Backend> Mul for Expr<B> {
    type Output = Expr<B>;
    fn mul(self, other: Expr<B>) -> Expr<B> {
        Expr(B::float_mul(self.0, other.0))
    }
}

impl<B: Backend> Mul<f64> for Expr<B> {
    type Output = Expr<B>;
    fn mul(self, factor: f64) -> Expr<B> {
        Expr(B::float_mul_scalar(self.0, factor.into()))
    }
}

impl<B: Backend> Add<f64> for Expr<B> {
    type Output = Expr<B>;
    fn add(self, number: f64) -> Expr<B> {
        Expr(B::float_add_scalar(self.0, number.into()))
    }
}

impl<B: Backend> Neg for Expr<B> {
    type Output = Expr<B>;
    fn neg(self) -> Expr<B> {
        Expr(B::float_neg(self.0))
    }
}

impl<B: Backend> Expr<B> {
    fn exp(self) -> Self {
        Expr(B::float_exp(self.0))
    }

    fn ln_1p(self) -> Self {
        Expr(B::float_log1p(self.0))
    }

    fn abs(self) -> Self {
        Expr(B::float_abs(self.0))
    }

    fn sqrt(self) -> Self {
        Expr(B::float_sqrt(self.0))
    }

    fn recip(self) -> Self {
        Expr(B::float_recip(self.0))
    }

    fn tanh(self) -> Self {
        Expr(B::float_tanh(self.0))
    }

    fn square(self) -> Self {
        self.clone() * self
    }

    fn clamp(self, low: f64, high: f64) -> Self {
        Expr(B::float_clamp(self.0, low.into(), high.into()))
    }

    /// Sum of all numbers, `[1]`.
    fn sum(self) -> Self {
        Expr(B::float_sum(self.0))
    }

    /// Mean of all numbers, `[1]`.
    fn mean(self) -> Self {
        Expr(B::float_mean(self.0))
    }

    /// Sum of each row, `[rows, 1]`.
    fn sum_of_rows(self) -> Self {
        Expr(B::float_sum_dim(self.0, 1))
    }

    /// Sum of each column, `[1, columns]`.
    fn sum_of_columns(self) -> Self {
        Expr(B::float_sum_dim(self.0, 0))
    }

    fn reshape<const D: usize>(self, shape: [usize; D]) -> Self {
        Expr(B::float_reshape(self.0, Shape::from(shape)))
    }

    /// Numbers `from..to` of a vector.
    fn range(self, from: usize, to: usize) -> Self {
        Expr(B::float_slice(self.0, &[Slice::from(from..to)]))
    }

    fn shape(&self) -> [usize; 2] {
        let shape = self.0.shape();
        [shape[0], shape[1]]
    }

    /// 1 where `self` is smaller than `other` of the same shape, 0 elsewhere.
    fn is_below(self, other: Expr<B>) -> Self {
        let dtype = self.0.dtype();
        let bool_dtype = burn::backend::get_device_settings::<B>(&self.0.device()).bool_dtype;
        let below = B::float_lower(self.0, other.0, bool_dtype);
        Expr(B::bool_into_float(below, dtype.into()))
    }
}

/// Which bodies for `flex` have run on this thread, by name: the tests notice when one does not.
#[cfg(test)]
pub(crate) mod ran {
    use std::cell::RefCell;
    use std::collections::BTreeSet;

    thread_local! {
        static NAMES: RefCell<BTreeSet<&'static str>> = const { RefCell::new(BTreeSet::new()) };
    }

    pub(crate) fn note(name: &'static str) {
        NAMES.with_borrow_mut(|names| names.insert(name));
    }

    pub(crate) fn take() -> BTreeSet<&'static str> {
        NAMES.take()
    }
}

/// Marks the body of an operation for `flex`; nothing outside of the tests.
macro_rules! flex_body {
    ($name:literal) => {
        #[cfg(test)]
        crate::ops::ran::note($name);
    };
}
use flex_body;
