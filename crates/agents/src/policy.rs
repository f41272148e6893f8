//! Policies: a network and the distribution that its outputs parameterise.
//!
//! The parameter vector is the network's, and for a Gaussian policy its log standard deviations, one
//! per action dimension, behind it.

use crate::config::{ConfigError, NetworkConfig};
use crate::distribution::{Distribution, LN_2PI};
use crate::error::AgentError;
use crate::minibatch::Minibatch;
use crate::network::{Linearized, Mlp};
use crate::ops::{
    Bounds, Family, Fisher, LossTerms, PolicyGradients, Surrogate, SurrogateLoss, forward,
    surrogate_loss,
};
use burn::tensor::Tensor;
use envs::{ObservationNormalizer, Rng, Space};
use rand::RngExt;
use rand_distr::StandardNormal;

/// A Gaussian's metric for each log standard deviation.
pub(crate) const LOG_STD_METRIC: f32 = 2.0;

/// Scale of the policy's last layer: the first policy is close to uniform, or to mean 0.
const LAST_GAIN: f32 = 0.01;

/// A network and the kind of distribution over actions; the parameters are kept elsewhere.
///
/// ```
/// use agents::NetworkConfig;
/// use agents::policy::Policy;
/// use burn::tensor::{Device, Tensor};
/// use envs::{Space, Stream, stream};
///
/// let config = NetworkConfig::default();
/// let policy = Policy::new(&Space::symmetric_box(3, 1.0), &Space::Discrete { n: 4 }, &config)?;
/// let params = policy.init(&config, &mut stream(1, Stream::Initialization));
/// let params = Tensor::from_floats(params.as_slice(), &Device::flex());
/// let distribution = policy.distribution(&params, Tensor::ones([5, 3], &Device::flex()));
/// // The first policy is close to uniform.
/// let entropy: f32 = distribution.entropy().mean().into_scalar();
/// assert!((entropy - 4.0_f32.ln()).abs() < 1e-3);
/// # Ok::<(), agents::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    network: Mlp,
    family: Family,
    /// Middle and half-width of the box that a squashed policy acts in, for each number of an action.
    squash: Option<[Vec<f32>; 2]>,
    /// Where the log standard deviations stay.
    log_std_range: [f64; 2],
    /// Of the noise in two steps that follow each other, while training.
    noise_correlation: f32,
}

