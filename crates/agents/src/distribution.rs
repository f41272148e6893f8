//! Action distributions over a batch of network outputs.
//!
//! A categorical policy's outputs are logits. A diagonal-Gaussian policy's outputs are means, with
//! one log standard deviation per action dimension that does not depend on the observation. Columns
//! with one number per sample are `[batch, 1]`.

use burn::tensor::{Tensor, activation};

/// ln(2 pi)
pub(crate) const LN_2PI: f64 = 1.837_877_066_409_345_5;

/// Categorical or diagonal Gaussian, a batch of them.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant)] // two handles instead of one; there are never many
pub enum Distribution {
    /// One of `n` choices.
    Categorical {
        /// Logarithms of the probabilities, `[batch, n]`.
        log_probs: Tensor<2>,
    },
    /// Independent normal variables.
    Gaussian {
        /// Means, `[batch, width]`.
        mean: Tensor<2>,
        /// Log standard deviations, `[1, width]`.
        log_std: Tensor<2>,
    },
}

impl Distribution {
    /// Softmax of `logits [batch, n]`.
    #[must_use]
    pub fn categorical(logits: Tensor<2>) -> Distribution {
        Distribution::Categorical { log_probs: activation::log_softmax(logits, 1) }
    }

    /// Normal distributions with `mean [batch, width]` and `log_std [1, width]`.
    #[must_use]
    pub fn gaussian(mean: Tensor<2>, log_std: Tensor<2>) -> Distribution {
        Distribution::Gaussian { mean, log_std }
    }

    /// Log-probability (density) of each sample's action, `[batch, 1]`. An action is the index of a
    /// choice, `[batch, 1]`, or a sample `[batch, width]` of the Gaussian itself, before it is clipped
    /// or squashed.
    #[must_use]
    pub fn log_prob(&self, actions: &Tensor<2>) -> Tensor<2> {
        match self {
            Distribution::Categorical { log_probs } => {
                log_probs.clone().gather(1, actions.clone().int())
            }
            Distribution::Gaussian { mean, log_std } => {
                let scaled = (actions.clone() - mean.clone()) * log_std.clone().neg().exp();
                let per_dimension = scaled.square().mul_scalar(-0.5) - log_std.clone();
                per_dimension.add_scalar(-0.5 * LN_2PI).sum_dim(1)
            }
        }
    }

    /// Entropy in nats: `[batch, 1]` of a categorical, `[1, 1]` of a Gaussian, whose entropy does not
    /// depend on the sample.
    #[must_use]
    pub fn entropy(&self) -> Tensor<2> {
        match self {
            Distribution::Categorical { log_probs } => {
                (log_probs.clone().exp() * log_probs.clone()).sum_dim(1).neg()
            }
            Distribution::Gaussian { log_std, .. } => {
                log_std.clone().add_scalar(0.5 * (LN_2PI + 1.0)).sum_dim(1)
            }
        }
    }

    /// `KL(self, other)` of each sample in nats, `[batch, 1]`. It is the same for the squashed
    /// actions, because squashing is one-to-one.
    ///
    /// # Panics
    /// When the other distribution is of the other kind.
    #[must_use]
    pub fn kl(&self, other: &Distribution) -> Tensor<2> {
        match (self, other) {
            (
                Distribution::Categorical { log_probs },
                Distribution::Categorical { log_probs: other },
            ) => (log_probs.clone().exp() * (log_probs.clone() - other.clone())).sum_dim(1),
            (
                Distribution::Gaussian { mean, log_std },
                Distribution::Gaussian { mean: other_mean, log_std: other_log_std },
            ) => {
                let variance = log_std.clone().mul_scalar(2.0).exp();
                let distance = (mean.clone() - other_mean.clone()).square();
                let precision = other_log_std.clone().mul_scalar(-2.0).exp();
                let shape = (distance + variance) * precision.mul_scalar(0.5);
                (shape + (other_log_std.clone() - log_std.clone()).sub_scalar(0.5)).sum_dim(1)
            }
            _ => panic!("divergence of two kinds of distribution"),
        }
    }

    /// What the Fisher metric `M` of the outputs is made of: the probabilities `p [batch, out]` of logits, with
    /// `M = diag(p) - p p'`, and `M`'s diagonal `1 / sigma^2 [1, out]` for means.
    #[must_use]
    pub fn metric_weights(&self) -> Tensor<2> {
        match self {
            Distribution::Categorical { log_probs } => log_probs.clone().exp(),
            Distribution::Gaussian { log_std, .. } => log_std.clone().mul_scalar(-2.0).exp(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    fn tensor(rows: [[f32; 2]; 1]) -> Tensor<2> {
        Tensor::from_data(rows, &Device::flex())
    }

    fn scalar(column: Tensor<2>) -> f32 {
        column.into_scalar()
    }

    #[test]
    fn a_fair_coin() {
        let coin = Distribution::categorical(tensor([[3.0, 3.0]]));
        let heads = Tensor::from_data([[0.0]], &Device::flex());
        assert!((scalar(coin.log_prob(&heads)) - 0.5_f32.ln()).abs() < 1e-6);
        assert!((scalar(coin.entropy()) - 2.0_f32.ln()).abs() < 1e-6);
        let loaded = Distribution::categorical(tensor([[0.75_f32.ln(), 0.25_f32.ln()]]));
        let expected = 0.5 * (0.5_f32 / 0.75).ln() + 0.5 * (0.5_f32 / 0.25).ln();
        assert!((scalar(coin.kl(&loaded)) - expected).abs() < 1e-6);
        assert!(scalar(coin.kl(&coin)).abs() < 1e-7);
    }

    #[test]
    fn a_standard_normal() {
        let normal = Distribution::gaussian(tensor([[0.0, 0.0]]), tensor([[0.0, 0.0]]));
        let at = tensor([[1.0, -2.0]]);
        let expected = -LN_2PI as f32 - 0.5 - 2.0;
        assert!((scalar(normal.log_prob(&at)) - expected).abs() < 1e-5);
        assert!((scalar(normal.entropy()) - (LN_2PI as f32 + 1.0)).abs() < 1e-5);
        // KL(N(0,1), N(1,4)) = ln 2 + (1 + 1) / 8 - 1/2 in one dimension, 0 in the other.
        let wider = Distribution::gaussian(tensor([[1.0, 0.0]]), tensor([[2.0_f32.ln(), 0.0]]));
        let expected = 2.0_f32.ln() + 0.25 - 0.5;
        assert!((scalar(normal.kl(&wider)) - expected).abs() < 1e-6);
    }
}
