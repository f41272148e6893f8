//! Returns and advantages from a finished rollout: pure functions over slices.
//!
//! All arrays are `[time][env]`. Where an episode ends inside the rollout nothing leaks over the
//! boundary: a terminated step is followed by value 0, a truncated one by `V(final observation)`.

/// A finished rollout, arrays `[time][env]`.
#[derive(Clone, Copy, Debug)]
pub struct Trajectory<'a> {
    /// `r_t`
    pub rewards: &'a [f32],
    /// `V(s_t)`
    pub values: &'a [f32],
    /// `V(s_{t+1})`, of the episode's final observation where it ended; ignored where terminated.
    pub next_values: &'a [f32],
    /// The task ended with this step.
    pub terminated: &'a [bool],
    /// The episode was truncated after this step.
    pub truncated: &'a [bool],
    /// Environments side by side.
    pub num_envs: usize,
}

impl Trajectory<'_> {
    /// Temporal-difference residual `delta_t = r_t + gamma V(s_{t+1}) - V(s_t)` of entry `i`.
    #[must_use]
    pub fn residual(&self, i: usize, gamma: f64) -> f64 {
        f64::from(self.rewards[i]) + self.bootstrap(i, gamma) - f64::from(self.values[i])
    }

    /// `gamma V(s_{t+1})`, 0 where the step terminated.
    fn bootstrap(&self, i: usize, gamma: f64) -> f64 {
        if self.terminated[i] { 0.0 } else { gamma * f64::from(self.next_values[i]) }
    }

    /// Whether the entry after `i` in time belongs to the same episode and lies in the rollout.
    fn continues(&self, i: usize) -> bool {
        !self.terminated[i] && !self.truncated[i] && i + self.num_envs < self.rewards.len()
    }
}

/// Generalised advantage estimation (Schulman et al. 2016, equation 16), `[time][env]`:
/// `A_t = delta_t + gamma lambda A_{t+1}`, started afresh at each episode's end.
///
/// The matching critic target is `A_t + V(s_t)`.
///
/// ```
/// use agents::gae::{Trajectory, gae};
///
/// let trajectory = Trajectory {
///     rewards: &[1.0, 1.0],
///     values: &[2.0, 3.0],
///     next_values: &[3.0, 0.0],
///     terminated: &[false, true],
///     truncated: &[false, false],
///     num_envs: 1,
/// };
/// let mut advantages = [0.0; 2];
/// gae(&trajectory, 1.0, 0.5, &mut advantages);
/// // Residuals: 1 + 3 - 2 = 2 and 1 + 0 - 3 = -2.
/// assert_eq!(advantages, [2.0 + 0.5 * -2.0, -2.0]);
/// ```
pub fn gae(trajectory: &Trajectory<'_>, gamma: f64, gae_lambda: f64, advantages: &mut [f32]) {
    let num_envs = trajectory.num_envs;
    // Of the step that follows, one for each environment.
    let mut next = vec![0.0; num_envs];
    for (time, advantages) in advantages.chunks_exact_mut(num_envs).enumerate().rev() {
        for (env, (advantage, next)) in advantages.iter_mut().zip(&mut next).enumerate() {
            let i = time * num_envs + env;
            let rest = if trajectory.continues(i) { *next } else { 0.0 };
            *next = trajectory.residual(i, gamma) + gamma * gae_lambda * rest;
            *advantage = *next as f32;
        }
    }
}

/// Share of the variance of `returns` that `values` explain: `1 - Var(returns - values) /
/// Var(returns)`; 1 is perfect, 0 no better than a constant. Not a number when the returns are
/// constant.
#[must_use]
pub fn explained_variance(values: &[f32], returns: &[f32]) -> f64 {
    let total = variance(returns.iter().copied().map(f64::from));
    let rest = variance(values.iter().zip(returns).map(|(&v, &r)| f64::from(r) - f64::from(v)));
    if total == 0.0 { f64::NAN } else { 1.0 - rest / total }
}

/// Variance of the numbers, of the population.
pub(crate) fn variance(numbers: impl Iterator<Item = f64> + Clone) -> f64 {
    let (count, sum) = numbers.clone().fold((0.0, 0.0), |(count, sum), x| (count + 1.0, sum + x));
    let mean = sum / count;
    numbers.map(|x| (x - mean) * (x - mean)).sum::<f64>() / count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_truncated_step_keeps_its_value_and_a_terminated_one_loses_it() {
        let mut trajectory = Trajectory {
            rewards: &[1.0],
            values: &[0.5],
            next_values: &[7.0],
            terminated: &[false],
            truncated: &[true],
            num_envs: 1,
        };
        assert!((trajectory.residual(0, 0.5) - (1.0 + 3.5 - 0.5)).abs() < 1e-12);
        trajectory.terminated = &[true];
        assert!((trajectory.residual(0, 0.5) - 0.5).abs() < 1e-12);
    }

    #[test]
    fn nothing_leaks_from_one_episode_into_the_one_before() {
        let trajectory = Trajectory {
            rewards: &[1.0, 100.0],
            values: &[0.0, 0.0],
            next_values: &[3.0, 0.0],
            terminated: &[false, true],
            truncated: &[true, false],
            num_envs: 1,
        };
        let mut advantages = [0.0; 2];
        gae(&trajectory, 1.0, 1.0, &mut advantages);
        assert_eq!(advantages, [4.0, 100.0]);
    }

    #[test]
    fn explained_variance_of_a_perfect_and_a_constant_critic() {
        assert!((explained_variance(&[1.0, 2.0], &[1.0, 2.0]) - 1.0).abs() < 1e-12);
        assert!(explained_variance(&[5.0, 5.0], &[1.0, 2.0]).abs() < 1e-12);
    }
}
