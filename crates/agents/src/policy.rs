//! Policies: a network and the distribution that its outputs parameterise.
//!
//! The parameter vector is the network's, and for a Gaussian policy its log standard deviations, one
//! per action dimension, behind it.

use crate::config::{ConfigError, NetworkConfig};
use crate::distribution::{Actions, Distribution, LN_2PI};
use crate::error::AgentError;
use crate::network::{Linearized, Mlp, Network, Scratch};
use burn::tensor::{Device, Tensor, TensorData};
use envs::{ObservationNormalizer, Rng, Space};
use rand::RngExt;
use rand_distr::StandardNormal;

/// Scale of the policy's last layer: the first policy is close to uniform, or to mean 0.
const LAST_GAIN: f32 = 0.01;

/// A network and the kind of distribution over actions; the parameters are kept elsewhere.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    network: Mlp,
    pub(crate) head: Head,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Head {
    Categorical,
    Gaussian,
    /// Gaussian, squashed by tanh into the box around `center` with half-widths `half`.
    Squashed {
        center: Vec<f32>,
        half: Vec<f32>,
    },
}

impl Policy {
    /// The policy for these spaces: categorical for discrete actions, Gaussian for a box.
    ///
    /// # Errors
    /// When actions are to be squashed and the action space is not a bounded box.
    pub fn new(
        observation_space: &Space,
        action_space: &Space,
        config: &NetworkConfig,
    ) -> Result<Policy, ConfigError> {
        let (outputs, head) = match action_space {
            Space::Discrete { n } => (*n, Head::Categorical),
            Space::Box { low, .. } if !config.squash => (low.len(), Head::Gaussian),
            Space::Box { low, high } => {
                let center = low.iter().zip(high).map(|(l, h)| 0.5 * (l + h)).collect();
                let half = low.iter().zip(high).map(|(l, h)| 0.5 * (h - l)).collect();
                (low.len(), Head::Squashed { center, half })
            }
        };
        let bounded = match &head {
            Head::Categorical => false,
            Head::Gaussian => true,
            Head::Squashed { half, .. } => half.iter().all(|half| half.is_finite()),
        };
        if config.squash && !bounded {
            return Err(ConfigError {
                key: "network.squash".into(),
                message:
                    "needs continuous actions with finite bounds; this environment's are not: \
                          remove it"
                        .into(),
            });
        }
        Ok(Policy { network: Mlp::new(observation_space.width(), outputs, config), head })
    }

    /// Length of the parameter vector.
    #[must_use]
    pub fn num_params(&self) -> usize {
        self.network.num_params() + self.log_stds()
    }

    pub(crate) fn network(&self) -> &Mlp {
        &self.network
    }

    /// Half-widths of the box that actions are squashed into.
    pub(crate) fn half_widths(&self) -> Option<&[f32]> {
        match &self.head {
            Head::Squashed { half, .. } => Some(half),
            _ => None,
        }
    }

    /// Numbers in an observation.
    #[must_use]
    pub fn observation_width(&self) -> usize {
        self.network.inputs()
    }

    /// Numbers that the network gives for one observation.
    #[must_use]
    pub fn output_width(&self) -> usize {
        self.network.outputs()
    }

    /// Numbers that one action takes in a buffer: 1 for a choice.
    #[must_use]
    pub fn action_width(&self) -> usize {
        if self.head == Head::Categorical { 1 } else { self.network.outputs() }
    }

    fn log_stds(&self) -> usize {
        if self.head == Head::Categorical { 0 } else { self.network.outputs() }
    }

    /// Fresh parameters.
    #[must_use]
    pub fn init(&self, config: &NetworkConfig, rng: &mut Rng) -> Vec<f32> {
        let mut params = self.network.init(config.init, LAST_GAIN, rng);
        params.resize(self.num_params(), config.log_std_init as f32);
        params
    }

