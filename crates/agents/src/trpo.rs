//! Trust region policy optimisation (Schulman et al. 2015).

use crate::adam::{Adam, AdamState};
use crate::config::TrpoConfig;
use crate::conjugate_gradient::{conjugate_gradient, dot};
use crate::critic::{Critic, gradient, value_gradient};
use crate::distribution::Distribution;
use crate::error::AgentError;
use crate::gae::explained_variance;
use crate::metrics::{AlgorithmMetrics, UpdateMetrics};
use crate::policy::{Actor, Fisher, Policy};
use crate::rollout::Batch;
use crate::samples::{Samples, normalized, read};
use crate::threads::side_by_side;
use burn::tensor::{Device, Tensor};
use envs::Rng;
use serde::{Deserialize, Serialize};

/// The surrogate `mean(ratio * advantage)` around the policy that acted, with its trust region.
pub struct TrustRegion<'a> {
    policy: &'a Policy,
    samples: &'a Samples,
    old_params: Tensor<1>,
    fisher: Fisher,
    damping: f64,
}

impl<'a> TrustRegion<'a> {
    /// The trust region around `params`, which must be the policy that gave the samples.
    #[must_use]
    pub fn new(
        policy: &'a Policy,
        params: &[f32],
        samples: &'a Samples,
        damping: f64,
    ) -> TrustRegion<'a> {
        let old_params = Tensor::from_floats(params, &samples.observations.device());
        let fisher = policy.fisher(&old_params, samples.observations.clone());
        TrustRegion { policy, samples, old_params, fisher, damping }
    }

    fn surrogate(&self, distribution: &Distribution) -> Tensor<1> {
        let log_ratio =
            distribution.log_prob(&self.samples.actions) - self.samples.log_probs.clone();
        (log_ratio.exp() * self.samples.advantages.clone()).mean()
    }

    /// The surrogate at the old policy and its gradient `g`.
    ///
    /// # Errors
    /// When the device fails.
    pub fn gradient(&self) -> Result<(f64, Vec<f64>), AgentError> {
        let leaf = self.old_params.clone().autodiff().require_grad();
        let new = self.policy.distribution(&leaf, self.samples.observations.clone());
        let surrogate = self.surrogate(&new);
        let value = surrogate.clone().inner();
        let [value, gradient] = read([value, gradient(&leaf, surrogate)?])?;
        Ok((f64::from(value[0]), widened(&gradient)))
    }

    /// `(F + damping I) v`, where `F` is the Fisher matrix at the old policy.
    ///
    /// # Errors
    /// When the device fails.
    pub fn damped_fisher_product(&self, vector: &[f64]) -> Result<Vec<f64>, AgentError> {
        let device = self.old_params.device();
        // The product is linear in `v`: a unit vector keeps f32 from under- or overflowing.
        let norm = dot(vector, vector).sqrt();
        if norm == 0.0 {
            return Ok(vec![0.0; vector.len()]);
        }
        let unit: Vec<f32> = vector.iter().map(|&x| (x / norm) as f32).collect();
        let product = self.fisher.product(&Tensor::from_floats(unit.as_slice(), &device));
        let [product] = read([product])?;
        Ok(product
            .iter()
            .zip(vector)
            .map(|(&fisher, v)| norm * f64::from(fisher) + self.damping * v)
            .collect())
    }

    /// Surrogate, mean KL(old, new) and its sample estimate at other parameters.
    ///
    /// # Errors
    /// When the device fails.
    pub fn at(&self, params: &[f32]) -> Result<Candidate, AgentError> {
        let params = Tensor::from_floats(params, &self.old_params.device());
        let new = self.policy.distribution(&params, self.samples.observations.clone());
        let log_ratio = new.log_prob(&self.samples.actions) - self.samples.log_probs.clone();
        let approx_kl = (log_ratio.clone().exp().sub_scalar(1.0) - log_ratio).mean();
        let figures = [
            self.surrogate(&new),
            self.fisher.distribution().kl(&new).mean(),
            approx_kl,
            self.policy.entropy(&new, &self.samples.actions),
        ];
        let [figures] = read([Tensor::cat(figures.to_vec(), 0)])?;
        let [surrogate, kl, approx_kl, entropy] = [0, 1, 2, 3].map(|i| f64::from(figures[i]));
        Ok(Candidate { surrogate, kl, approx_kl, entropy })
    }
}

/// What a step would lead to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Surrogate objective.
    pub surrogate: f64,
    /// Exact mean KL(old, new).
    pub kl: f64,
    /// Mean of `(ratio - 1) - ln ratio`.
    pub approx_kl: f64,
    /// Mean entropy.
    pub entropy: f64,
}

impl Candidate {
    /// Whether the line search takes it: the surrogate is no worse and the KL holds. Not a number is
    /// neither.
    #[must_use]
    pub fn accepted(&self, old_surrogate: f64, max_kl: f64) -> bool {
        self.surrogate >= old_surrogate && self.kl <= max_kl
    }
}

/// Scale `sqrt(2 max_kl / s'Hs)` that takes the direction `s` to the border of the trust region of
/// the quadratic model (appendix C); `None` where the curvature is not positive.
#[must_use]
pub fn step_scale(curvature: f64, max_kl: f64) -> Option<f64> {
    (curvature > 0.0 && curvature.is_finite()).then(|| (2.0 * max_kl / curvature).sqrt())
}

fn widened(vector: &[f32]) -> Vec<f64> {
    vector.iter().map(|&x| f64::from(x)).collect()
}

