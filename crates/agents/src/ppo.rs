//! Proximal policy optimisation (Schulman et al. 2017); with constraints PPO-Lagrangian (Ray, Achiam and
//! Amodei 2019; Stooke, Achiam and Abbeel 2020).
//!
//! ```
//! use agents::PpoConfig;
//!
//! let config: PpoConfig = toml::from_str("learning_rate = 1e-3\nkl_penalty = { target = 0.02 }")?;
//! assert_eq!(config.learning_rate.at(0.5), 1e-3);
//! assert_eq!((config.gamma, config.kl_penalty.unwrap().initial_coef), (0.99, 1.0));
//! assert!(toml::from_str::<PpoConfig>("learnin_rate = 1e-3").is_err());
//! # Ok::<(), toml::de::Error>(())
//! ```

mod config;
mod descent;

pub use config::{KlPenalty, PpoConfig};

use crate::adam::{Adam, AdamState};
use crate::algorithm::{Algorithm, AlgorithmConfig, AlgorithmState};
use crate::batch::Batch;
use crate::error::AgentError;
use crate::gae::explained_variance;
use crate::lagrangian::{Lagrangian, mean_losses};
use crate::learner::{Critic, CriticState, Learner};
use crate::metrics::{Metrics, PolicyMetrics};
use crate::minibatch::Minibatch;
use crate::ops::{Handle, PolicyGradients, Surrogate, ValueGradients};
use crate::ranks::Team;
use crate::stakes::Stakes;
use burn::tensor::Tensor;
use descent::Descent;
use envs::Rng;
use serde::{Deserialize, Serialize};

/// An early stop happens at this multiple of the target KL, as in Stable-Baselines3.
const EARLY_STOP: f64 = 1.5;

/// PPO with its hyperparameters and its state.
#[derive(Clone, Debug)]
pub struct Ppo {
    config: PpoConfig,
    state: PpoState,
}

/// PPO's part of a checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct PpoState {
    /// Adam of the actor.
    policy_optimizer: AdamState,
    /// Coefficient of the KL penalty.
    kl_coef: f64,
    /// Stream of the shuffles.
    shuffling: Rng,
    /// What the returns have been like.
    stakes: Stakes,
    /// Multipliers of the constraints.
    lagrangian: Lagrangian,
}

crate::metrics! {
    /// What an update of PPO reports: means over its minibatches where not said otherwise.
    pub struct PpoMetrics {
        /// Negative surrogate objective, without the entropy bonus.
        pub policy_loss: f64,
        /// Mean squared error of the reward's critic.
        pub value_loss: f64,
        /// Entropy of the policy, in nats.
        pub entropy: f64,
        /// Exact KL(old, new) of the last epoch's minibatches, each before its own step.
        pub kl: f64,
        /// The same from the ratios alone; an early stop looks at this of one minibatch.
        pub approx_kl: f64,
        /// Share of the returns' variance that the critic explained before the update.
        pub explained_variance: f64,
        /// Euclidean norm of the gradient of all parameters before clipping.
        pub gradient_norm: f64,
        /// Learning rate of the actor.
        pub learning_rate: f64,
        /// What the advantages left of it: 1 unless they are below their floor.
        pub step_share: f64,
        /// Share of samples whose ratio left the clip range.
        pub clip_fraction: f64,
        /// Clip range in force; none under a KL penalty.
        pub clip_range: Option<f64>,
        /// KL coefficient in force; none under the clip.
        pub kl_coef: Option<f64>,
        /// Exact KL(old, new) of the whole batch after the last step, by which the coefficient is
        /// adapted; none under the clip.
        pub kl_after_update: Option<f64>,
        /// Epochs begun; fewer than configured after an early stop.
        pub epochs: f64,
    }
}

impl Ppo {
    /// No update made yet; `shuffling` is the stream of the shuffles.
    #[must_use]
    pub fn new(config: PpoConfig, learner: &Learner, shuffling: Rng) -> Ppo {
        let state = PpoState {
            policy_optimizer: AdamState::new(learner.actor.params.len()),
            kl_coef: config.kl_penalty.map_or(0.0, |penalty| penalty.initial_coef),
            shuffling,
            stakes: Stakes::default(),
            lagrangian: Lagrangian::new(config.constraints()),
        };
        Ppo { config, state }
    }

    fn surrogate(&self, progress: f64) -> Surrogate {
        match (self.config.kl_penalty, self.config.clip_range) {
            (Some(_), _) => Surrogate::Penalized { coef: self.state.kl_coef },
            (None, Some(range)) => Surrogate::Clipped { range: range.at(progress) },
            (None, None) => Surrogate::Clipped { range: PpoConfig::DEFAULT_CLIP_RANGE },
        }
    }
}

