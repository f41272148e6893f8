//! Actor, critic and algorithm together.

use crate::config::{AgentConfig, NetworkConfig};
use crate::critic::Critic;
use crate::error::AgentError;
use crate::metrics::UpdateMetrics;
use crate::network::Mlp;
use crate::policy::{Actor, Policy};
use crate::ppo::{Ppo, PpoState};
use crate::rollout::Batch;
use crate::threads::with_help;
use crate::trpo::{Trpo, TrpoState};
use burn::tensor::Device;
use envs::{ObservationNormalizer, Space, Stream, stream};
use serde::{Deserialize, Serialize};

/// Everything that an agent's next updates depend on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgentState {
    /// The policy's parameters.
    pub policy: Vec<f32>,
    /// The critic's parameters.
    pub critic: Vec<f32>,
    /// Statistics of the observations, where they are normalised.
    pub observation_normalizer: Option<ObservationNormalizer>,
    /// What the algorithm keeps.
    pub algorithm: AlgorithmState,
}

/// What an algorithm keeps from one update to the next.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum AlgorithmState {
    /// Of PPO.
    Ppo(PpoState),
    /// Of TRPO.
    Trpo(TrpoState),
}

#[derive(Clone, Debug)]
enum Algorithm {
    Ppo(Ppo),
    Trpo(Trpo),
}

/// Actor, critic and algorithm together.
#[derive(Clone, Debug)]
pub struct Agent {
    actor: Actor,
    critic: Critic,
    algorithm: Algorithm,
    rollout_steps: usize,
    gamma: f64,
    gae_lambda: f64,
    device: Device,
}

impl Agent {
    /// A new agent for these spaces; its weights depend on `seed` and the configuration only.
    ///
    /// # Errors
    /// When the settings do not fit the spaces (`network.squash` without finite action bounds).
    pub fn new(
        config: &AgentConfig,
        network: &NetworkConfig,
        normalize_observations: bool,
        observation_space: &Space,
        action_space: &Space,
        seed: u64,
        device: Device,
    ) -> Result<Agent, AgentError> {
        let mut rng = stream(seed, Stream::Initialization);
        let policy = Policy::new(observation_space, action_space, network)?;
        let width = policy.observation_width();
        let params = policy.init(network, &mut rng);
        let normalizer = normalize_observations.then(|| ObservationNormalizer::new(width));
        let actor = Actor { policy, params, normalizer };
        let critic = Mlp::new(width, 1, network);
        // A linear critic starts at value 0, as a table would.
        let last_gain = if network.hidden.is_empty() { 0.0 } else { 1.0 };
        let params = critic.init(network.init, last_gain, &mut rng);
        let critic = Critic { network: critic, params };
        let shuffling = stream(seed, Stream::Shuffling);
        let algorithm = match config {
            AgentConfig::Ppo(ppo) => {
                Algorithm::Ppo(Ppo::new(ppo.clone(), &actor, &critic, shuffling))
            }
            AgentConfig::Trpo(trpo) => Algorithm::Trpo(Trpo::new(trpo.clone(), &critic, shuffling)),
        };
        Ok(Agent {
            actor,
            critic,
            algorithm,
            rollout_steps: config.rollout_steps(),
            gamma: config.gamma(),
            gae_lambda: config.gae_lambda(),
            device,
        })
    }

    /// The policy that acts.
    #[must_use]
    pub fn actor(&self) -> &Actor {
        &self.actor
    }

    /// The critic.
    #[must_use]
    pub fn critic(&self) -> &Critic {
        &self.critic
    }

    /// Parameters of policy and critic together.
    #[must_use]
    pub fn num_params(&self) -> usize {
        self.actor.params.len() + self.critic.params.len()
    }

    pub(crate) fn normalizer_mut(&mut self) -> Option<&mut ObservationNormalizer> {
        self.actor.normalizer.as_mut()
    }

    /// Steps per environment and iteration.
    #[must_use]
    pub fn rollout_steps(&self) -> usize {
        self.rollout_steps
    }

