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
    /// The episode was cut short after this step.
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
pub fn gae(trajectory: &Trajectory<'_>, gamma: f64, gae_lambda: f64, advantages: &mut [f32]) {
    let num_envs = trajectory.num_envs;
    for env in 0..num_envs {
        let mut next = 0.0;
        for i in (env..trajectory.rewards.len()).step_by(num_envs).rev() {
            if !trajectory.continues(i) {
                next = 0.0;
            }
            next = trajectory.residual(i, gamma) + gamma * gae_lambda * next;
            advantages[i] = next as f32;
        }
    }
}

/// K-step returns `r_t + gamma r_{t+1} + ... + gamma^{K-1} r_{t+K-1} + gamma^K V(s_{t+K})`,
/// `[time][env]`, cut off (and bootstrapped as [`Trajectory`] says) where the episode or the rollout
/// ends earlier. Less `V(s_t)` they are the K-step advantages.
#[must_use]
pub fn k_step_returns(trajectory: &Trajectory<'_>, gamma: f64, k: usize) -> Vec<f64> {
    (0..trajectory.rewards.len())
        .map(|start| {
            let (mut total, mut discount) = (0.0, 1.0);
            let mut i = start;
            for step in 1..=k.max(1) {
                total += discount * f64::from(trajectory.rewards[i]);
                if step == k.max(1) || !trajectory.continues(i) {
                    break;
                }
                discount *= gamma;
                i += trajectory.num_envs;
            }
            total + discount * trajectory.bootstrap(i, gamma)
        })
        .collect()
}

/// Discounted returns `G_t = r_t + gamma G_{t+1}`, `[time][env]`: Monte-Carlo to the end of the
/// episode, bootstrapped as [`Trajectory`] says where the episode or the rollout was cut short.
#[must_use]
pub fn discounted_returns(trajectory: &Trajectory<'_>, gamma: f64) -> Vec<f64> {
    let mut returns = vec![0.0; trajectory.rewards.len()];
    for i in (0..returns.len()).rev() {
        let rest = if trajectory.continues(i) {
            gamma * returns[i + trajectory.num_envs]
        } else {
            trajectory.bootstrap(i, gamma)
        };
        returns[i] = f64::from(trajectory.rewards[i]) + rest;
    }
    returns
}

/// Share of the variance of `returns` that `values` explain: `1 - Var(returns - values) /
/// Var(returns)`; 1 is perfect, 0 no better than a constant. Not a number when the returns are
/// constant.
#[must_use]
pub fn explained_variance(values: &[f32], returns: &[f32]) -> f64 {
    let variance = |numbers: &mut dyn Iterator<Item = f64>| {
        let (mut count, mut mean, mut squares) = (0.0, 0.0, 0.0);
        for x in numbers {
            count += 1.0;
            let delta = x - mean;
            mean += delta / count;
            squares += delta * (x - mean);
        }
        squares / count
    };
    let total = variance(&mut returns.iter().map(|&r| f64::from(r)));
    let errors = values.iter().zip(returns).map(|(&v, &r)| f64::from(r) - f64::from(v));
    let rest = variance(&mut { errors });
    if total == 0.0 { f64::NAN } else { 1.0 - rest / total }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOT: [bool; 4] = [false; 4];

    fn one_env<'a>(
        rewards: &'a [f32],
        values: &'a [f32],
        terminated: &'a [bool],
    ) -> Trajectory<'a> {
        Trajectory {
            rewards,
            values,
            next_values: &[7.0; 4][..rewards.len()],
            terminated,
            truncated: &NOT[..rewards.len()],
            num_envs: 1,
        }
    }

    #[test]
    fn a_terminated_episode_earns_its_discounted_rewards() {
        let done = [false, false, true];
        let returns = discounted_returns(&one_env(&[-1.0, -1.0, 10.0], &[0.0; 3], &done), 0.9);
        assert!((returns[0] - 6.2).abs() < 1e-12, "{returns:?}");
    }

    #[test]
    fn a_truncated_step_keeps_its_value_and_a_terminated_one_loses_it() {
        let mut trajectory = one_env(&[1.0], &[0.5], &[false]);
        trajectory.truncated = &[true];
        assert!((trajectory.residual(0, 0.5) - (1.0 + 3.5 - 0.5)).abs() < 1e-12);
        assert!((discounted_returns(&trajectory, 0.5)[0] - 4.5).abs() < 1e-12);
        trajectory.terminated = &[true];
        assert!((trajectory.residual(0, 0.5) - 0.5).abs() < 1e-12);
    }

    #[test]
    fn k_steps_bootstrap_after_k_rewards() {
        let trajectory = Trajectory {
            rewards: &[1.0, 2.0, 4.0],
            values: &[0.0, 10.0, 20.0],
            next_values: &[10.0, 20.0, 30.0],
            terminated: &[false; 3],
            truncated: &[false; 3],
            num_envs: 1,
        };
        let two = k_step_returns(&trajectory, 0.5, 2);
        assert_eq!(two[0], 1.0 + 0.5 * 2.0 + 0.25 * 20.0);
        // The rollout ends: one reward, then the value.
        assert_eq!(two[2], 4.0 + 0.5 * 30.0);
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
