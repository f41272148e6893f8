//! The critic: a network that predicts the discounted return, fitted by regression.

use crate::error::AgentError;
use crate::fused;
use crate::network::{Mlp, Network, Scratch};
use crate::samples::Samples;
use burn::tensor::Tensor;

/// Rows that are put through the network at once, so that its layers stay in the cache.
const ROWS: usize = 256;

/// A value function and its parameters.
#[derive(Clone, Debug)]
pub struct Critic {
    pub(crate) network: Mlp,
    pub(crate) params: Vec<f32>,
}

impl Critic {
    /// Writes `V(s)` for rows of normalised observations into `values`.
    pub fn values(&self, observations: &[f32], scratch: &mut Scratch, values: &mut [f32]) {
        let width = self.network.inputs();
        for (rows, values) in observations.chunks(ROWS * width).zip(values.chunks_mut(ROWS)) {
            values.copy_from_slice(self.network.forward_plain(&self.params, rows, scratch));
        }
    }
}

/// Mean squared error `mean (V(s) - G)^2` of the critic, `[1]`.
///
/// With a clip range the prediction may profit from moving at most that far from its old value: the
/// larger of the clipped and the unclipped error counts.
#[must_use]
pub fn value_loss(
    network: &Mlp,
    params: Tensor<1>,
    samples: &Samples,
    clip_range: Option<f64>,
) -> Tensor<1> {
    let values = network.forward(params, samples.observations.clone());
    let error = (values.clone() - samples.returns.clone()).square();
    let Some(range) = clip_range else {
        return error.mean();
    };
    let clipped = samples.values.clone() + (values - samples.values.clone()).clamp(-range, range);
    error.max_pair((clipped - samples.returns.clone()).square()).mean()
}

/// Value loss `[1]` and the gradient `[params]` of `coef` times it.
///
/// # Errors
/// When the loss does not depend on the parameters.
pub fn value_gradient(
    network: &Mlp,
    params: &Tensor<1>,
    samples: &Samples,
    clip_range: Option<f64>,
    coef: f64,
) -> Result<(Tensor<1>, Tensor<1>), AgentError> {
    if let Some(found) = fused::value_gradient(network, params, samples, clip_range, coef) {
        return Ok(found);
    }
    let leaf = params.clone().autodiff().require_grad();
    let loss = value_loss(network, leaf.clone(), samples, clip_range);
    Ok((loss.clone().inner(), gradient(&leaf, loss.mul_scalar(coef))?))
}

/// Gradient of a loss `[1]` with respect to a leaf.
///
/// # Errors
/// When the loss does not depend on the leaf.
pub fn gradient(leaf: &Tensor<1>, loss: Tensor<1>) -> Result<Tensor<1>, AgentError> {
    let mut gradients = loss.backward();
    leaf.grad_remove(&mut gradients)
        .ok_or_else(|| AgentError::Device("the loss does not depend on the parameters".into()))
}
