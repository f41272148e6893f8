//! What is done with flat vectors and columns: standardising a column, the gradient's norm, Adam.

use super::chunks::{Samples, sum};
use super::kernel::{self, AdamStep, Bounds};
use super::tensors::{
    Array, Expr, Handle, contiguous, flex_body, host, numbers_mut, numbers_of, on_backend_of, room,
    slice_of, tensor_of,
};
use crate::error::AgentError;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, Flex, TensorMetadata, backend_extension};
use burn::tensor::{Slice, Tensor};

/// A column `[n, 1]` shifted to mean 0 and scaled to (sample) standard deviation 1; a single number
/// is left as it is.
///
/// ```
/// use agents::ops::standardized;
/// use burn::tensor::{Device, Tensor};
///
/// let column = standardized(Tensor::from_floats([[2.0], [4.0], [6.0]], &Device::flex()));
/// assert_eq!(column.try_into_vec_as::<f32>().unwrap(), [-1.0, 0.0, 1.0]);
/// ```
#[must_use]
pub fn standardized(column: Tensor<2>) -> Tensor<2> {
    if column.dims()[0] < 2 {
        return column;
    }
    Tensor::from_dispatch(<Dispatch as VectorOps>::standardized(column.into_dispatch()))
}

/// Sum of the squares of a vector's numbers, `[1]`.
#[must_use]
pub fn sum_of_squares(vector: &Tensor<1>) -> Tensor<1> {
    Tensor::from_dispatch(<Dispatch as VectorOps>::sum_of_squares(vector.clone().into_dispatch()))
}

/// Writes into `scale [1]` the factor that shortens two gradients, which are one vector together, to `max_norm` where that
/// is longer. Their reports end in the sum of a gradient's squares ([`super::PolicyGradients::at`]); of a gradient
/// alone the other report is [`Handle::empty`]. Where the sum is not finite the factor is NaN.
///
/// ```
/// use agents::ops::{Handle, clip_scale};
/// use burn::tensor::{Device, Tensor};
///
/// let vector = |numbers: &[f32]| Handle::from(Tensor::<1>::from_floats(numbers, &Device::flex()));
/// // Of lengths 3 and 4, together 5.
/// let (report, other, mut scale) = (vector(&[0.1, 9.0]), vector(&[16.0]), vector(&[0.0]));
/// clip_scale(&mut scale, [&report, &other], 1.0);
/// assert!((scale.tensor::<1>().into_scalar::<f32>() - 0.2).abs() < 1e-6);
/// ```
pub fn clip_scale(scale: &mut Handle, [report, other]: [&Handle; 2], max_norm: f64) {
    on_backend_of!(scale, B => {
        B::clip_scale(scale.write::<B>(), [report.read::<B>(), other.read::<B>()], max_norm);
    });
}

/// Writes `numbers` into a vector, from index `at` on.
pub(super) fn write(vector: &mut Handle, at: usize, numbers: &Handle) {
    on_backend_of!(vector, B => B::write(vector.write::<B>(), numbers.read::<B>(), at));
}

/// Copies the numbers of a vector from index `at` on to the host.
///
/// # Errors
/// When the device fails.
pub(crate) fn copy(vector: &Handle, at: usize, to: &mut [f32]) -> Result<(), AgentError> {
    on_backend_of!(vector, B => B::copy(vector.read::<B>(), at, to)).map_err(AgentError::Device)
}

