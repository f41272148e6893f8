//! Proximal policy optimisation (Schulman et al. 2017).

use crate::adam::{Adam, AdamState, clip};
use crate::config::PpoConfig;
use crate::critic::{Critic, gradient, value_gradient};
use crate::error::AgentError;
use crate::fused;
use crate::gae::explained_variance;
use crate::metrics::{AlgorithmMetrics, UpdateMetrics};
use crate::network::Mlp;
use crate::policy::{Actor, Policy};
use crate::rollout::Batch;
use crate::samples::{Samples, normalized, read};
use crate::threads::side_by_side;
use burn::tensor::{Device, Tensor};
use envs::Rng;
use serde::{Deserialize, Serialize};

/// An early stop happens at this multiple of the target KL, as in Stable-Baselines3.
const EARLY_STOP: f64 = 1.5;

/// How the policy is kept close to the one that acted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Proximity {
    /// The ratio's incentive is clipped to `[1 - range, 1 + range]` (equation 7).
    Clip {
        /// The clip range epsilon.
        range: f64,
    },
    /// `coef * KL(old, new)` is subtracted from the objective (equation 8).
    KlPenalty {
        /// The coefficient beta.
        coef: f64,
    },
}

/// A minibatch's policy loss and what is monitored about it, each `[1]`.
#[derive(Clone, Debug)]
pub struct PolicyLoss {
    /// To minimise: `-objective - entropy_coef * entropy`.
    pub loss: Tensor<1>,
    /// The clipped or penalised surrogate, mean over the samples.
    pub objective: Tensor<1>,
    /// Mean entropy.
    pub entropy: Tensor<1>,
    /// Exact mean KL(old, new).
    pub kl: Tensor<1>,
    /// Mean of `(ratio - 1) - ln ratio`.
    pub approx_kl: Tensor<1>,
    /// Share of ratios outside of the clip range; 0 under a KL penalty.
    pub clip_fraction: Tensor<1>,
}

/// The policy loss of a minibatch at `params`. `old_params` are those of the policy that acted; only
/// their log standard deviations are read.
#[must_use]
pub fn policy_loss(
    policy: &Policy,
    params: &Tensor<1>,
    old_params: &Tensor<1>,
    samples: &Samples,
    proximity: Proximity,
    entropy_coef: f64,
) -> PolicyLoss {
    let new = policy.distribution(params, samples.observations.clone());
    let old = policy.distribution_of(samples.outputs.clone(), old_params);
    let log_prob = new.log_prob(&samples.actions);
    let log_ratio = log_prob.clone() - samples.log_probs.clone();
    let ratio = log_ratio.clone().exp();
    let unclipped = ratio.clone() * samples.advantages.clone();
    let kl = old.kl(&new).mean();
    let (objective, clip_fraction) = match proximity {
        Proximity::Clip { range } => {
            let clipped = ratio.clone().clamp(1.0 - range, 1.0 + range);
            let outside = ratio.clone().inner().sub_scalar(1.0).abs().greater_elem(range);
            let objective = unclipped.min_pair(clipped * samples.advantages.clone()).mean();
            (objective, outside.float().mean())
        }
        Proximity::KlPenalty { coef } => {
            let objective = unclipped.mean() - kl.clone().mul_scalar(coef);
            (objective, Tensor::zeros([1], &samples.advantages.device()))
        }
    };
    let entropy = policy.entropy(&new, &samples.actions);
    let mut loss = objective.clone().neg();
    if entropy_coef > 0.0 {
        loss = loss - entropy.clone().mul_scalar(entropy_coef);
    }
    let (ratio, log_ratio) = (ratio.inner(), log_ratio.inner());
    PolicyLoss {
        loss,
        objective: objective.inner(),
        entropy: entropy.inner(),
        kl: kl.inner(),
        approx_kl: (ratio.sub_scalar(1.0) - log_ratio).mean(),
        clip_fraction,
    }
}

