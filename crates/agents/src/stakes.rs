//! How much is at stake in a batch.

use crate::batch::Signal;
use crate::error::AgentError;
use crate::gae::variance;
use envs::RunningMeanStd;
use serde::{Deserialize, Serialize};

/// The deviation of all returns so far, which the advantages of a batch are measured against.
///
/// Where a policy has solved its task and the critic predicts every return, what is left of the advantages
/// is the critic's noise. Normalised to deviation 1 it would push the policy as hard as any lesson, until
/// the task is unlearned. So the step shrinks with advantages that are small beside the returns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Stakes {
    returns: RunningMeanStd,
}

impl Default for Stakes {
    fn default() -> Stakes {
        Stakes { returns: RunningMeanStd::new(1) }
    }
}

impl Stakes {
    /// Takes in a batch. What is left of the length of its step: 1, or less where the deviation of the
    /// advantages is below `floor` times the deviation of all returns, and by as much.
    pub fn step_share(&mut self, signal: &Signal, floor: f64) -> f64 {
        self.returns.update(&signal.returns);
        let least = floor * floor * self.returns.variance()[0];
        let variance = variance(signal.advantages.iter().copied().map(f64::from));
        if variance < least { (variance / least).sqrt() } else { 1.0 }
    }

    /// Checks that training can go on from a saved state.
    ///
    /// # Errors
    /// When no run can have left it.
    pub fn check(&self) -> Result<(), AgentError> {
        let sound = self.returns.is_sound() && self.returns.mean().len() == 1;
        AgentError::check_saved("deviation of the returns", sound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The share that returns from 0 to 40, deviation 20, and advantages of plus and minus this leave of
    /// a step when the floor is 0.01; rewards are in these units.
    fn share(advantage: f32, unit: f32, floor: f64) -> f64 {
        let signal = |returns: [f32; 2]| Signal {
            returns: returns.map(|x| x * unit).to_vec(),
            advantages: vec![advantage * unit, -advantage * unit],
            ..Signal::default()
        };
        let mut stakes = Stakes::default();
        stakes.step_share(&signal([0.0, 40.0]), floor);
        stakes.step_share(&signal([0.0, 40.0]), floor)
    }

    #[test]
    fn a_step_is_shorter_where_little_is_at_stake() {
        for unit in [1.0, 1000.0] {
            assert_eq!(share(0.5, unit, 0.01), 1.0, "above the floor of 0.2");
            assert!((share(0.05, unit, 0.01) - 0.25).abs() < 1e-3, "a quarter of the floor");
            assert_eq!(share(0.0, unit, 0.01), 0.0, "nothing to learn");
            assert_eq!(share(0.0, unit, 0.0), 1.0, "no floor");
        }
    }

    #[test]
    fn what_returns_were_is_remembered() {
        let signal = |returns: Vec<f32>| Signal {
            advantages: vec![0.1, -0.1],
            returns,
            ..Signal::default()
        };
        let mut stakes = Stakes::default();
        assert_eq!(stakes.step_share(&signal(vec![0.0, 0.2]), 0.5), 1.0);
        let mut stakes = Stakes::default();
        stakes.step_share(&signal(vec![0.0, 40.0]), 0.5);
        // All returns are the same by now; they weren't before.
        assert!(stakes.step_share(&signal(vec![40.0, 40.0]), 0.5) < 0.02);
    }
}
