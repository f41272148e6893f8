//! What is done with flat vectors and columns: standardising a column, the gradient's norm, Adam.

use super::chunks::{Samples, sum};
use super::kernel::{self, AdamStep, Bounds};
use super::tensors::{
    Array, Expr, Handle, contiguous, flex_body, keep, numbers_of, slice_of, tensor_of,
};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, Flex, TensorMetadata, backend_extension};
use burn::tensor::Tensor;

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

/// The factor `[1]` that shortens a vector to `max_norm` where it is longer. The sum of its squares is the
/// last number of `report`. Where that is not finite the factor is NaN.
///
/// ```
/// use agents::ops::clip_scale;
/// use burn::tensor::{Device, Tensor};
///
/// // As of the gradient (3, -4).
/// let report = Tensor::<1>::from_floats([0.1, 25.0], &Device::flex()).into();
/// let scale = clip_scale(&report, 1.0).tensor::<1>();
/// assert!((scale.into_scalar::<f32>() - 0.2).abs() < 1e-6);
/// ```
#[must_use]
pub fn clip_scale(report: &Handle, max_norm: f64) -> Handle {
    Handle::of(<Dispatch as VectorOps>::clip_scale(report.read(), max_norm))
}

/// One step of Adam (Kingma and Ba 2015) against `scale [1]` times the gradient: the new parameters, first
/// moment `m` and second moment `v`, each `[params]`.
///
/// ```
/// use agents::ops::{AdamStep, Handle, adam};
/// use burn::tensor::{Device, Tensor};
///
/// let vector = |x: f32| Handle::from(Tensor::<1>::from_floats([x], &Device::flex()));
/// let step = AdamStep { betas: [0.9, 0.999], epsilon: 1e-8, rate: 0.1, bounds: None };
/// let vectors = [vector(1.0), vector(0.0), vector(0.0)];
/// let moved = adam(vectors, vector(2.0), &vector(0.5), step);
/// let [params, m, v] = moved.map(|x| x.tensor::<1>().into_scalar::<f32>());
/// assert!((m - 0.1).abs() < 1e-6 && (v - 0.001).abs() < 1e-6);
/// assert!((params - (1.0 - 0.1 * 0.1 / 0.001_f32.sqrt())).abs() < 1e-5);
/// ```
#[must_use]
pub fn adam(
    [params, m, v]: [Handle; 3],
    gradient: Handle,
    scale: &Handle,
    step: AdamStep,
) -> [Handle; 3] {
    let (params, m, v) = <Dispatch as VectorOps>::adam(
        params.take(),
        m.take(),
        v.take(),
        gradient.take(),
        scale.read(),
        step,
    );
    [params, m, v].map(Handle::of)
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

    /// See [`clip_scale`].
    fn clip_scale(report: &FloatTensor<Self>, max_norm: f64) -> FloatTensor<Self> {
        let length = report.shape()[0];
        let norm = Expr::<Self>(report.clone()).range(length - 1, length).sqrt();
        let scale = (norm.clone() + 1e-6).recip() * max_norm;
        let scale = Expr(Self::float_clamp_max(scale.0, 1.0_f32.into()));
        // The smaller of two numbers may hide a NaN; 0 times the norm brings it back.
        (scale + norm * 0.0).0
    }

    /// See [`adam`].
    fn adam(
        params: FloatTensor<Self>,
        m: FloatTensor<Self>,
        v: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        scale: &FloatTensor<Self>,
        step: AdamStep,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let AdamStep { betas: [beta_1, beta_2], epsilon, rate, bounds } = step;
        let gradient = Expr::<Self>(gradient) * Expr(scale.clone());
        let m = Expr::<Self>(m) * beta_1 + gradient.clone() * (1.0 - beta_1);
        let v = Expr::<Self>(v) * beta_2 + gradient.square() * (1.0 - beta_2);
        let change = m.clone() * (v.clone().sqrt() + epsilon).recip() * rate;
        let mut params = Expr::<Self>(params) - change;
        if let Some(Bounds { first, low, high }) = bounds {
            let length = params.0.shape()[0];
            let kept = params.clone().range(first, length).clamp(low, high);
            params = Expr(Self::float_cat(vec![params.range(0, first).0, kept.0], 0));
        }
        (params.0, m.0, v.0)
    }
}

#[cfg(feature = "ndarray")]
impl VectorOps for burn::backend::NdArray {}

#[cfg(feature = "wgpu")]
impl VectorOps for burn::backend::Cube {}

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

    fn clip_scale(report: &Array, max_norm: f64) -> Array {
        flex_body!("clip_scale");
        let report = numbers_of(report);
        let norm = f64::from(report[report.len() - 1]).sqrt();
        let scale = (max_norm / (norm + 1e-6)).min(1.0);
        // The smaller of two numbers would hide a NaN.
        let scale = if norm.is_finite() { scale } else { f64::NAN };
        tensor_of(vec![scale as f32], [1])
    }

    fn adam(
        params: Array,
        m: Array,
        v: Array,
        gradient: Array,
        scale: &Array,
        step: AdamStep,
    ) -> (Array, Array, Array) {
        flex_body!("adam");
        // In place, where nobody else holds the vectors.
        let [mut params, mut m, mut v] = [params, m, v].map(contiguous);
        let gradient = contiguous(gradient);
        let scale = numbers_of(scale)[0];
        kernel::adam(
            params.storage_mut(),
            m.storage_mut(),
            v.storage_mut(),
            slice_of(&gradient),
            scale,
            step,
        );
        keep(gradient);
        (params, m, v)
    }
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