impl Algorithm for Ppo {
    /// Some epochs of shuffled minibatches.
    fn update(
        &mut self,
        learner: &mut Learner,
        batch: &Batch,
        progress: f64,
    ) -> Result<Metrics, AgentError> {
        let config = &self.config;
        let Learner { device, ranks, .. } = &*learner;
        let rate = config.learning_rate.at(progress);
        let critic_rate = config.critic_learning_rate.map_or(rate, |rate| rate.at(progress));
        let mut lagrangian = self.state.lagrangian.clone();
        lagrangian.update(config.constraints(), batch);
        let objective = lagrangian.objective(batch);
        let mut stakes = self.state.stakes.clone();
        let step_share = stakes.step_share(&objective, config.advantage_floor);
        let actor_rate = rate * step_share;
        let surrogate = self.surrogate(progress);
        let entropy_coef = config.entropy_coef.at(progress);

        let (actor, optimizer) = (&learner.actor, &self.state.policy_optimizer);
        let policy = actor.policy();
        let (epsilon, bounds) = (config.adam_epsilon, policy.bounds());
        let samples = Minibatch::upload(batch, &objective.advantages, device);
        let sizes = learner.critics.iter().map(|critic| critic.state.params.len());
        let teams =
            Team::each(ranks, &[actor.params.len()].into_iter().chain(sizes).collect::<Vec<_>>());
        // A thread copies what it will work on, which it has in its core's cache.
        let (mut actor, mut critics) = ranks.join(
            || {
                let adam = Adam::new(&actor.params, optimizer, epsilon, bounds, device);
                let rates = [actor_rate, config.max_grad_norm];
                Descent::new(0, &teams[0], adam, PolicyGradients::REPORTED, rates, device)
            },
            || {
                let descent = |(index, (critic, team)): (usize, (&Critic, &Team))| {
                    let adam = critic.adam(epsilon, device);
                    let rates = [critic_rate, config.max_grad_norm];
                    Descent::new(1 + index, team, adam, ValueGradients::REPORTED, rates, device)
                };
                let critics = learner.critics.iter().zip(&teams[1..]).enumerate();
                critics.map(descent).collect::<Vec<Descent>>()
            },
        );
        let standardize = config.normalize_advantages;
        let old_params = actor.adam.params().tensor();
        let policy_gradients = policy
            .gradients(&old_params, &samples, surrogate, entropy_coef, standardize)
            .by(&teams[0]);
        let (clip_range, coef) = (config.value_clip_range, config.value_coef);
        let value_gradients: Vec<ValueGradients> =
            (learner.critics.iter().zip(&samples.targets).zip(&teams[1..]))
                .map(|((critic, target), team)| {
                    critic.gradients(&samples.observations, target, clip_range, coef).by(team)
                })
                .collect();
        let mut shuffling = self.state.shuffling.clone();
        // What a minibatch's gradients report, and what those of the one before did.
        let empty = || teams.iter().map(|_| Handle::empty(device)).collect::<Vec<_>>();
        let (mut reports, mut last) = (empty(), empty());
        let mut is_step_due = false;
        let mut order = Vec::new();
        let (mut epochs, mut last_epoch) = (0_u32, 0);
        'epochs: while (epochs as usize) < config.epochs {
            epochs += 1;
            last_epoch = actor.reports.minibatches();
            let order = samples.shuffled(&mut shuffling, &mut order);
            for indices in order.chunks(config.minibatch_size) {
                let due = is_step_due.then_some(&last[..]);
                let (of_actor, of_critics) = reports.split_at_mut(1);
                ranks.join(
                    || {
                        actor.next(due, &mut of_actor[0], |params, gradient, report| {
                            policy_gradients.at(params, indices, gradient, report);
                        });
                    },
                    || {
                        let critics = critics.iter_mut().zip(of_critics).zip(&value_gradients);
                        for ((critic, report), value_gradients) in critics {
                            critic.next(due, report, |params, gradient, report| {
                                value_gradients.at(params, indices, gradient, report);
                            });
                        }
                    },
                );
                let networks = [&mut actor].into_iter().chain(&mut critics);
                Descent::tell_reports(&teams, networks, &mut reports, device)?;
                is_step_due = false;
                if let Some(target) = config.target_kl
                    && PolicyMetrics::from_row(actor.reports.last()?.map(f64::from)).approx_kl
                        > EARLY_STOP * target
                {
                    break 'epochs;
                }
                std::mem::swap(&mut reports, &mut last);
                is_step_due = true;
            }
        }
        if is_step_due {
            ranks.join(
                || actor.step(&last),
                || critics.iter_mut().for_each(|critic| critic.step(&last)),
            );
        }

        let mut kl_coef = self.state.kl_coef;
        let mut kl_after_update = None;
        if let Some(penalty) = config.kl_penalty {
            let metrics = || policy_gradients.metrics_of_all(actor.adam.params());
            let own = teams[0].is_own().then(metrics).transpose()?;
            let kl = Team::tell(&teams[..1], vec![own.map(|metrics| metrics.kl)])[0];
            AgentError::check_finite("KL divergence", kl)?;
            kl_coef = adapted(kl_coef, kl, penalty.target);
            kl_after_update = Some(kl);
        }
        let minibatches = actor.reports.minibatches();
        let reports = [&actor].into_iter().chain(&critics);
        let reports = reports.map(|network| network.reports.rows()).collect();
        let critics = critics.into_iter().map(|critic| critic.adam).collect();
        let (reports, [policy], critics) =
            Adam::read_all(Tensor::cat(reports, 0), [("policy", actor.adam)], critics)?;
        let fitted = [policy].into_iter().chain(critics).zip(&teams);
        let own = fitted.map(|(fitted, team)| team.is_own().then_some(fitted)).collect();
        let mut fitted = Team::tell(&teams, own).into_iter();
        let Some((params, policy_optimizer)) = fitted.next() else {
            unreachable!("an actor is there")
        };
        let (of_policy, of_critics) = reports.split_at(minibatches * PolicyGradients::REPORTED);
        let (of_values, of_costs) = of_critics.split_at(minibatches * ValueGradients::REPORTED);
        let MinibatchMetrics { policy, value_loss, gradient_norm } =
            MinibatchMetrics::means(of_policy, of_values, last_epoch)?;
        let cost_losses = mean_losses(of_costs, minibatches)?;