    /// Network outputs `[batch, out]` for `observations [batch, in]`.
    #[must_use]
    pub fn outputs(&self, params: &Tensor<1>, observations: Tensor<2>) -> Tensor<2> {
        self.network.forward(self.network_params(params), observations)
    }

    /// The distributions of actions for `observations [batch, in]`.
    #[must_use]
    pub fn distribution(&self, params: &Tensor<1>, observations: Tensor<2>) -> Distribution {
        self.distribution_of(self.outputs(params, observations), params)
    }

    /// The distributions that these network outputs `[batch, out]` stand for; of `params` only the
    /// log standard deviations are read.
    #[must_use]
    pub fn distribution_of(&self, outputs: Tensor<2>, params: &Tensor<1>) -> Distribution {
        if self.head == Head::Categorical {
            return Distribution::categorical(outputs);
        }
        let log_std = params.clone().slice_dim(0, self.network.num_params()..self.num_params());
        let width = self.log_stds();
        Distribution::gaussian(outputs, log_std.reshape([1, width]))
    }

    fn network_params(&self, params: &Tensor<1>) -> Tensor<1> {
        params.clone().slice_dim(0, 0..self.network.num_params())
    }

    /// Mean entropy, `[1]`, for the entropy bonus. A squashed Gaussian has no closed form: there it
    /// is estimated by the mean of `-log_prob` (of the squashed action) over the samples, which move
    /// along with the parameters (`x = mean + std * noise`), so that the bonus has its true gradient.
    #[must_use]
    pub fn entropy(&self, distribution: &Distribution, actions: &Actions) -> Tensor<1> {
        match (&self.head, distribution, actions) {
            (
                Head::Squashed { half, .. },
                Distribution::Gaussian { mean, log_std },
                Actions::Continuous(samples),
            ) => {
                let std = log_std.clone().exp();
                let noise = ((samples.clone() - mean.clone()) / std.clone()).detach();
                let samples = mean.clone() + std * noise;
                let slope = log_slope(&samples, half);
                (slope - distribution.log_prob(&Actions::Continuous(samples))).mean()
            }
            _ => distribution.entropy().mean(),
        }
    }

    /// The Fisher matrix of the mean KL at `params`, as a product.
    #[must_use]
    pub fn fisher(&self, params: &Tensor<1>, observations: Tensor<2>) -> Fisher {
        let linearized = self.network.linearize(self.network_params(params), observations);
        let distribution = self.distribution_of(linearized.outputs(), params);
        Fisher { num_params: self.network.num_params(), linearized, distribution }
    }

    /// Actions from a buffer's rows `[batch][width]`.
    #[must_use]
    pub fn actions(&self, rows: &[f32], device: &Device) -> Actions {
        let shape = [rows.len() / self.action_width(), self.action_width()];
        if self.head == Head::Categorical {
            let indices: Vec<i32> = rows.iter().map(|&index| index as i32).collect();
            Actions::Discrete(Tensor::from_data(TensorData::new(indices, shape), device))
        } else {
            Actions::Continuous(Tensor::from_data(TensorData::new(rows.to_vec(), shape), device))
        }
    }
}

/// The Fisher matrix at a policy, equal there to the Hessian of the mean KL (Schulman et al. 2015,
/// appendix C). It is never formed.
#[derive(Clone, Debug)]
pub struct Fisher {
    num_params: usize,
    linearized: Linearized,
    distribution: Distribution,
}

impl Fisher {
    /// The distributions of actions at the policy.
    #[must_use]
    pub fn distribution(&self) -> &Distribution {
        &self.distribution
    }

