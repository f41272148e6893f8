//! The critic's loss, with its derivative.

use super::chunks::{Samples, sum};
use super::tensors::{Array, Expr, contiguous, flex_body, slice_of, tensor_of};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;

/// What [`value_loss`] gives.
#[derive(Clone, Debug)]
pub struct ValueLoss {
    /// Mean squared error, `[1]`.
    pub loss: Tensor<1>,
    /// Derivative of `coef` times the loss with respect to the values, `[batch, 1]`.
    pub derivative: Tensor<2>,
}

/// Mean squared error `mean (V(s) - G)^2` of a critic's values `[batch, 1]` against returns
/// `[batch, 1]`.
///
/// With a clip range a prediction may profit from moving at most that far from its old value
/// `[batch, 1]`: the larger of the clipped and the unclipped error counts.
///
/// ```
/// use agents::ops::value_loss;
/// use burn::tensor::{Device, Tensor};
///
/// let column = |numbers: [[f32; 1]; 2]| Tensor::<2>::from_floats(numbers, &Device::flex());
/// let (values, returns) = (column([[1.0], [1.0]]), column([[0.0], [3.0]]));
/// let loss = value_loss(values.clone(), &returns, &values, None, 0.5);
/// assert_eq!(loss.loss.into_scalar::<f32>(), 2.5);
/// // Of half the loss by the values: (V - G) / 2.
/// assert_eq!(loss.derivative.try_into_vec_as::<f32>().unwrap(), [0.5, -1.0]);
/// ```
#[must_use]
pub fn value_loss(
    values: Tensor<2>,
    returns: &Tensor<2>,
    old_values: &Tensor<2>,
    clip_range: Option<f64>,
    coef: f64,
) -> ValueLoss {
    let (loss, derivative) = <Dispatch as ValueOps>::value_loss(
        values.into_dispatch(),
        returns.clone().into_dispatch(),
        old_values.clone().into_dispatch(),
        clip_range,
        coef,
    );
    ValueLoss { loss: Tensor::from_dispatch(loss), derivative: Tensor::from_dispatch(derivative) }
}

/// The loss of a value function. The default body serves every backend.
#[backend_extension(Flex, NdArray: cfg(feature = "ndarray"), Cube: cfg(feature = "wgpu"))]
pub trait ValueOps: Backend {
    /// See [`value_loss`].
    fn value_loss(
        values: FloatTensor<Self>,
        returns: FloatTensor<Self>,
        old_values: FloatTensor<Self>,
        clip_range: Option<f64>,
        coef: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let (values, returns) = (Expr::<Self>(values), Expr::<Self>(returns));
        let old_values = Expr::<Self>(old_values);
        let [size, _] = values.shape();
        let error = values.clone() - returns.clone();
        let scale = 2.0 * coef / size as f64;
        let Some(range) = clip_range else {
            return (error.clone().square().mean().0, (error * scale).0);
        };
        let moved = values - old_values.clone();
        let kept = moved.clone().clamp(-range, range);
        let clipped = old_values + kept.clone() - returns;
        // The clipped error counts where it is larger, and has a slope where nothing was clipped.
        let (square, clipped_square) = (error.clone().square(), clipped.clone().square());
        let counts = square.clone().below(clipped_square.clone());
        let is_clipped = kept.abs().below(moved.abs());
        let slope = error.replaced(counts.clone(), clipped.erased(is_clipped));
        (square.replaced(counts, clipped_square).mean().0, (slope * scale).0)
    }
}

#[cfg(feature = "ndarray")]
impl ValueOps for burn::backend::NdArray {}

#[cfg(feature = "wgpu")]
impl ValueOps for burn::backend::Cube {}

impl ValueOps for Flex {
    fn value_loss(
        values: Array,
        returns: Array,
        old_values: Array,
        clip_range: Option<f64>,
        coef: f64,
    ) -> (Array, Array) {
        flex_body!("value_loss");
        let [values, returns, old_values] = [values, returns, old_values].map(contiguous);
        let [values, returns, old_values] = [&values, &returns, &old_values].map(slice_of);
        let size = values.len();
        let mut derivative = vec![0.0; size];
        let total = total(values, [returns, old_values], clip_range, coef, size, &mut derivative);
        (tensor_of(vec![mean(total, size)], [1]), tensor_of(derivative, [size, 1]))
    }
}

/// The sum of the squared errors of `values` against returns, with the old values, on plain slices; writes the loss's
/// derivative. The loss is a mean over `of` samples, of which these are some.
pub(super) fn total(
    values: &[f32],
    [returns, old_values]: [&[f32]; 2],
    clip_range: Option<f64>,
    coef: f64,
    of: usize,
    derivative: &mut [f32],
) -> f64 {
    let size = values.len();
    let scale = (2.0 * coef / of as f64) as f32;
    let mut total = [0.0];
    let read = [(values, 1), (returns, 1), (old_values, 1)];
    sum(Samples::new(size, 1, read, [(derivative, 1)]), &mut total, &|chunk, total| {
        let [(values, _), (returns, _), (old_values, _)] = chunk.read;
        let [(derivative, _)] = chunk.written;
        for (i, derivative) in derivative.iter_mut().enumerate() {
            let mut error = values[i] - returns[i];
            let mut slope = error;
            if let Some(range) = clip_range {
                let moved = values[i] - old_values[i];
                let kept = moved.clamp(-range as f32, range as f32);
                let clipped = old_values[i] + kept - returns[i];
                if clipped * clipped > error * error {
                    error = clipped;
                    slope = if kept == moved { clipped } else { 0.0 };
                }
            }
            total[0] += f64::from(error * error);
            *derivative = scale * slope;
        }
    });
    total[0]
}

/// The loss, from the sum over all `of` samples.
pub(super) fn mean(total: f64, of: usize) -> f32 {
    (total / of as f64) as f32
}
