//! Products with a policy's Fisher matrix: forward-mode derivative, the metric of the distribution, and back. That is
//! one operation, as a minibatch's gradient is.

use super::kernel;
use super::network::NetworkOps;
use super::surrogate::Family;
use super::tensors::{Array, Expr, Handle, flex_body, numbers_of, tensor_of};
use crate::network::Mlp;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;
use std::ops::Range;

/// The Fisher matrix `F = J' M J / N` of a policy's network on some of `N` samples, equal there to the Hessian of the
/// mean KL (Schulman et al. 2015, appendix C): `J` is the Jacobian of the network's outputs, `M` the metric of the
/// distribution. It is never formed.
#[derive(Clone, Debug)]
pub struct Fisher {
    network: Mlp,
    family: Family,
    /// Parameters, observations, results of the hidden layers, weights of the metric.
    parts: [Handle; 4],
}

impl Fisher {
    /// At `params [params]` for `observations [batch, in]`, of which [`super::forward`] gave `hidden`. The metric has
    /// these `weights`: of a categorical policy the probabilities `p [batch, out]`, with `M = diag(p) - p p'`; of a
    /// Gaussian the diagonal of `M`, `1 / sigma^2 [1, out]`.
    #[must_use]
    pub fn new(
        network: &Mlp,
        family: Family,
        params: &Tensor<1>,
        observations: &Tensor<2>,
        hidden: Tensor<1>,
        weights: Tensor<2>,
    ) -> Fisher {
        let parts =
            [params.clone().into(), observations.clone().into(), hidden.into(), weights.into()];
        Fisher { network: network.clone(), family, parts }
    }

    /// What these samples, of `of`, have in the product with a direction `[params]`, which is as long as the
    /// network's parameters.
    #[must_use]
    pub fn product(&self, direction: &Handle, of: usize) -> Handle {
        let Fisher { network, family, parts } = self;
        let [params, observations, hidden, weights] = parts.each_ref().map(Handle::dispatched);
        Handle::of(<Dispatch as FisherOps>::fisher_product(
            direction.dispatched(),
            params,
            observations,
            hidden,
            weights,
            network,
            *family,
            of,
        ))
    }
}

/// Products with a Fisher matrix. The default body serves every backend.
#[backend_extension(Flex, NdArray: cfg(feature = "ndarray"), Cube: cfg(feature = "wgpu"))]
pub trait FisherOps: NetworkOps {
    /// See [`Fisher::product`].
    #[allow(clippy::too_many_arguments)]
    fn fisher_product(
        direction: &FloatTensor<Self>,
        params: &FloatTensor<Self>,
        observations: &FloatTensor<Self>,
        hidden: &FloatTensor<Self>,
        weights: &FloatTensor<Self>,
        network: &Mlp,
        family: Family,
        of: usize,
    ) -> FloatTensor<Self> {
        let [direction, params, observations, hidden, weights] =
            [direction, params, observations, hidden, weights].map(Clone::clone);
        let change = Self::mlp_jvp(
            observations.clone(),
            params.clone(),
            hidden.clone(),
            direction,
            network.clone(),
        );
        let weights = Expr::<Self>(weights);
        let mut change = weights.clone() * Expr(change);
        if family == Family::Categorical {
            change = change.clone() - weights * change.sum_of_rows();
        }
        let change = Self::float_div_scalar(change.0, of.into());
        Self::mlp_backward(observations, params, hidden, change, network.clone())
    }
}

#[cfg(feature = "ndarray")]
impl FisherOps for burn::backend::NdArray {}

#[cfg(feature = "wgpu")]
impl FisherOps for burn::backend::Cube {}

impl FisherOps for Flex {
    fn fisher_product(
        direction: &Array,
        params: &Array,
        observations: &Array,
        hidden: &Array,
        weights: &Array,
        network: &Mlp,
        family: Family,
        of: usize,
    ) -> Array {
        flex_body!("fisher_product");
        let [direction, params, observations, hidden, weights] =
            [direction, params, observations, hidden, weights].map(numbers_of);
        let (kernels, width) = (network.for_kernels(), network.outputs());
        let mut product = vec![0.0; network.num_params()];
        let of = of as f32;
        let metric = |samples: Range<usize>, change: &mut [f32]| {
            if family == Family::Categorical {
                let p = &weights[samples.start * width..samples.end * width];
                for (change, p) in change.chunks_exact_mut(width).zip(p.chunks_exact(width)) {
                    change.iter_mut().zip(p).for_each(|(change, p)| *change *= p);
                    let total = change.iter().fold(0.0, |total, change| total + change);
                    for (change, p) in change.iter_mut().zip(p) {
                        *change = (*change - p * total) / of;
                    }
                }
            } else {
                for change in change.chunks_exact_mut(width) {
                    for (change, weight) in change.iter_mut().zip(&*weights) {
                        *change = *change * weight / of;
                    }
                }
            }
        };
        kernel::curvature(
            kernels,
            &params,
            &observations,
            &hidden,
            &direction,
            &metric,
            &mut product,
        );
        let length = product.len();
        tensor_of(product, [length])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Backend;
    use crate::config::Activation;
    use crate::ops::forward;

    /// Of observation 0 a linear network's outputs are its biases, so the product is the metric's.
    #[test]
    #[allow(deprecated)]
    fn the_metric_is_the_covariance_of_a_one_hot_choice() {
        let network = Mlp::new(1, 2, &[], Activation::Tanh);
        for backend in [Backend::Flex, Backend::NdArray] {
            let Ok(device) = backend.open() else { continue };
            let (params, observation) =
                (Tensor::zeros([4], &device), Tensor::zeros([1, 1], &device));
            let along_the_first = |family, weights: [[f32; 2]; 1]| {
                let (_, hidden) = forward(&network, params.clone(), observation.clone());
                let weights = Tensor::from_floats(weights, &device);
                let fisher = Fisher::new(&network, family, &params, &observation, hidden, weights);
                let product = fisher.product(&Handle::vector(&[0.0, 0.0, 1.0, 0.0], &device), 2);
                product.tensor::<1>().try_into_vec_as::<f32>().unwrap()
            };
            let choice = along_the_first(Family::Categorical, [[0.75, 0.25]]);
            assert_eq!(choice, [0.0, 0.0, 0.1875 / 2.0, -0.1875 / 2.0], "{backend}");
            let means = along_the_first(Family::Gaussian, [[4.0, 0.5]]);
            assert_eq!(means, [0.0, 0.0, 2.0, 0.0], "{backend}");
        }
    }
}
