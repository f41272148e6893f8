//! An episode, and what is said of its moments.

use super::picture::show;
use agents::Recording;
use envs::Drawing;

/// An episode that is shown.
pub struct ReplayedEpisode {
    /// Counted from 1.
    pub number: u32,
    /// How many are shown.
    pub of: u32,
    /// Names of the environment's costs.
    pub costs: Vec<String>,
    /// What happened in it.
    pub recording: Recording,
    /// Of its moments, `[steps + 1]`.
    pub pictures: Vec<Drawing>,
}

impl ReplayedEpisode {
    /// Steps until its end.
    pub fn steps(&self) -> usize {
        self.recording.rewards.len()
    }

    /// How long a step is shown, s.
    pub fn seconds(&self) -> f64 {
        self.pictures[0].seconds
    }

    /// What is said of the moment after so many steps, in parts.
    pub fn caption(&self, step: usize, with_action: bool) -> Vec<String> {
        let Recording { actions, rewards, costs, end, .. } = &self.recording;
        let mut parts = Vec::new();
        if self.of > 1 {
            parts.push(format!("episode {} of {}", self.number, self.of));
        }
        parts.push(format!("step {step} of {}", self.steps()));
        parts.push(format!("return {}", show(rewards[..step].iter().sum())));
        let cost = |index: usize| costs[..step].iter().map(|costs| costs[index]).sum();
        let sums = (0..self.costs.len()).map(|index| show(cost(index)));
        parts.extend(sums.zip(&self.costs).map(|(sum, name)| format!("{name} {sum}")));
        let success = end.and_then(|end| end.success).filter(|_| step == self.steps());
        parts.extend(success.map(|success| if success { "solved" } else { "not solved" }.into()));
        // What is longest comes last: a narrow terminal cuts it off.
        if with_action && step > 0 {
            let action: Vec<String> =
                actions[step - 1].iter().map(|&number| show(number.into())).collect();
            parts.push(format!("reward {}", show(rewards[step - 1])));
            parts.push(format!("action {}", action.join(", ")));
        }
        parts
    }
}