/// A box by its middle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Squash<'a> {
    /// Its middle.
    pub center: &'a [f32],
    /// From the middle to each side.
    pub half_width: &'a [f32],
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
        let (family, squash) = match action_space {
            Space::Discrete { .. } => (Family::Categorical, None),
            Space::Box { .. } if !config.squash => (Family::Gaussian, None),
            Space::Box { low, high } => {
                let center = low.iter().zip(high).map(|(l, h)| 0.5 * (l + h)).collect();
                let half_width: Vec<f32> =
                    low.iter().zip(high).map(|(l, h)| 0.5 * (h - l)).collect();
                let ln_half_widths = half_width.iter().map(|&half| f64::from(half).ln()).sum();
                (Family::SquashedGaussian { ln_half_widths }, Some([center, half_width]))
            }
        };
        let is_bounded =
            squash.iter().all(|[_, half_width]| half_width.iter().all(|half| half.is_finite()));
        if config.squash && !(squash.is_some() && is_bounded) {
            return Err(ConfigError {
                key: "network.squash".into(),
                message:
                    "needs continuous actions with finite bounds; this environment's are not: \
                          remove it"
                        .into(),
            });
        }
        let outputs = match action_space {
            Space::Discrete { n } => *n,
            Space::Box { low, .. } => low.len(),
        };
        Ok(Policy {
            network: Mlp::new(
                observation_space.width(),
                outputs,
                &config.hidden,
                config.activation,
            ),
            family,
            squash,
            log_std_range: [config.log_std_min, config.log_std_max],
            noise_correlation: config.noise_correlation as f32,
        })
    }

    /// Length of the parameter vector.
    #[must_use]
    pub fn num_params(&self) -> usize {
        self.network.num_params() + self.log_stds()
    }

    /// The network whose outputs parameterise the distribution.
    #[must_use]
    pub fn network(&self) -> &Mlp {
        &self.network
    }

    /// Where the last parameters, a Gaussian's log standard deviations, must stay.
    #[must_use]
    pub fn bounds(&self) -> Option<Bounds> {
        let [low, high] = self.log_std_range;
        (self.family != Family::Categorical).then(|| Bounds {
            first: self.network.num_params(),
            low,
            high,
        })
    }

    /// Puts log standard deviations that have left their bounds back onto them.
    pub fn bound(&self, params: &mut [f32]) {
        if let Some(Bounds { first, low, high }) = self.bounds() {
            for param in &mut params[first..] {
                *param = param.clamp(low as f32, high as f32);
            }
        }
    }

    /// Correlation of the noise in two steps that follow each other, while training.
    #[must_use]
    pub fn noise_correlation(&self) -> f32 {
        self.noise_correlation
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
        if self.family == Family::Categorical { 1 } else { self.network.outputs() }
    }

    /// The box that the policy squashes actions into, where it does.
    pub(crate) fn squash(&self) -> Option<Squash<'_>> {
        self.squash.as_ref().map(|[center, half_width]| Squash { center, half_width })
    }

    fn log_stds(&self) -> usize {
        if self.family == Family::Categorical { 0 } else { self.network.outputs() }
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
        self.network.forward(params.clone(), observations)
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
        if self.family == Family::Categorical {
            return Distribution::categorical(outputs);
        }
        let log_std = params.clone().slice_dim(0, self.network.num_params()..self.num_params());
        let width = self.log_stds();
        Distribution::gaussian(outputs, log_std.reshape([1, width]))
    }

    /// The network at `params [params]` for `observations [batch, in]`: its outputs, and what their
    /// derivatives need.
    #[must_use]
    pub fn forward(&self, params: &Tensor<1>, observations: &Tensor<2>) -> Linearized {
        self.network.linearize(params.clone(), observations.clone())
    }

    /// The loss `-surrogate - entropy_coef * entropy` of a minibatch. `old_params` are those of the
    /// policy that acted; only their log standard deviations are read.
    #[must_use]
    pub fn loss(
        &self,
        network: &Linearized,
        old_params: &Tensor<1>,
        minibatch: &Minibatch,
        surrogate: Surrogate,
        entropy_coef: f64,
    ) -> SurrogateLoss {
        surrogate_loss(
            network.outputs(),
            network.params(),
            old_params,
            &minibatch.outputs,
            &minibatch.actions,
            &minibatch.log_probs,
            &minibatch.advantages,
            self.loss_terms(surrogate, entropy_coef),
        )
    }

    /// The gradients of [`Policy::loss`] on minibatches of these samples; with `standardize` a minibatch's
    /// advantages are standardised first.
    #[must_use]
    pub fn gradients(
        &self,
        old_params: &Tensor<1>,
        samples: &Minibatch,
        surrogate: Surrogate,
        entropy_coef: f64,
        standardize: bool,
    ) -> PolicyGradients {
        let terms = self.loss_terms(surrogate, entropy_coef);
        PolicyGradients::new(&self.network, old_params, samples, terms, standardize)
    }

    /// The gradient `[params]` of a loss.
    #[must_use]
    pub fn backward(&self, network: &Linearized, loss: SurrogateLoss) -> Tensor<1> {
        let gradient = network.vjp(loss.outputs);
        match self.family {
            Family::Categorical => gradient,
            Family::Gaussian | Family::SquashedGaussian { .. } => {
                Tensor::cat(vec![gradient, loss.log_std], 0)
            }
        }
    }

    fn loss_terms(&self, surrogate: Surrogate, entropy_coef: f64) -> LossTerms {
        let log_std = self.network.num_params();
        LossTerms { family: self.family, log_std, surrogate, entropy_coef }
    }

    /// The Fisher matrix of the mean KL at `params [params]` for `observations [batch, in]`, as far as it belongs to
    /// the network's parameters.
    #[must_use]
    pub fn fisher(&self, params: &Tensor<1>, observations: &Tensor<2>) -> Fisher {
        let (outputs, hidden) = forward(&self.network, params.clone(), observations.clone());
        let weights = self.distribution_of(outputs, params).metric_weights();
        Fisher::new(&self.network, self.family, params, observations, hidden, weights)
    }
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

    /// Takes over other parameters of the same policy, as many as before.
    pub fn set_params(&mut self, params: Vec<f32>) {
        debug_assert_eq!(params.len(), self.params.len(), "parameters of another policy");
        self.params = params;
    }

    /// Log standard deviations of a Gaussian policy; empty for a categorical one.
    #[must_use]
    pub fn log_std(&self) -> &[f32] {
        &self.params[self.policy.network.num_params()..]
    }

    /// Writes network outputs `[rows][out]` for normalised observations `[rows][in]`.
    pub fn outputs(&self, observations: &[f32], outputs: &mut [f32]) {
        let params = &self.params[..self.policy.network.num_params()];
        self.policy.network.forward_plain(params, observations, outputs);
    }

    /// Draws one action from one row of network outputs into `action`, and returns its
    /// log-probability: of the sample itself, before clipping or squashing.
    pub fn sample(&self, outputs: &[f32], rng: &mut Rng, action: &mut [f32]) -> f32 {
        if self.policy.family == Family::Categorical {
            let max = outputs.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let total: f32 = outputs.iter().map(|logit| (logit - max).exp()).sum();
            let mut left = rng.random::<f32>() * total;
            // What the others leave is the last choice's, with what rounding leaves.
            let mut choice = outputs.len() - 1;
            for (index, logit) in outputs[..choice].iter().enumerate() {
                left -= (logit - max).exp();
                if left < 0.0 {
                    choice = index;
                    break;
                }
            }
            action[0] = choice as f32;
            return outputs[choice] - max - total.ln();
        }
        action.fill_with(|| rng.sample(StandardNormal));
        self.add_noise(outputs, action)
    }

    /// The same where exploration goes on from step to step: `noise [action]`, in standard deviations, is that of the
    /// step before, and becomes this step's; the two have this correlation. Each by itself is still standard
    /// normal, and the log-probability that of [`Actor::sample`]. A choice has no noise.
    pub fn sample_on(
        &self,
        noise: &mut [f32],
        correlation: f32,
        outputs: &[f32],
        rng: &mut Rng,
        action: &mut [f32],
    ) -> f32 {
        if self.policy.family == Family::Categorical {
            return self.sample(outputs, rng, action);
        }
        let fresh = (1.0 - correlation * correlation).sqrt();
        for noise in noise.iter_mut() {
            *noise = correlation * *noise + fresh * rng.sample::<f32, _>(StandardNormal);
        }
        action.copy_from_slice(noise);
        self.add_noise(outputs, action)
    }

    /// Turns noise in standard deviations into an action around one row of a Gaussian's means; returns its
    /// log-probability.
    fn add_noise(&self, means: &[f32], action: &mut [f32]) -> f32 {
        let mut log_prob = 0.0;
        for ((action, mean), log_std) in action.iter_mut().zip(means).zip(self.log_std()) {
            let noise = *action;
            *action = mean + log_std.exp() * noise;
            log_prob -= 0.5 * noise * noise + log_std + 0.5 * LN_2PI as f32;
        }
        log_prob
    }

    /// Writes the most probable action of one row of network outputs into `action`, before
    /// squashing.
    pub fn mode(&self, outputs: &[f32], action: &mut [f32]) {
        if self.policy.family == Family::Categorical {
            let best = (1..outputs.len())
                .fold(0, |best, index| if outputs[index] > outputs[best] { index } else { best });
            action[0] = best as f32;
        } else {
            action.copy_from_slice(outputs);
        }
    }

    /// Turns rows of actions into what the environment receives: squashed where the policy squashes.
    pub fn squash(&self, actions: &mut [f32]) {
        if let Some([center, half_width]) = &self.policy.squash {
            for row in actions.chunks_exact_mut(center.len()) {
                for ((action, center), half_width) in row.iter_mut().zip(center).zip(half_width) {
                    *action = center + half_width * action.tanh();
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
    ) -> Result<Vec<f32>, AgentError> {
        let mut normalized = observation.to_vec();
        self.normalize(&mut normalized);
        let mut outputs = vec![0.0; self.policy.output_width()];
        self.outputs(&normalized, &mut outputs);
        if outputs.iter().any(|output| !output.is_finite()) {
            return Err(AgentError::NonFinite("policy's output".into()));
        }
        let mut action = vec![0.0; self.policy.action_width()];
        match sampling {
            None => self.mode(&outputs, &mut action),
            Some(rng) => {
                self.sample(&outputs, rng, &mut action);
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
