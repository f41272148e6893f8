//! What is done with flat vectors and columns: gathering rows, standardising a column, the gradient's
//! norm, Adam.

use super::chunks::{Samples, sum};
use super::kernel::{self, AdamStep, Bounds};
use super::tensors::{Array, Expr, contiguous, flex_body, keep, slice_of, tensor_of};
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, Cube, Dispatch, Flex, NdArray, TensorMetadata, backend_extension};
use burn::tensor::{Int, Tensor};

/// Rows of a matrix `[rows, columns]` by their indices `[n]`: `[n, columns]`.
///
/// ```
/// use agents::ops::take_rows;
/// use burn::tensor::{Device, Int, Tensor};
///
/// let device = Device::flex();
/// let matrix = Tensor::from_floats([[1.0, 2.0], [3.0, 4.0]], &device);
/// let rows = take_rows(&matrix, &Tensor::<1, Int>::from_ints([1, 1, 0], &device));
/// assert_eq!(rows.try_into_vec_as::<f32>().unwrap(), [3.0, 4.0, 3.0, 4.0, 1.0, 2.0]);
/// ```
#[must_use]
pub fn take_rows(matrix: &Tensor<2>, indices: &Tensor<1, Int>) -> Tensor<2> {
    Tensor::from_dispatch(<Dispatch as VectorOps>::take_rows(
        matrix.clone().into_dispatch(),
        indices.clone().into_dispatch(),
    ))
}

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

/// The root of a sum of squares `[1]`, and the factor `[1]` that shortens a vector of this length to
/// `max_norm` where it is longer; both are NaN where the sum is.
///
/// ```
/// use agents::ops::{norm_and_scale, sum_of_squares};
/// use burn::tensor::{Device, Tensor};
///
/// let gradient = Tensor::from_floats([3.0, -4.0], &Device::flex());
/// let (norm, scale) = norm_and_scale(sum_of_squares(&gradient), 1.0);
/// assert_eq!(norm.into_scalar::<f32>(), 5.0);
/// assert!((scale.into_scalar::<f32>() - 0.2).abs() < 1e-6);
/// ```
#[must_use]
pub fn norm_and_scale(squares: Tensor<1>, max_norm: f64) -> (Tensor<1>, Tensor<1>) {
    let (norm, scale) = <Dispatch as VectorOps>::norm_and_scale(squares.into_dispatch(), max_norm);
    (Tensor::from_dispatch(norm), Tensor::from_dispatch(scale))
}

/// One step of Adam (Kingma and Ba 2015) against `scale [1]` times the gradient: the new parameters, first
/// moment `m` and second moment `v`, each `[params]`.
///
/// ```
/// use agents::ops::{AdamStep, adam};
/// use burn::tensor::{Device, Tensor};
///
/// let vector = |x: f32| Tensor::<1>::from_floats([x], &Device::flex());
/// let step = AdamStep { betas: [0.9, 0.999], epsilon: 1e-8, rate: 0.1, bounds: None };
/// let vectors = [vector(1.0), vector(0.0), vector(0.0)];
/// let [params, m, v] = adam(vectors, vector(2.0), vector(0.5), step).map(|x| x.into_scalar::<f32>());
/// assert!((m - 0.1).abs() < 1e-6 && (v - 0.001).abs() < 1e-6);
/// assert!((params - (1.0 - 0.1 * 0.1 / 0.001_f32.sqrt())).abs() < 1e-5);
/// ```
#[must_use]
pub fn adam(
    [params, m, v]: [Tensor<1>; 3],
    gradient: Tensor<1>,
    scale: Tensor<1>,
    step: AdamStep,
) -> [Tensor<1>; 3] {
    let (params, m, v) = <Dispatch as VectorOps>::adam(
        params.into_dispatch(),
        m.into_dispatch(),
        v.into_dispatch(),
        gradient.into_dispatch(),
        scale.into_dispatch(),
        step,
    );
    [params, m, v].map(Tensor::from_dispatch)
}