/// The figures `[5]` of a minibatch (policy loss without the entropy bonus, entropy, clip fraction,
/// exact and approximate KL) and the gradient `[params]` of [`policy_loss`].
///
/// # Errors
/// When the loss does not depend on the parameters.
pub fn policy_gradient(
    policy: &Policy,
    params: &Tensor<1>,
    old_params: &Tensor<1>,
    samples: &Samples,
    proximity: Proximity,
    entropy_coef: f64,
) -> Result<(Tensor<1>, Tensor<1>), AgentError> {
    let fused =
        fused::policy_gradient(policy, params, old_params, samples, proximity, entropy_coef);
    if let Some(found) = fused {
        return Ok(found);
    }
    let leaf = params.clone().autodiff().require_grad();
    let loss = policy_loss(policy, &leaf, old_params, samples, proximity, entropy_coef);
    let figures =
        vec![loss.objective.neg(), loss.entropy, loss.clip_fraction, loss.kl, loss.approx_kl];
    Ok((Tensor::cat(figures, 0), gradient(&leaf, loss.loss)?))
}

/// PPO's part of a checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PpoState {
    /// Adam of the actor.
    pub policy_optimizer: AdamState,
    /// Adam of the critic.
    pub critic_optimizer: AdamState,
    /// Coefficient of the KL penalty.
    pub kl_coef: f64,
    /// Stream of the shuffles.
    pub shuffling: Rng,
}

/// PPO with its hyperparameters and its state.
#[derive(Clone, Debug)]
pub struct Ppo {
    pub(crate) config: PpoConfig,
    pub(crate) state: PpoState,
}

impl Ppo {
    /// No update made yet.
    #[must_use]
    pub fn new(config: PpoConfig, actor: &Actor, critic: &Critic, shuffling: Rng) -> Ppo {
        let state = PpoState {
            policy_optimizer: AdamState::new(actor.params.len()),
            critic_optimizer: AdamState::new(critic.params.len()),
            kl_coef: config.kl_penalty.map_or(0.0, |penalty| penalty.initial_coef),
            shuffling,
        };
        Ppo { config, state }
    }

    fn proximity(&self, progress: f64) -> Proximity {
        match (self.config.kl_penalty, self.config.clip_range) {
            (Some(_), _) => Proximity::KlPenalty { coef: self.state.kl_coef },
            (None, Some(range)) => Proximity::Clip { range: range.at(progress) },
            (None, None) => Proximity::Clip { range: PpoConfig::DEFAULT_CLIP_RANGE },
        }
    }

    /// Improves actor and critic on a batch: some epochs of shuffled minibatches.
    ///
    /// # Errors
    /// When a loss or a gradient is not finite; actor and critic are then as before.
    pub fn update(
        &mut self,
        actor: &mut Actor,
        critic: &mut Critic,
        batch: &Batch,
        progress: f64,
        device: &Device,
    ) -> Result<UpdateMetrics, AgentError> {
        let config = &self.config;
        let learning_rate = config.learning_rate.at(progress);
        let critic_rate =
            config.critic_learning_rate.map_or(learning_rate, |rate| rate.at(progress));
        let proximity = self.proximity(progress);
        let samples = Samples::upload(batch, actor, device);
        let adam = |params: &[f32], state| Adam::new(params, state, config.adam_epsilon, device);
        let mut descent = Descent {
            config,
            proximity,
            policy: &actor.policy,
            critic: &critic.network,
            old_params: Tensor::from_floats(actor.params.as_slice(), device),
            policy_adam: adam(&actor.params, &self.state.policy_optimizer),
            critic_adam: adam(&critic.params, &self.state.critic_optimizer),
            rates: (learning_rate, critic_rate),
            figures: Vec::new(),
        };
        let mut shuffling = self.state.shuffling.clone();
        let (mut epochs, mut minibatches, mut last_epoch) = (0, 0, 0);
        'epochs: while epochs < config.epochs {
            epochs += 1;
            last_epoch = minibatches;
            for minibatch in samples.minibatches(config.minibatch_size, &mut shuffling) {
                minibatches += 1;
                if !descent.step(minibatch)? {
                    break 'epochs;
                }
            }
        }

        let Descent { policy_adam, critic_adam, figures, .. } = descent;
        let [policy, first, second, critic_params, critic_first, critic_second, figures] = read([
            policy_adam.params,
            policy_adam.first,
            policy_adam.second,
            critic_adam.params,
            critic_adam.first,
            critic_adam.second,
            Tensor::cat(figures, 0),
        ])?;
        let [policy_loss, entropy, clip_fraction, kl, approx_kl, value_loss, gradient_norm] =
            means(&figures, last_epoch);
        for (name, value) in [
            ("policy loss", policy_loss),
            ("value loss", value_loss),
            ("entropy", entropy),
            ("gradient norm", gradient_norm),
            ("KL divergence", kl),
            ("policy's parameters", policy.iter().copied().sum::<f32>().into()),
            ("critic's parameters", critic_params.iter().copied().sum::<f32>().into()),
        ] {
            AgentError::check_finite(name, value)?;
        }

