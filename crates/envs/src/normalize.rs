//! Running normalisation of observations and rewards, as in Stable-Baselines3's `VecNormalize`.

use serde::{Deserialize, Serialize};

/// Added to a variance before its root is taken, so that a constant is not divided by zero.
const EPSILON: f64 = 1e-8;

/// Normalised numbers are clipped to plus or minus this: a rare outlier is not worth a broken
/// update.
const CLIP: f64 = 10.0;

/// Mean and variance of everything seen so far, for each number of a row.
///
/// Starts as if a tiny batch ([`RunningMeanStd::PRIOR_COUNT`]) of mean 0 and variance 1 had been
/// seen, so that it can be used before the first update.
///
/// ```
/// use envs::RunningMeanStd;
///
/// let mut statistics = RunningMeanStd::new(1);
/// statistics.update(&[1.0, 3.0]);
/// assert!((statistics.mean()[0] - 2.0).abs() < 1e-3);
/// assert!((statistics.variance()[0] - 1.0).abs() < 1e-3);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunningMeanStd {
    mean: Vec<f64>,
    variance: Vec<f64>,
    count: f64,
}

impl RunningMeanStd {
    /// Weight of the start values, in rows: Stable-Baselines3's.
    pub const PRIOR_COUNT: f64 = 1e-4;

    /// Statistics of rows of `width` numbers, nothing seen yet.
    #[must_use]
    pub fn new(width: usize) -> RunningMeanStd {
        RunningMeanStd {
            mean: vec![0.0; width],
            variance: vec![1.0; width],
            count: Self::PRIOR_COUNT,
        }
    }

    /// The mean of each number.
    #[must_use]
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// The variance of each number (of the population, not of a sample).
    #[must_use]
    pub fn variance(&self) -> &[f64] {
        &self.variance
    }

    /// Rows seen, [`RunningMeanStd::PRIOR_COUNT`] included.
    #[must_use]
    pub fn count(&self) -> f64 {
        self.count
    }

    /// Whether these can be the statistics of numbers: finite, and no variance or count below 0.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let is_size = |number: f64| number.is_finite() && number >= 0.0;
        self.mean.len() == self.variance.len()
            && self.mean.iter().all(|mean| mean.is_finite())
            && self.variance.iter().all(|&variance| is_size(variance))
            && is_size(self.count)
            && self.count > 0.0
    }

    /// Takes in a batch of rows `[row][width]`, laid out flat.
    ///
    /// With batch mean `m_b`, variance `v_b` and `n_b` rows, `delta = m_b - m`, `n' = n + n_b`:
    /// `m' = m + delta n_b / n'`, `v' = (v n + v_b n_b + delta^2 n n_b / n') / n'`. Source: Chan,
    /// Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample
    /// variances" (1979).
    pub fn update<T: Copy + Into<f64>>(&mut self, rows: &[T]) {
        let width = self.mean.len();
        if width == 0 || rows.is_empty() {
            return;
        }
        debug_assert_eq!(rows.len() % width, 0, "whole rows are expected");
        let batch_count = (rows.len() / width) as f64;
        let count = self.count + batch_count;
        for (index, (mean, variance)) in self.mean.iter_mut().zip(&mut self.variance).enumerate() {
            let column = || rows[index..].iter().step_by(width).map(|&number| number.into());
            let batch_mean = column().sum::<f64>() / batch_count;
            // The squared differences, not a difference of squares: it doesn't cancel.
            let batch_squares: f64 = column().map(|number| (number - batch_mean).powi(2)).sum();
            let delta = batch_mean - *mean;
            let squares = *variance * self.count
                + batch_squares
                + delta * delta * self.count * batch_count / count;
            *mean += delta * batch_count / count;
            *variance = squares / count;
        }
        self.count = count;
    }
}

/// Shifts and scales observations to mean 0 and variance 1, number by number, clipped to plus or
/// minus 10.
///
/// ```
/// use envs::ObservationNormalizer;
///
/// let mut normalizer = ObservationNormalizer::new(2);
/// normalizer.update(&[0.0, 5.0, 4.0, 7.0]);
/// let mut row = [4.0, 6.0];
/// normalizer.normalize(&mut row);
/// assert!((row[0] - 1.0).abs() < 1e-3 && row[1].abs() < 1e-3);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ObservationNormalizer {
    statistics: RunningMeanStd,
}

impl ObservationNormalizer {
    /// Largest magnitude of a normalised number.
    pub const CLIP: f64 = CLIP;

    /// A normaliser of observations of `width` numbers.
    #[must_use]
    pub fn new(width: usize) -> ObservationNormalizer {
        ObservationNormalizer { statistics: RunningMeanStd::new(width) }
    }

