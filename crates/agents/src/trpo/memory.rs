//! Batches that a step of TRPO counts again.

use crate::batch::Batch;
use crate::error::AgentError;
use crate::minibatch::{Minibatch, rows};
use crate::ops::standardized;
use crate::policy::{Actor, Policy};
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// The last batches, the oldest first, for as many steps to come as [`super::TrpoConfig::reuse_batches`] says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Memory(VecDeque<Kept>);

/// What the surrogate needs of a batch, arrays `[sample]` and then the row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Kept {
    observations: Vec<f32>,
    actions: Vec<f32>,
    /// Under the policy that acted then.
    log_probs: Vec<f32>,
    /// As they were estimated then.
    advantages: Vec<f32>,
}

impl Memory {
    /// The samples of all batches that are kept, and then `now`. Each sample has the probability with which its action
    /// was drawn, so that ratios are to that; but the old policy, which the KL is to, is the actor's for all of them.
    /// Advantages are standardised batch by batch, as those of `now` are, if they are. Critics learn from `now` alone.
    pub(super) fn before(
        &self,
        now: &Minibatch,
        actor: &Actor,
        standardize: bool,
        device: &Device,
    ) -> Minibatch {
        if self.0.is_empty() {
            return now.clone();
        }
        let params = Tensor::from_floats(actor.params(), device);
        let mut columns = [const { Vec::new() }; 5];
        let mut add = |batch: [Tensor<2>; 5]| {
            columns.iter_mut().zip(batch).for_each(|(column, part)| column.push(part));
        };
        for Kept { observations, actions, log_probs, advantages } in &self.0 {
            let rows = |data: &[f32]| rows(data, log_probs.len(), device);
            let (observations, mut advantages) = (rows(observations), rows(advantages));
            if standardize {
                advantages = standardized(advantages);
            }
            let outputs = actor.policy().outputs(&params, observations.clone());
            add([observations, rows(actions), rows(log_probs), outputs, advantages]);
        }
        let Minibatch { observations, actions, log_probs, outputs, advantages, .. } = now.clone();
        add([observations, actions, log_probs, outputs, advantages]);
        let [observations, actions, log_probs, outputs, advantages] =
            columns.map(|parts| Tensor::cat(parts, 0));
        let targets = Vec::new();
        Minibatch { observations, actions, log_probs, outputs, advantages, targets }
    }

    /// Takes in a batch with the advantages that the step had, and forgets all but the last `count`.
    pub(super) fn keep(&mut self, batch: &Batch, advantages: &[f32], count: usize) {
        if count == 0 {
            return;
        }
        if self.0.len() == count {
            self.0.pop_front();
        }
        self.0.push_back(Kept {
            observations: batch.observations.clone(),
            actions: batch.actions.clone(),
            log_probs: batch.log_probs.clone(),
            advantages: advantages.to_vec(),
        });
    }

    /// Checks what was saved: at most `count` batches, whose samples fit the policy.
    pub(super) fn check(&self, policy: &Policy, count: usize) -> Result<(), AgentError> {
        let name = "batches to be counted again";
        AgentError::check_saved(name, self.0.len() <= count)?;
        self.0.iter().try_for_each(|kept| {
            let Kept { observations, actions, log_probs, advantages } = kept;
            let size = log_probs.len();
            AgentError::check_length(name, size * policy.observation_width(), observations.len())?;
            AgentError::check_length(name, size * policy.action_width(), actions.len())?;
            AgentError::check_length(name, size, advantages.len())?;
            let all = [observations, actions, log_probs, advantages];
            let are_finite = all.into_iter().flatten().all(|number| number.is_finite());
            AgentError::check_saved(name, size > 0 && are_finite)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::tests::first_batch;
    use crate::ranks::Ranks;
    use crate::trpo::{TrpoConfig, TrustRegion};

    #[test]
    fn a_kept_sample_counts_by_its_ratio_to_the_policy_that_drew_it() {
        let config = TrpoConfig { rollout_steps: 64, reuse_batches: 1, ..TrpoConfig::default() };
        let (mut agent, batch) = first_batch("pendulum", 2, config);
        let advantages = &batch.reward().advantages;
        let mut memory = Memory::default();
        memory.keep(&batch, advantages, 1);
        agent.update(&batch, 0.0).unwrap();

        let (actor, device) = (agent.actor(), Device::flex());
        let policy = actor.policy();
        let params = Tensor::from_floats(actor.params(), &device);
        // As if the new policy had done the same.
        let mut now = Minibatch::upload(&batch, advantages, &device);
        now.outputs = policy.outputs(&params, now.observations.clone());
        let distribution = policy.distribution_of(now.outputs.clone(), &params);
        now.log_probs = distribution.log_prob(&now.actions);

        let counted = memory.before(&now, actor, false, &device);
        assert_eq!(counted.len(), 2 * batch.len());
        let ranks = Ranks::default().into();
        let region = TrustRegion::new(policy, actor.params(), &counted, 0.1, 0.0, &ranks);
        let log_probs: Vec<f32> = now.log_probs.try_into_vec_as().unwrap();
        let terms = log_probs.iter().zip(&batch.log_probs).zip(advantages);
        let expected: f64 = terms
            .map(|((now, then), a)| f64::from(*a) * (1.0 + f64::from(now - then).exp()))
            .sum::<f64>()
            / counted.len() as f64;
        let (surrogate, _) = region.gradient().unwrap();
        let plain = advantages.iter().copied().map(f64::from).sum::<f64>() / batch.len() as f64;
        assert!((surrogate - expected).abs() < 1e-5, "{surrogate}, not {expected}");
        assert!((surrogate - plain).abs() > 1e-3, "the policy has hardly moved");
        assert!(region.at(actor.params()).unwrap().kl.abs() < 1e-6);
    }

    #[test]
    fn the_last_batches_are_kept_and_the_oldest_comes_first() {
        let (agent, batch) = first_batch("pendulum", 2, TrpoConfig::default());
        let mut memory = Memory::default();
        for number in 0..4 {
            memory.keep(&batch, &vec![number as f32; batch.len()], 2);
        }
        let now = Minibatch::upload(&batch, &vec![4.0; batch.len()], &Device::flex());
        let counted = memory.before(&now, agent.actor(), false, &Device::flex());
        let found: Vec<f32> = counted.advantages.try_into_vec_as().unwrap();
        let expected = [2.0, 3.0, 4.0].map(|number| vec![number; batch.len()]);
        assert_eq!(found, expected.concat());
        memory.keep(&batch, &[], 0);
        assert_eq!(memory.0.len(), 2, "nothing is kept where nothing is counted again");
    }

    #[test]
    fn what_was_saved_must_fit() {
        let (agent, batch) = first_batch("pendulum", 2, TrpoConfig::default());
        let policy = agent.actor().policy();
        let mut memory = Memory::default();
        memory.keep(&batch, &batch.reward().advantages, 1);
        assert!(memory.check(policy, 1).is_ok());
        assert!(memory.check(policy, 0).is_err());
        for spoil in [
            |kept: &mut Kept| kept.observations.truncate(5),
            |kept: &mut Kept| kept.actions.push(0.0),
            |kept: &mut Kept| kept.log_probs[0] = f32::NAN,
            |kept: &mut Kept| kept.advantages.clear(),
        ] {
            let mut spoiled = memory.clone();
            spoil(&mut spoiled.0[0]);
            assert!(spoiled.check(policy, 1).is_err(), "{spoiled:?}");
        }
    }
}