    /// Discount factor.
    #[must_use]
    pub fn gamma(&self) -> f64 {
        self.gamma
    }

    /// Decay of generalised advantage estimation.
    #[must_use]
    pub fn gae_lambda(&self) -> f64 {
        self.gae_lambda
    }

    /// Improves actor and critic on a batch. `progress` is the share of the run that is done.
    ///
    /// # Errors
    /// When a loss or a gradient is not finite; the agent must not be used then.
    pub fn update(&mut self, batch: &Batch, progress: f64) -> Result<UpdateMetrics, AgentError> {
        let Agent { actor, critic, algorithm, device, .. } = self;
        with_help(device, || match algorithm {
            Algorithm::Ppo(ppo) => ppo.update(actor, critic, batch, progress, device),
            Algorithm::Trpo(trpo) => trpo.update(actor, critic, batch, progress, device),
        })
    }

    /// A copy of all state.
    #[must_use]
    pub fn state(&self) -> AgentState {
        AgentState {
            policy: self.actor.params.clone(),
            critic: self.critic.params.clone(),
            observation_normalizer: self.actor.normalizer.clone(),
            algorithm: match &self.algorithm {
                Algorithm::Ppo(ppo) => AlgorithmState::Ppo(ppo.state.clone()),
                Algorithm::Trpo(trpo) => AlgorithmState::Trpo(trpo.state.clone()),
            },
        }
    }

    /// Goes on from a saved state.
    ///
    /// # Errors
    /// When it belongs to another algorithm, network or environment; the agent is then unchanged.
    pub fn set_state(&mut self, state: AgentState) -> Result<(), AgentError> {
        self.check_policy(&state)?;
        let (policy, critic) = (self.actor.params.len(), self.critic.params.len());
        AgentError::check_length("critic", critic, state.critic.len())?;
        match (&mut self.algorithm, state.algorithm) {
            (Algorithm::Ppo(ppo), AlgorithmState::Ppo(saved)) => {
                saved.policy_optimizer.check("policy's optimiser", policy)?;
                saved.critic_optimizer.check("critic's optimiser", critic)?;
                ppo.state = saved;
            }
            (Algorithm::Trpo(trpo), AlgorithmState::Trpo(saved)) => {
                saved.critic_optimizer.check("critic's optimiser", critic)?;
                trpo.state = saved;
            }
            _ => {
                return Err(AgentError::Mismatch(
                    "the saved agent uses the other algorithm".into(),
                ));
            }
        }
        self.actor.params = state.policy;
        self.actor.normalizer = state.observation_normalizer;
        self.critic.params = state.critic;
        Ok(())
    }

    /// Takes over the policy, and its observation normaliser if there is one, from another run's
    /// state; everything else stays fresh.
    ///
    /// # Errors
    /// When the policy has another shape, or one run normalises observations and the other does not.
    pub fn warm_start(&mut self, other: &AgentState) -> Result<(), AgentError> {
        self.check_policy(other)?;
        self.actor.params.clone_from(&other.policy);
        self.actor.normalizer.clone_from(&other.observation_normalizer);
        Ok(())
    }

    fn check_policy(&self, state: &AgentState) -> Result<(), AgentError> {
        AgentError::check_length("policy", self.actor.params.len(), state.policy.len())?;
        let saved = state.observation_normalizer.as_ref();
        match (&self.actor.normalizer, saved) {
            (None, None) => Ok(()),
            (Some(ours), Some(saved)) => AgentError::check_length(
                "observation normaliser",
                ours.statistics().mean().len(),
                saved.statistics().mean().len(),
            ),
            (Some(_), None) => Err(AgentError::Mismatch(
                "the saved policy was trained without env.normalize_observations: turn it off"
                    .into(),
            )),
            (None, Some(_)) => Err(AgentError::Mismatch(
                "the saved policy was trained with env.normalize_observations: turn it on".into(),
            )),
        }
    }
}