    /// What has been seen so far.
    #[must_use]
    pub fn statistics(&self) -> &RunningMeanStd {
        &self.statistics
    }

    /// What each number is divided by: `sqrt(variance + 1e-8)`.
    #[must_use]
    pub fn std(&self) -> Vec<f64> {
        self.statistics.variance.iter().map(|variance| (variance + EPSILON).sqrt()).collect()
    }

    /// Takes in raw observations `[row][width]`. While training only: evaluation uses what training
    /// saw.
    pub fn update(&mut self, rows: &[f32]) {
        self.statistics.update(rows);
    }

    /// Normalises observations `[row][width]` in place: `(x - mean) / sqrt(variance + 1e-8)`.
    pub fn normalize(&self, rows: &mut [f32]) {
        let RunningMeanStd { mean, variance, .. } = &self.statistics;
        if mean.is_empty() {
            return;
        }
        for row in rows.chunks_exact_mut(mean.len()) {
            for ((number, mean), variance) in row.iter_mut().zip(mean).zip(variance) {
                let normal = (f64::from(*number) - mean) / (variance + EPSILON).sqrt();
                *number = normal.clamp(-CLIP, CLIP) as f32;
            }
        }
    }
}

/// Scales rewards by the standard deviation of the running discounted return, clipped to plus or
/// minus 10. The mean is not subtracted: that would change which policy is best.
///
/// ```
/// use envs::RewardNormalizer;
///
/// let mut normalizer = RewardNormalizer::new(2);
/// let mut rewards = [300.0, -300.0]; // Of deviation 300.
/// normalizer.normalize(&mut rewards, &[false, true], 0.99);
/// assert!((rewards[0] - 1.0).abs() < 1e-3 && (rewards[1] + 1.0).abs() < 1e-3);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RewardNormalizer {
    statistics: RunningMeanStd,
    /// Discounted return so far of each environment's episode.
    returns: Vec<f64>,
}

impl RewardNormalizer {
    /// A normaliser for `num_envs` environments.
    #[must_use]
    pub fn new(num_envs: usize) -> RewardNormalizer {
        RewardNormalizer { statistics: RunningMeanStd::new(1), returns: vec![0.0; num_envs] }
    }

    /// What has been seen so far of the discounted return.
    #[must_use]
    pub fn statistics(&self) -> &RunningMeanStd {
        &self.statistics
    }

    /// Goes on from what another one has seen.
    pub fn set_statistics(&mut self, statistics: RunningMeanStd) {
        self.statistics = statistics;
    }

    /// What rewards are divided by: `sqrt(variance + 1e-8)`.
    #[must_use]
    pub fn scale(&self) -> f64 {
        (self.statistics.variance[0] + EPSILON).sqrt()
    }

    /// Whether this can be the state of a normaliser for `num_envs` environments.
    #[must_use]
    pub fn is_sound(&self, num_envs: usize) -> bool {
        self.statistics.is_sound()
            && self.statistics.mean.len() == 1
            && self.returns.len() == num_envs
            && self.returns.iter().all(|discounted| discounted.is_finite())
    }

    /// Begins all discounted returns anew: other episodes have begun.
    pub fn end_episodes(&mut self) {
        self.returns.fill(0.0);
    }

