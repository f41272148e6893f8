//! What learns: the actor and its critics, with the device and the threads that they learn on.

use crate::adam::{Adam, AdamState};
use crate::config::NetworkConfig;
use crate::error::AgentError;
use crate::minibatch::Target;
use crate::network::{Linearized, Mlp};
use crate::ops::ValueGradients;
use crate::policy::Actor;
use crate::ranks::Ranks;
use crate::threads::Threads;
use burn::tensor::{Device, Tensor};
use envs::Rng;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The actor, its critics, and what they learn on.
#[derive(Clone, Debug)]
pub struct Learner {
    /// The policy that acts.
    pub actor: Actor,
    /// A value function for each signal of a batch: the rewards first, then the cost of each constraint.
    pub critics: Vec<Critic>,
    /// Where updates run.
    pub device: Device,
    /// The threads that run them.
    pub threads: Arc<Threads>,
    /// The processes that make the same updates, and share what there is to compute.
    pub ranks: Arc<Ranks>,
}

/// A value function: a network that predicts a signal's discounted sum, fitted by regression.
#[derive(Clone, Debug)]
pub struct Critic {
    /// Which of [`envs::Spec::costs`] it predicts the sum of; `None`: the rewards.
    pub cost: Option<usize>,
    /// Its network, with one output.
    pub network: Mlp,
    /// Discount factor of the sum.
    pub gamma: f64,
    /// Decay of generalised advantage estimation.
    pub gae_lambda: f64,
    /// What training changes.
    pub state: CriticState,
}

/// A critic's part of a checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CriticState {
    /// The network's parameters.
    pub params: Vec<f32>,
    /// Its optimiser.
    pub optimizer: AdamState,
}

impl Critic {
    /// A critic of the rewards, or of the cost of this index, for observations of this width; its
    /// parameters are 0.
    #[must_use]
    pub fn new(
        cost: Option<usize>,
        observation_width: usize,
        config: &NetworkConfig,
        gamma: f64,
        gae_lambda: f64,
    ) -> Critic {
        let network = Mlp::new(observation_width, 1, config.critic_hidden(), config.activation);
        let params = vec![0.0; network.num_params()];
        let optimizer = AdamState::new(params.len());
        Critic { cost, network, gamma, gae_lambda, state: CriticState { params, optimizer } }
    }

    /// Fresh parameters. A linear critic starts at value 0, as a table would.
    #[must_use]
    pub fn init(&self, config: &NetworkConfig, rng: &mut Rng) -> Vec<f32> {
        let last_gain = if config.critic_hidden().is_empty() { 0.0 } else { 1.0 };
        self.network.init(config.init, last_gain, rng)
    }

    /// Writes `V(s)` for rows of normalised observations into `values`.
    pub fn values(&self, observations: &[f32], values: &mut [f32]) {
        self.network.forward_plain(&self.state.params, observations, values);
    }

    /// The critic's parameters on their way down the value loss; `epsilon` is Adam's.
    #[must_use]
    pub fn adam(&self, epsilon: f64, device: &Device) -> Adam {
        Adam::new(&self.state.params, &self.state.optimizer, epsilon, None, device)
    }

    /// The gradients of `coef` times the critic's loss ([`crate::ops::value_loss`]) on minibatches of
    /// `observations [batch, in]`.
    #[must_use]
    pub fn gradients(
        &self,
        observations: &Tensor<2>,
        target: &Target,
        clip_range: Option<f64>,
        coef: f64,
    ) -> ValueGradients {
        ValueGradients::new(&self.network, observations, target, clip_range, coef)
    }

    /// The network at `params [params]` for `observations [batch, in]`: its values, and what their
    /// derivatives need.
    #[must_use]
    pub fn forward(&self, params: &Tensor<1>, observations: &Tensor<2>) -> Linearized {
        self.network.linearize(params.clone(), observations.clone())
    }
}

impl CriticState {
    /// Checks that a saved state fits this critic, and that training can go on from it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self, critic: &Critic) -> Result<(), AgentError> {
        let expected = critic.network.num_params();
        AgentError::check_length("critic", expected, self.params.len())?;
        AgentError::check_saved("critic's parameters", self.params.iter().all(|x| x.is_finite()))?;
        self.optimizer.check("critic's optimiser", expected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_critic_has_its_own_hidden_layers_where_they_are_given() {
        let shared = NetworkConfig { hidden: vec![], ..NetworkConfig::default() };
        let own = NetworkConfig { critic_hidden: Some(vec![8, 4]), ..shared.clone() };
        let params = |config| Critic::new(None, 3, config, 0.99, 0.95).network.num_params();
        assert_eq!(params(&shared), 3 + 1);
        assert_eq!(params(&own), (3 * 8 + 8) + (8 * 4 + 4) + (4 + 1));
        // It starts as a network does, and only a linear one at value 0.
        let critic = Critic::new(Some(0), 3, &own, 0.99, 0.95);
        let mut rng = envs::stream(1, envs::Stream::Sampling(0));
        let last = critic.network.num_params() - 5;
        assert!(critic.init(&own, &mut rng)[last..last + 4].iter().all(|&weight| weight != 0.0));
    }
}