/// One step of Adam (Kingma and Ba 2015) against `scale [1]` times the gradient, of the parameters, the first
/// moment `m` and the second moment `v`, each `[params]`.
///
/// ```
/// use agents::ops::{AdamStep, Handle, adam};
/// use burn::tensor::{Device, Tensor};
///
/// let vector = |x: f32| Handle::from(Tensor::<1>::from_floats([x], &Device::flex()));
/// let step = AdamStep { betas: [0.9, 0.999], epsilon: 1e-8, rate: 0.1, bounds: None };
/// let mut vectors = [vector(1.0), vector(0.0), vector(0.0)];
/// adam(vectors.each_mut(), &vector(2.0), &vector(0.5), step);
/// let [params, m, v] = vectors.map(|x| x.tensor::<1>().into_scalar::<f32>());
/// assert!((m - 0.1).abs() < 1e-6 && (v - 0.001).abs() < 1e-6);
/// assert!((params - (1.0 - 0.1 * 0.1 / 0.001_f32.sqrt())).abs() < 1e-5);
/// ```
pub fn adam([params, m, v]: [&mut Handle; 3], gradient: &Handle, scale: &Handle, step: AdamStep) {
    on_backend_of!(params, B => {
        let vectors = [params.write::<B>(), m.write::<B>(), v.write::<B>()];
        B::adam(vectors, gradient.read::<B>(), scale.read::<B>(), step);
    });
}

/// Operations on vectors and columns. The default bodies serve every backend.
#[backend_extension(Flex, NdArray: cfg(feature = "ndarray"), Cube: cfg(feature = "wgpu"))]
pub trait VectorOps: Backend {
    /// See [`standardized`].
    fn standardized(column: FloatTensor<Self>) -> FloatTensor<Self> {
        let column = Expr::<Self>(column);
        let [size, _] = column.shape();
        let centered = column.clone() - column.mean().reshape([1, 1]);
        let variance = centered.clone().square().sum() * (1.0 / (size - 1) as f64);
        (centered * (variance.sqrt() + 1e-8).recip().reshape([1, 1])).0
    }

    /// See [`sum_of_squares`].
    fn sum_of_squares(vector: FloatTensor<Self>) -> FloatTensor<Self> {
        Expr::<Self>(vector).square().sum().0
    }
}

/// Operations that write into vectors. The default bodies serve every backend.
pub trait StepOps: Backend {
    /// See [`clip_scale`].
    fn clip_scale(scale: &mut FloatTensor<Self>, reports: [&FloatTensor<Self>; 2], max_norm: f64) {
        let [squares, others] = reports.map(|report| {
            let length = report.shape()[0];
            Expr::<Self>(report.clone()).range(length - 1, length)
        });
        let norm = (squares + others).sqrt();
        let found = (norm.clone() + 1e-6).recip() * max_norm;
        let found = Expr(Self::float_clamp_max(found.0, 1.0_f32.into()));
        // The smaller of two numbers may hide a NaN; 0 times the norm brings it back.
        *scale = (found + norm * 0.0).0;
    }

    /// See [`write`].
    fn write(vector: &mut FloatTensor<Self>, numbers: &FloatTensor<Self>, at: usize) {
        let place = Slice::from(at..at + numbers.shape()[0]);
        let earlier = taken::<Self>(vector, numbers);
        *vector = Self::float_slice_assign(earlier, &[place], numbers.clone());
    }

    /// See [`copy`].
    fn copy(vector: &FloatTensor<Self>, at: usize, to: &mut [f32]) -> Result<(), String> {
        let part = Expr::<Self>(vector.clone()).range(at, at + to.len());
        to.copy_from_slice(&host::<Self>(part.0)?);
        Ok(())
    }

    /// See [`adam`].
    fn adam(
        vectors: [&mut FloatTensor<Self>; 3],
        gradient: &FloatTensor<Self>,
        scale: &FloatTensor<Self>,
        step: AdamStep,
    ) {
        let AdamStep { betas: [beta_1, beta_2], epsilon, rate, bounds } = step;
        let mut places = vectors;
        let [params, m, v] =
            places.each_mut().map(|place| Expr::<Self>(taken::<Self>(place, gradient)));
        let gradient = Expr::<Self>(gradient.clone()) * Expr(scale.clone());
        let m = m * beta_1 + gradient.clone() * (1.0 - beta_1);
        let v = v * beta_2 + gradient.square() * (1.0 - beta_2);
        let change = m.clone() * (v.clone().sqrt() + epsilon).recip() * rate;
        let mut params = params - change;
        if let Some(Bounds { first, low, high }) = bounds {
            let length = params.0.shape()[0];
            let kept = params.clone().range(first, length).clamp(low, high);
            params = Expr(Self::float_cat(vec![params.range(0, first).0, kept.0], 0));
        }
        for (place, vector) in places.into_iter().zip([params, m, v]) {
            *place = vector.0;
        }
    }
}