    /// Fisher-vector product `F v = J' M J v / N`, `[params]`: `J` the Jacobian of the network's
    /// outputs, `M` the metric of the distribution, `N` the number of samples.
    #[must_use]
    pub fn product(&self, vector: &Tensor<1>) -> Tensor<1> {
        let change = self.linearized.jvp(vector.clone().slice_dim(0, 0..self.num_params));
        let batch = change.dims()[0] as f64;
        let metric = self.distribution.metric(change).div_scalar(batch);
        let product = self.linearized.vjp(metric);
        match self.distribution {
            Distribution::Categorical { .. } => product,
            // A Gaussian's metric is 2 for each log standard deviation.
            Distribution::Gaussian { .. } => {
                let end = vector.dims()[0];
                let tail = vector.clone().slice_dim(0, self.num_params..end);
                Tensor::cat(vec![product, tail.mul_scalar(2.0)], 0)
            }
        }
    }
}

/// Logarithm of the derivative of `half * tanh(x)`, summed over dimensions: `[batch, 1]`. In the form
/// `2 (ln 2 - x - softplus(-2x))` it stays finite for every x.
fn log_slope(samples: &Tensor<2>, half: &[f32]) -> Tensor<2> {
    let magnitude = samples.clone().abs();
    let softplus = magnitude.clone().mul_scalar(-2.0).exp().log1p();
    let constant: f64 = half.iter().map(|&half| f64::from(half).ln()).sum();
    (magnitude + softplus)
        .mul_scalar(-2.0)
        .add_scalar(2.0 * std::f64::consts::LN_2)
        .sum_dim(1)
        .add_scalar(constant)
}

/// Acts on the CPU: a plain copy of a policy's parameters, with its observation normaliser.
#[derive(Clone, Debug)]
pub struct Actor {
    pub(crate) policy: Policy,
    pub(crate) params: Vec<f32>,
    pub(crate) normalizer: Option<ObservationNormalizer>,
}

impl Actor {
    /// The policy that the parameters belong to.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The policy's parameters.
    #[must_use]
    pub fn params(&self) -> &[f32] {
        &self.params
    }

    /// Log standard deviations of a Gaussian policy; empty for a categorical one.
    #[must_use]
    pub fn log_std(&self) -> &[f32] {
        &self.params[self.policy.network.num_params()..]
    }

