//! A minibatch as one operation: its samples are gathered and go through a network, a loss and back. The
//! bodies are made of the other operations and serve every backend; what is said once for all of them is
//! found once, which at this size of networks is a tenth of the time.

use super::network::NetworkOps;
use super::surrogate::{Family, LossTerms, SurrogateOps};
use super::value::ValueOps;
use super::vector::VectorOps;
use crate::minibatch::{Minibatch, Target};
use crate::network::Mlp;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{
    Cube, Dispatch, DispatchTensor, Flex, NdArray, TensorMetadata, backend_extension,
};
use burn::tensor::{Int, Tensor};

/// The gradient of a loss on a minibatch.
#[derive(Clone, Debug)]
pub struct Gradient {
    /// What the loss reports: of a policy `[5]` ([`crate::PolicyMetrics`]), of a critic the mean squared
    /// error `[1]`.
    pub metrics: Tensor<1>,
    /// The gradient itself, `[params]`.
    pub gradient: Tensor<1>,
    /// The sum of its squares, `[1]`.
    pub squares: Tensor<1>,
}

/// Gradient of a policy's loss on the samples with these indices `[n]`. `params` and `old_params`, those of the policy that
/// acted, are the network's and, behind them, the log standard deviations; with `standardize` the samples'
/// advantages are standardised first ([`super::standardized`]).
#[must_use]
pub fn policy_gradient(
    network: &Mlp,
    [params, old_params]: [&Tensor<1>; 2],
    samples: &Minibatch,
    indices: &Tensor<1, Int>,
    terms: LossTerms,
    standardize: bool,
) -> Gradient {
    let (metrics, gradient, squares) = <Dispatch as GradientOps>::policy_gradient(
        params.clone().into_dispatch(),
        old_params.clone().into_dispatch(),
        samples.observations.clone().into_dispatch(),
        samples.actions.clone().into_dispatch(),
        samples.log_probs.clone().into_dispatch(),
        samples.outputs.clone().into_dispatch(),
        samples.advantages.clone().into_dispatch(),
        indices.clone().into_dispatch(),
        network.clone(),
        terms,
        standardize,
    );
    Gradient::new(metrics, gradient, squares)
}

/// Gradient of a critic's loss ([`super::value_loss`]) on the samples with these indices `[n]`.
#[must_use]
pub fn value_gradient(
    network: &Mlp,
    params: &Tensor<1>,
    observations: &Tensor<2>,
    target: &Target,
    indices: &Tensor<1, Int>,
    clip_range: Option<f64>,
    coef: f64,
) -> Gradient {
    let (loss, gradient, squares) = <Dispatch as GradientOps>::value_gradient(
        params.clone().into_dispatch(),
        observations.clone().into_dispatch(),
        target.returns.clone().into_dispatch(),
        target.values.clone().into_dispatch(),
        indices.clone().into_dispatch(),
        network.clone(),
        clip_range,
        coef,
    );
    Gradient::new(loss, gradient, squares)
}

impl Gradient {
    fn new(metrics: DispatchTensor, gradient: DispatchTensor, squares: DispatchTensor) -> Gradient {
        let [metrics, gradient, squares] = [metrics, gradient, squares].map(Tensor::from_dispatch);
        Gradient { metrics, gradient, squares }
    }
}

/// Gradients of minibatches. The default bodies serve every backend.
#[backend_extension(Flex, NdArray, Cube)]
pub trait GradientOps: NetworkOps + SurrogateOps + ValueOps + VectorOps {
    /// See [`policy_gradient`].
    #[allow(clippy::too_many_arguments)]
    fn policy_gradient(
        params: FloatTensor<Self>,
        old_params: FloatTensor<Self>,
        observations: FloatTensor<Self>,
        actions: FloatTensor<Self>,
        log_probs: FloatTensor<Self>,
        old_outputs: FloatTensor<Self>,
        advantages: FloatTensor<Self>,
        indices: IntTensor<Self>,
        network: Mlp,
        terms: LossTerms,
        standardize: bool,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let columns = [observations, actions, log_probs, old_outputs, advantages];
        let [observations, actions, log_probs, old_outputs, mut advantages] =
            columns.map(|column| Self::take_rows(column, indices.clone()));
        if standardize && indices.shape()[0] > 1 {
            advantages = Self::standardized(advantages);
        }
        let (outputs, hidden) =
            Self::mlp_forward(observations.clone(), params.clone(), network.clone());
        let (metrics, derivative, log_std) = Self::surrogate_loss(
            outputs,
            params.clone(),
            old_params,
            old_outputs,
            actions,
            log_probs,
            advantages,
            terms,
        );
        let gradient = Self::mlp_backward(observations, params, hidden, derivative, network);
        let gradient = match terms.family {
            Family::Categorical => gradient,
            Family::Gaussian | Family::SquashedGaussian { .. } => {
                Self::float_cat(vec![gradient, log_std], 0)
            }
        };
        let squares = Self::sum_of_squares(gradient.clone());
        (metrics, gradient, squares)
    }

    /// See [`value_gradient`].
    #[allow(clippy::too_many_arguments)]
    fn value_gradient(
        params: FloatTensor<Self>,
        observations: FloatTensor<Self>,
        returns: FloatTensor<Self>,
        old_values: FloatTensor<Self>,
        indices: IntTensor<Self>,
        network: Mlp,
        clip_range: Option<f64>,
        coef: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let [observations, returns, old_values] = [observations, returns, old_values]
            .map(|column| Self::take_rows(column, indices.clone()));
        let (values, hidden) =
            Self::mlp_forward(observations.clone(), params.clone(), network.clone());
        let (loss, derivative) = Self::value_loss(values, returns, old_values, clip_range, coef);
        let gradient = Self::mlp_backward(observations, params, hidden, derivative, network);
        let squares = Self::sum_of_squares(gradient.clone());
        (loss, gradient, squares)
    }
}

impl GradientOps for Flex {}

impl GradientOps for NdArray {}

impl GradientOps for Cube {}