        if let Some(penalty) = config.kl_penalty {
            self.state.kl_coef = adapted(self.state.kl_coef, kl, penalty.target);
        }
        actor.params = policy;
        critic.params = critic_params;
        self.state.policy_optimizer = AdamState { first, second, steps: policy_adam.steps };
        self.state.critic_optimizer =
            AdamState { first: critic_first, second: critic_second, steps: critic_adam.steps };
        self.state.shuffling = shuffling;
        let (clip_range, kl_coef) = match proximity {
            Proximity::Clip { range } => (Some(range), None),
            Proximity::KlPenalty { coef } => (None, Some(coef)),
        };
        Ok(UpdateMetrics {
            policy_loss,
            value_loss,
            entropy,
            kl,
            approx_kl,
            explained_variance: explained_variance(&batch.values, &batch.returns),
            gradient_norm,
            learning_rate,
            algorithm: AlgorithmMetrics::Ppo { clip_fraction, clip_range, kl_coef, epochs },
        })
    }
}

/// Means of the minibatches' figures; of both KLs, over the minibatches from `last_epoch` on.
fn means(figures: &[f32], last_epoch: usize) -> [f64; FIGURES] {
    let (rows, _) = figures.as_chunks::<FIGURES>();
    std::array::from_fn(|index| {
        let rows = if matches!(index, KL | APPROX_KL) { &rows[last_epoch..] } else { rows };
        rows.iter().map(|row| f64::from(row[index])).sum::<f64>() / rows.len() as f64
    })
}

/// The KL coefficient for the next iteration: doubled when the KL is 1.5 times the target, halved
/// when it is less than the target over 1.5 (section 4). It stays within bounds that keep f32 exact.
#[must_use]
pub fn adapted(coef: f64, kl: f64, target: f64) -> f64 {
    let next = if kl > 1.5 * target {
        2.0 * coef
    } else if kl < target / 1.5 {
        0.5 * coef
    } else {
        coef
    };
    next.clamp(1e-6, 1e6)
}

/// Both networks on their way down the loss, on the device.
struct Descent<'a> {
    config: &'a PpoConfig,
    proximity: Proximity,
    policy: &'a Policy,
    critic: &'a Mlp,
    old_params: Tensor<1>,
    policy_adam: Adam,
    critic_adam: Adam,
    /// Learning rates of policy and critic.
    rates: (f64, f64),
    /// Of each minibatch: those of [`policy_gradient`], then value loss and gradient norm, in all
    /// [`FIGURES`] numbers.
    figures: Vec<Tensor<1>>,
}

/// Figures of a minibatch, and the places of the KLs among them.
const FIGURES: usize = 7;
const KL: usize = 3;
const APPROX_KL: usize = 4;

impl Descent<'_> {
    /// Takes one step on a minibatch; false, and no step, when the KL has become too large.
    fn step(&mut self, mut minibatch: Samples) -> Result<bool, AgentError> {
        let config = self.config;
        if config.normalize_advantages {
            minibatch.advantages = normalized(minibatch.advantages);
        }
        let (policy_side, critic_side) = side_by_side(
            || {
                policy_gradient(
                    self.policy,
                    &self.policy_adam.params,
                    &self.old_params,
                    &minibatch,
                    self.proximity,
                    config.entropy_coef,
                )
            },
            || {
                let (clip_range, coef) = (config.value_clip_range, config.value_coef);
                value_gradient(self.critic, &self.critic_adam.params, &minibatch, clip_range, coef)
            },
        );
        let (figures, policy_gradient) = policy_side?;
        let (value_loss, value_gradient) = critic_side?;
        let (norm, scale) = clip([&policy_gradient, &value_gradient], config.max_grad_norm);
        self.figures.extend([figures.clone(), value_loss, norm]);
        if let Some(target) = config.target_kl {
            let [figures] = read([figures])?;
            if f64::from(figures[APPROX_KL]) > EARLY_STOP * target {
                return Ok(false);
            }
        }
        let Descent { policy_adam, critic_adam, rates, .. } = self;
        side_by_side(
            || policy_adam.step(&policy_gradient, &scale, rates.0),
            || critic_adam.step(&value_gradient, &scale, rates.1),
        );
        Ok(true)
    }
}