/// Operations on vectors and columns. The default bodies serve every backend.
#[backend_extension(Flex, NdArray, Cube)]
pub trait VectorOps: Backend {
    /// See [`take_rows`].
    fn take_rows(matrix: FloatTensor<Self>, indices: IntTensor<Self>) -> FloatTensor<Self> {
        Self::float_select(matrix, 0, indices)
    }

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

    /// See [`norm_and_scale`].
    fn norm_and_scale(
        squares: FloatTensor<Self>,
        max_norm: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let norm = Expr::<Self>(squares).sqrt();
        let scale = (norm.clone() + 1e-6).recip() * max_norm;
        let scale = Expr(Self::float_clamp_max(scale.0, 1.0_f32.into()));
        // The smaller of two numbers may hide a NaN; 0 times the norm brings it back.
        let scale = scale + norm.clone() * 0.0;
        (norm.0, scale.0)
    }

    /// See [`adam`].
    fn adam(
        params: FloatTensor<Self>,
        m: FloatTensor<Self>,
        v: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        step: AdamStep,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let AdamStep { betas: [beta_1, beta_2], epsilon, rate, bounds } = step;
        let gradient = Expr::<Self>(gradient) * Expr(scale);
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

impl VectorOps for NdArray {}

impl VectorOps for Cube {}

impl VectorOps for Flex {
    fn take_rows(matrix: Array, indices: IntTensor<Self>) -> Array {
        flex_body!("take_rows");
        let matrix = contiguous(matrix);
        let indices = contiguous(indices);
        let [count, columns] = [indices.shape()[0], matrix.shape()[1]];
        let numbers = slice_of(&matrix);
        // Which integers a tensor has is the device's choice.
        let rows = match (indices.as_slice::<i64>(), indices.as_slice::<i32>()) {
            (Some(indices), _) => rows_of(numbers, columns, indices.iter().map(|&i| i as usize)),
            (_, Some(indices)) => rows_of(numbers, columns, indices.iter().map(|&i| i as usize)),
            _ => unreachable!("indices are i32 or i64"),
        };
        tensor_of(rows, [count, columns])
    }

    fn standardized(column: Array) -> Array {
        flex_body!("standardized");
        let column = contiguous(column);
        let numbers = slice_of(&column);
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
        let mut scaled = vec![0.0; size];
        kernel::shift_and_scale(numbers, mean, scale, &mut scaled);
        tensor_of(scaled, [size, 1])
    }

    fn sum_of_squares(vector: Array) -> Array {
        flex_body!("sum_of_squares");
        let vector = contiguous(vector);
        tensor_of(vec![kernel::sum_of_squares(slice_of(&vector)) as f32], [1])
    }

    fn norm_and_scale(squares: Array, max_norm: f64) -> (Array, Array) {
        flex_body!("norm_and_scale");
        let norm = f64::from(slice_of(&squares)[0]).sqrt();
        let scale = (max_norm / (norm + 1e-6)).min(1.0);
        // The smaller of two numbers would hide a NaN.
        let scale = if norm.is_finite() { scale } else { f64::NAN };
        (tensor_of(vec![norm as f32], [1]), tensor_of(vec![scale as f32], [1]))
    }

    fn adam(
        params: Array,
        m: Array,
        v: Array,
        gradient: Array,
        scale: Array,
        step: AdamStep,
    ) -> (Array, Array, Array) {
        flex_body!("adam");
        // In place, where nobody else holds the vectors.
        let [mut params, mut m, mut v] = [params, m, v].map(contiguous);
        let gradient = contiguous(gradient);
        let scale = slice_of(&scale)[0];
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

/// Rows of `numbers [..][columns]` in the order of their indices.
fn rows_of(
    numbers: &[f32],
    columns: usize,
    indices: impl ExactSizeIterator<Item = usize>,
) -> Vec<f32> {
    if columns == 1 {
        return indices.map(|index| numbers[index]).collect();
    }
    let mut rows = Vec::with_capacity(indices.len() * columns);
    for index in indices {
        rows.extend_from_slice(&numbers[index * columns..][..columns]);
    }
    rows
}