/// Parameters moved by `fraction` of a step.
#[must_use]
pub fn moved(params: &[f32], step: &[f64], fraction: f64) -> Vec<f32> {
    params.iter().zip(step).map(|(&p, s)| (f64::from(p) + fraction * s) as f32).collect()
}

/// TRPO's part of a checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrpoState {
    /// Adam of the critic.
    pub critic_optimizer: AdamState,
    /// Stream of the shuffles.
    pub shuffling: Rng,
}

/// TRPO with its hyperparameters and its state.
#[derive(Clone, Debug)]
pub struct Trpo {
    pub(crate) config: TrpoConfig,
    pub(crate) state: TrpoState,
}

impl Trpo {
    /// No update made yet.
    #[must_use]
    pub fn new(config: TrpoConfig, critic: &Critic, shuffling: Rng) -> Trpo {
        let critic_optimizer = AdamState::new(critic.params.len());
        Trpo { config, state: TrpoState { critic_optimizer, shuffling } }
    }

    /// Takes one trust-region step with the actor and fits the critic.
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
        let mut samples = Samples::upload(batch, actor, device);
        if config.normalize_advantages {
            samples.advantages = normalized(samples.advantages);
        }
        let learning_rate = config.critic_learning_rate.at(progress);
        let max_kl = config.max_kl.at(progress);
        let (step, fit) = side_by_side(
            || take_step(config, &actor.policy, &actor.params, &samples, max_kl),
            || self.fit(critic, &samples, learning_rate),
        );
        let (step, fit) = (step?, fit?);

        actor.params = step.params;
        critic.params = fit.params;
        self.state = fit.state;
        Ok(UpdateMetrics {
            policy_loss: -step.reached.surrogate,
            value_loss: fit.loss,
            entropy: step.reached.entropy,
            kl: step.reached.kl,
            approx_kl: step.reached.approx_kl,
            explained_variance: explained_variance(&batch.values, &batch.returns),
            gradient_norm: step.gradient_norm,
            learning_rate,
            algorithm: step.metrics,
        })
    }

    /// Fits the critic to the returns by minibatch regression.
    fn fit(
        &self,
        critic: &Critic,
        samples: &Samples,
        learning_rate: f64,
    ) -> Result<Fit, AgentError> {
        let config = &self.config;
        let device = samples.returns.device();
        let mut shuffling = self.state.shuffling.clone();
        let (state, epsilon) = (&self.state.critic_optimizer, config.adam_epsilon);
        let mut adam = Adam::new(&critic.params, state, epsilon, &device);
        let unclipped = Tensor::ones([1], &device);
        let mut losses = Vec::new();
        for _ in 0..config.critic_epochs {
            for minibatch in samples.minibatches(config.critic_minibatch_size, &mut shuffling) {
                let (loss, gradient) =
                    value_gradient(&critic.network, &adam.params, &minibatch, None, 1.0)?;
                adam.step(&gradient, &unclipped, learning_rate);
                losses.push(loss);
            }
        }
        let [params, first, second, loss] =
            read([adam.params, adam.first, adam.second, Tensor::cat(losses, 0).mean()])?;
        let loss = f64::from(loss[0]);
        AgentError::check_finite("value loss", loss)?;
        AgentError::check_finite("critic's parameters", params.iter().sum::<f32>().into())?;
        let critic_optimizer = AdamState { first, second, steps: adam.steps };
        Ok(Fit { params, loss, state: TrpoState { critic_optimizer, shuffling } })
    }
}

/// What fitting the critic led to.
struct Fit {
    params: Vec<f32>,
    loss: f64,
    state: TrpoState,
}

/// What the step of the policy led to.
struct Step {
    params: Vec<f32>,
    reached: Candidate,
    gradient_norm: f64,
    metrics: AlgorithmMetrics,
}

/// One trust-region step: the natural gradient by conjugate gradient, scaled to the region's border,
/// then shortened until the surrogate and the KL agree to it. Without agreement the parameters stay.
fn take_step(
    config: &TrpoConfig,
    policy: &Policy,
    params: &[f32],
    samples: &Samples,
    max_kl: f64,
) -> Result<Step, AgentError> {
    let region = TrustRegion::new(policy, params, samples, config.damping);
    let (old_surrogate, gradient) = region.gradient()?;
    AgentError::check_finite("policy loss", old_surrogate)?;
    let gradient_norm = dot(&gradient, &gradient).sqrt();
    AgentError::check_finite("gradient norm", gradient_norm)?;

    let solution = conjugate_gradient(
        |v| region.damped_fisher_product(v),
        &gradient,
        config.cg_iterations,
        config.cg_tolerance,
    )?;
    let curvature = dot(&solution.x, &region.damped_fisher_product(&solution.x)?);
    let mut taken = None;
    let mut tried = 0;
    if let Some(scale) = step_scale(curvature, max_kl) {
        let full_step: Vec<f64> = solution.x.iter().map(|s| scale * s).collect();
        let mut fraction = 1.0;
        while tried < config.line_search_steps && taken.is_none() {
            tried += 1;
            let params = moved(params, &full_step, fraction);
            let candidate = region.at(&params)?;
            if candidate.accepted(old_surrogate, max_kl) {
                taken = Some((params, candidate, fraction));
            } else {
                fraction *= config.line_search_shrink;
            }
        }
    }
    let accepted = taken.is_some();
    let (params, reached, step_size) = match taken {
        Some(taken) => taken,
        None => (params.to_vec(), region.at(params)?, 0.0),
    };
    let metrics = AlgorithmMetrics::Trpo {
        cg_residual: solution.residual,
        cg_iterations: solution.iterations,
        step_size,
        line_search_steps: tried,
        accepted,
    };
    Ok(Step { params, reached, gradient_norm, metrics })
}