#[cfg(feature = "ndarray")]
impl VectorOps for burn::backend::NdArray {}

#[cfg(feature = "ndarray")]
impl StepOps for burn::backend::NdArray {}

#[cfg(feature = "wgpu")]
impl VectorOps for burn::backend::Cube {}

#[cfg(feature = "wgpu")]
impl StepOps for burn::backend::Cube {}

impl VectorOps for Flex {
    fn standardized(column: Array) -> Array {
        flex_body!("standardized");
        let column = contiguous(column);
        let mut scaled = Vec::new();
        standardize(slice_of(&column), &mut scaled);
        let size = scaled.len();
        tensor_of(scaled, [size, 1])
    }

    fn sum_of_squares(vector: Array) -> Array {
        flex_body!("sum_of_squares");
        let vector = contiguous(vector);
        tensor_of(vec![kernel::sum_of_squares(slice_of(&vector)) as f32], [1])
    }
}

impl StepOps for Flex {
    fn clip_scale(scale: &mut Array, reports: [&Array; 2], max_norm: f64) {
        flex_body!("clip_scale");
        let [squares, others] =
            reports.map(|report| numbers_of(report).last().copied().unwrap_or_default());
        let norm = f64::from(squares + others).sqrt();
        let found = (max_norm / (norm + 1e-6)).min(1.0);
        // The smaller of two numbers would hide a NaN.
        room(scale, 1)[0] = if norm.is_finite() { found as f32 } else { f32::NAN };
    }

    fn write(vector: &mut Array, numbers: &Array, at: usize) {
        flex_body!("write");
        let numbers = numbers_of(numbers);
        numbers_mut(vector)[at..at + numbers.len()].copy_from_slice(&numbers);
    }

    fn copy(vector: &Array, at: usize, to: &mut [f32]) -> Result<(), String> {
        flex_body!("copy");
        to.copy_from_slice(&numbers_of(vector)[at..at + to.len()]);
        Ok(())
    }

    fn adam(vectors: [&mut Array; 3], gradient: &Array, scale: &Array, step: AdamStep) {
        flex_body!("adam");
        let [params, m, v] = vectors.map(numbers_mut);
        kernel::adam(params, m, v, &numbers_of(gradient), numbers_of(scale)[0], step);
    }
}

/// The tensor in a place, which Burn's operations write over if nobody else holds it; another one lies there meanwhile.
fn taken<B: Backend>(place: &mut FloatTensor<B>, other: &FloatTensor<B>) -> FloatTensor<B> {
    std::mem::replace(place, other.clone())
}

/// Writes a column into `scaled`, shifted to mean 0 and scaled to deviation 1.
pub(super) fn standardize(numbers: &[f32], scaled: &mut Vec<f32>) {
    let size = numbers.len();
    let squares_around = |mean: f64| {
        let mut total = [0.0; 2];
        sum(Samples::new(size, 1, [(numbers, 1)], []), &mut total, &|chunk, total| {
            let [(numbers, _)] = chunk.read;
            total.copy_from_slice(&kernel::moments(numbers, mean));
        });
        total
    };
    let mean = squares_around(0.0)[0] / size as f64;
    let squares = squares_around(mean)[1];
    let scale = 1.0 / ((squares / (size - 1) as f64).sqrt() + 1e-8);
    scaled.resize(size, 0.0);
    kernel::shift_and_scale(numbers, mean, scale, scaled);
}