        learner.actor.params = params;
        self.state = PpoState { policy_optimizer, kl_coef, shuffling, stakes, lagrangian };
        for (critic, (params, optimizer)) in learner.critics.iter_mut().zip(fitted) {
            critic.state = CriticState { params, optimizer };
        }
        let reward = batch.reward();
        let (clip_range, kl_coef) = match surrogate {
            Surrogate::Clipped { range } => (Some(range), None),
            Surrogate::Penalized { coef } => (None, Some(coef)),
            Surrogate::Plain => (None, None),
        };
        let metrics = PpoMetrics {
            policy_loss: policy.policy_loss,
            value_loss,
            entropy: policy.entropy,
            kl: policy.kl,
            approx_kl: policy.approx_kl,
            explained_variance: explained_variance(&reward.values, &reward.returns),
            gradient_norm,
            learning_rate: rate,
            step_share,
            clip_fraction: policy.clip_fraction,
            clip_range,
            kl_coef,
            kl_after_update,
            epochs: epochs.into(),
        };
        let mut metrics = metrics.into();
        let (constraints, lagrangian) = (self.config.constraints(), &self.state.lagrangian);
        lagrangian.report(constraints, batch, &cost_losses, &mut metrics);
        Ok(metrics)
    }

    fn state(&self) -> Result<AlgorithmState, AgentError> {
        AlgorithmState::new(PpoConfig::NAME, &self.state)
    }

    fn set_state(&mut self, state: &AlgorithmState, learner: &Learner) -> Result<(), AgentError> {
        let state: PpoState = state.read(PpoConfig::NAME)?;
        state.policy_optimizer.check("policy's optimiser", learner.actor.params.len())?;
        AgentError::check_saved(
            "KL coefficient",
            state.kl_coef.is_finite() && state.kl_coef >= 0.0,
        )?;
        state.stakes.check()?;
        state.lagrangian.check(self.config.constraints().len())?;
        self.state = state;
        Ok(())
    }
}

/// What a minibatch reports.
struct MinibatchMetrics {
    policy: PolicyMetrics,
    value_loss: f64,
    gradient_norm: f64,
}

impl MinibatchMetrics {
    /// How many metrics they give.
    const COUNT: usize = PolicyMetrics::COUNT + 2;

    /// Means over the minibatches in which the policy and the rewards' critic reported these rows: metrics of the
    /// policy, the loss of the critic, and the norm of both gradients. Of both KLs, means over the minibatches from
    /// `last_epoch` on.
    fn means(
        of_policy: &[f32],
        of_values: &[f32],
        last_epoch: usize,
    ) -> Result<MinibatchMetrics, AgentError> {
        let of_policy = of_policy.as_chunks::<{ PolicyGradients::REPORTED }>().0;
        let of_values = of_values.as_chunks::<{ ValueGradients::REPORTED }>().0;
        let minibatches: Vec<[f32; Self::COUNT]> = (of_policy.iter().zip(of_values))
            .map(|(of_policy, of_values)| {
                let &[loss, entropy, clipped, kl, approx_kl, squares] = of_policy;
                let &[value_loss, value_squares] = of_values;
                let norm = f64::from(squares + value_squares).sqrt() as f32;
                [loss, entropy, clipped, kl, approx_kl, value_loss, norm]
            })
            .collect();
        let mean = |rows: &[[f32; Self::COUNT]]| -> [f64; Self::COUNT] {
            std::array::from_fn(|index| {
                rows.iter().map(|row| f64::from(row[index])).sum::<f64>() / rows.len() as f64
            })
        };
        let [all @ .., value_loss, gradient_norm] = mean(&minibatches);
        let [last @ .., _, _] = mean(&minibatches[last_epoch..]);
        let last = PolicyMetrics::from_row(last);
        let policy = PolicyMetrics {
            kl: last.kl,
            approx_kl: last.approx_kl,
            ..PolicyMetrics::from_row(all)
        };
        for (name, value) in [
            ("policy loss", policy.policy_loss),
            ("value loss", value_loss),
            ("entropy", policy.entropy),
            ("gradient norm", gradient_norm),
            ("KL divergence", policy.kl),
        ] {
            AgentError::check_finite(name, value)?;
        }
        Ok(MinibatchMetrics { policy, value_loss, gradient_norm })
    }
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