    /// Takes in the rewards of one step, one for each environment, and scales them in place.
    ///
    /// `R_k = gamma R_k + r_k` for each environment, the statistics see all `R_k`, and
    /// `r_k / sqrt(variance + 1e-8)` is the scaled reward. Where the episode ended, `R_k` starts
    /// again from 0.
    pub fn normalize(&mut self, rewards: &mut [f32], ended: &[bool], gamma: f64) {
        debug_assert_eq!(rewards.len(), self.returns.len(), "a reward for each environment");
        debug_assert_eq!(ended.len(), self.returns.len(), "a flag for each environment");
        for (discounted, reward) in self.returns.iter_mut().zip(&*rewards) {
            *discounted = *discounted * gamma + f64::from(*reward);
        }
        self.statistics.update(&self.returns);
        let scale = self.scale();
        for ((discounted, reward), ended) in self.returns.iter_mut().zip(rewards).zip(ended) {
            *reward = (f64::from(*reward) / scale).clamp(-CLIP, CLIP) as f32;
            if *ended {
                *discounted = 0.0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_near(found: f64, expected: f64) {
        // The start values weigh 1e-4 of a row.
        assert!((found - expected).abs() < 1e-3, "{found} is not {expected}");
    }

    #[test]
    fn mean_and_variance_worked_by_hand() {
        let mut statistics = RunningMeanStd::new(2);
        statistics.update(&[1.0_f32, 10.0, 3.0, 30.0]);
        assert_near(statistics.mean()[0], 2.0);
        assert_near(statistics.variance()[0], 1.0);
        assert_near(statistics.mean()[1] / 10.0, 2.0);
        assert_near(statistics.variance()[1] / 100.0, 1.0);
        // 1, 3 and 8: mean 4, variance (9 + 1 + 16) / 3.
        statistics.update(&[8.0_f32, 80.0]);
        assert_near(statistics.mean()[0], 4.0);
        assert_near(statistics.variance()[0], 26.0 / 3.0);
        assert_near(statistics.variance()[1] / 100.0, 26.0 / 3.0);
        assert_eq!(statistics.count(), 3.0 + RunningMeanStd::PRIOR_COUNT);
    }

    #[test]
    fn the_start_values_weigh_what_they_say() {
        // One row of 2: mean 2 / 1.0001; variance (1e-4 + 4e-4 / 1.0001) / 1.0001.
        let mut statistics = RunningMeanStd::new(1);
        statistics.update(&[2.0_f64]);
        assert!((statistics.mean()[0] - 2.0 / 1.0001).abs() < 1e-15);
        let variance = (1e-4 + 4e-4 / 1.0001) / 1.0001;
        assert!((statistics.variance()[0] - variance).abs() < 1e-15);
    }

    #[test]
    fn one_batch_or_many_give_the_same() {
        let rows: Vec<f64> = (0..60).map(|k| 1e4 + f64::from(k * k % 17)).collect();
        let (mut whole, mut parts) = (RunningMeanStd::new(2), RunningMeanStd::new(2));
        whole.update(&rows);
        for part in rows.chunks(6) {
            parts.update(part);
        }
        for index in 0..2 {
            let relative = |a: f64, b: f64| (a - b).abs() / b;
            assert!(relative(parts.mean()[index], whole.mean()[index]) < 1e-12);
            assert!(relative(parts.variance()[index], whole.variance()[index]) < 1e-9);
        }
    }

    #[test]
    fn nothing_seen_changes_nothing() {
        let mut statistics = RunningMeanStd::new(3);
        statistics.update::<f32>(&[]);
        assert_eq!(statistics, RunningMeanStd::new(3));
        let mut row = [0.5, -2.0, 30.0];
        ObservationNormalizer::new(3).normalize(&mut row);
        assert_eq!(row, [0.5, -2.0, 10.0]);
    }

    #[test]
    fn observations_are_shifted_scaled_and_clipped() {
        let mut normalizer = ObservationNormalizer::new(2);
        normalizer.update(&[0.0, 5.0, 4.0, 5.0]);
        let before = normalizer.clone();
        let mut rows = [0.0, 5.0, 3.0, 5.0, 100.0, -100.0];
        normalizer.normalize(&mut rows);
        // Column 0: mean 2, deviation 2.
        assert_near(f64::from(rows[0]), -1.0);
        assert_near(f64::from(rows[2]), 0.5);
        assert_eq!([rows[4], rows[5]], [10.0, -10.0]);
        assert_eq!(normalizer, before);
    }

    #[test]
    fn rewards_are_scaled_by_the_deviation_of_the_return() {
        let mut normalizer = RewardNormalizer::new(2);
        // Returns 2 and -2: variance 4, deviation 2.
        let mut rewards = [2.0, -2.0];
        normalizer.normalize(&mut rewards, &[false, true], 0.5);
        assert_near(f64::from(rewards[0]), 1.0);
        assert_near(f64::from(rewards[1]), -1.0);
        // Returns 2 * 0.5 + 1 = 2 and, its episode having ended, 0 + 4 = 4. All returns so far:
        // 2, -2, 2, 4, of mean 1.5 and variance 28/4 - 2.25 = 4.75.
        let mut rewards = [1.0, 4.0];
        normalizer.normalize(&mut rewards, &[false, false], 0.5);
        assert_near(f64::from(rewards[0]), 1.0 / 4.75_f64.sqrt());
        assert_near(f64::from(rewards[1]), 4.0 / 4.75_f64.sqrt());
        assert_near(normalizer.statistics().mean()[0], 1.5);
    }

    #[test]
    fn rewards_are_clipped() {
        let mut normalizer = RewardNormalizer::new(1);
        for _ in 0..1000 {
            normalizer.normalize(&mut [0.001], &[true], 0.99);
        }
        let mut rewards = [1e6];
        normalizer.statistics.count = 1e30;
        normalizer.normalize(&mut rewards, &[false], 0.99);
        assert_eq!(rewards, [10.0]);
    }
}