    /// Network outputs `[rows][out]` for normalised observations `[rows][in]`.
    pub fn outputs<'a>(&self, observations: &[f32], scratch: &'a mut Scratch) -> &'a [f32] {
        let params = &self.params[..self.policy.network.num_params()];
        self.policy.network.forward_plain(params, observations, scratch)
    }

    /// Draws one action from one row of network outputs into `action`, and returns its
    /// log-probability: of the sample itself, before clipping or squashing.
    pub fn sample(&self, outputs: &[f32], rng: &mut Rng, action: &mut [f32]) -> f32 {
        if self.policy.head == Head::Categorical {
            let max = outputs.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let total: f32 = outputs.iter().map(|logit| (logit - max).exp()).sum();
            let mut left = rng.random::<f32>() * total;
            // Rounding can leave a rest behind the last choice, which then takes it.
            let mut choice = outputs.len() - 1;
            for (index, logit) in outputs.iter().enumerate() {
                left -= (logit - max).exp();
                if left < 0.0 {
                    choice = index;
                    break;
                }
            }
            action[0] = choice as f32;
            return outputs[choice] - max - total.ln();
        }
        let mut log_prob = 0.0;
        for ((action, mean), log_std) in action.iter_mut().zip(outputs).zip(self.log_std()) {
            let noise: f32 = rng.sample(StandardNormal);
            *action = mean + log_std.exp() * noise;
            log_prob -= 0.5 * noise * noise + log_std + 0.5 * LN_2PI as f32;
        }
        log_prob
    }

    /// Writes the most probable action of one row of network outputs into `action`, before
    /// squashing.
    pub fn mode(&self, outputs: &[f32], action: &mut [f32]) {
        if self.policy.head == Head::Categorical {
            let best = (1..outputs.len())
                .fold(0, |best, index| if outputs[index] > outputs[best] { index } else { best });
            action[0] = best as f32;
        } else {
            action.copy_from_slice(outputs);
        }
    }

    /// Turns rows of actions into what the environment receives: squashed where the policy squashes.
    pub fn squash(&self, actions: &mut [f32]) {
        if let Head::Squashed { center, half } = &self.policy.head {
            for row in actions.chunks_exact_mut(center.len()) {
                for ((action, center), half) in row.iter_mut().zip(center).zip(half) {
                    *action = center + half * action.tanh();
                }
            }
        }
    }

    /// The action for one observation as the environment shows it, as the environment receives it:
    /// normalised, squashed and clipped to `space`. Greedy, or drawn where there is a stream to draw from.
    ///
    /// # Errors
    /// When an output of the network is not finite.
    pub fn act(
        &self,
        space: &Space,
        observation: &[f32],
        sampling: Option<&mut Rng>,
        scratch: &mut Scratch,
    ) -> Result<Vec<f32>, AgentError> {
        let mut normalized = observation.to_vec();
        self.normalize(&mut normalized);
        let outputs = self.outputs(&normalized, scratch);
        if outputs.iter().any(|output| !output.is_finite()) {
            return Err(AgentError::NonFinite("policy's output".into()));
        }
        let mut action = vec![0.0; self.policy.action_width()];
        match sampling {
            None => self.mode(outputs, &mut action),
            Some(rng) => {
                self.sample(outputs, rng, &mut action);
            }
        }
        self.squash(&mut action);
        if let Space::Box { low, high } = space {
            for (number, (low, high)) in action.iter_mut().zip(low.iter().zip(high)) {
                *number = number.max(*low).min(*high);
            }
        }
        Ok(action)
    }

    /// Normalises rows of observations in place, with the statistics as they are.
    pub fn normalize(&self, observations: &mut [f32]) {
        if let Some(normalizer) = &self.normalizer {
            normalizer.normalize(observations);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::critic::gradient;
    use envs::{Stream, stream};

    /// Entropy of a squashed policy at `params`, with given noise, and its gradient.
    fn squashed_entropy(params: &[f32], noise: &[f32]) -> (f32, Vec<f32>) {
        let config = NetworkConfig { hidden: vec![], squash: true, ..NetworkConfig::default() };
        let policy =
            Policy::new(&Space::symmetric_box(1, 1.0), &Space::symmetric_box(1, 2.0), &config)
                .unwrap();
        let device = Device::flex();
        let observations = Tensor::<2>::ones([noise.len(), 1], &device);
        let mean = params[0] + params[1];
        let rows: Vec<f32> = noise.iter().map(|noise| mean + params[2].exp() * noise).collect();
        let leaf = Tensor::<1>::from_floats(params, &device).autodiff().require_grad();
        let entropy = policy
            .entropy(&policy.distribution(&leaf, observations), &policy.actions(&rows, &device));
        let value = entropy.clone().inner().into_scalar();
        (value, gradient(&leaf, entropy).unwrap().into_data().try_into_vec().unwrap())
    }

    #[test]
    fn the_entropy_bonus_of_a_squashed_policy_has_its_true_gradient() {
        let mut rng = stream(1, Stream::Sampling);
        let noise: Vec<f32> = (0..1000).map(|_| rng.sample(StandardNormal)).collect();
        let params = [0.3, 0.2, -0.4];
        let (_, gradient) = squashed_entropy(&params, &noise);
        for i in 0..3 {
            let at = |step: f32| {
                let mut moved = params;
                moved[i] += step;
                squashed_entropy(&moved, &noise).0
            };
            let slope = (at(0.01) - at(-0.01)) / 0.02;
            assert!((gradient[i] - slope).abs() < 1e-3, "{i}: {} and {slope}", gradient[i]);
        }
        assert!(gradient[2] > 0.1, "a wider Gaussian has more entropy here: {gradient:?}");
    }
}
