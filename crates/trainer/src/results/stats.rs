//! Statistics over a handful of seeds: plain functions over slices.
//!
//! Names and definitions as in Agarwal et al. (2021), "Deep Reinforcement Learning at the Edge of the
//! Statistical Precipice", and its library rliable, for one task: a sample is a run. So the median is
//! that over runs; the paper's is over tasks.

use envs::{Stream, stream};
use rand::RngExt;

/// Resamples behind each interval.
pub const RESAMPLES: usize = 10_000;

/// The bootstrap's seed: the same samples have the same interval always.
const SEED: u64 = 0;

/// The two ends of the 95 % interval, as shares of the resamples.
const ENDS: [f64; 2] = [0.025, 0.975];

/// `sum(x) / n`. Not a number if there is no sample.
#[must_use]
pub fn mean(samples: &[f64]) -> f64 {
    samples.iter().sum::<f64>() / samples.len() as f64
}

/// The middle one, or the mean of the middle two. Not a number if there is no sample.
#[must_use]
pub fn median(samples: &[f64]) -> f64 {
    quantile(&mut samples.to_vec(), 0.5)
}

/// The interquartile mean: that of the samples left when the `floor(n / 4)` smallest and as many of the
/// largest are gone. Of fewer than four samples it is the mean. Not a number if there is no sample.
///
/// Source: Agarwal et al. (2021), section 4.3; rliable's `aggregate_iqm`, which is
/// `scipy.stats.trim_mean` with a quarter.
#[must_use]
pub fn interquartile_mean(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let cut = sorted.len() / 4;
    mean(&sorted[cut..sorted.len() - cut])
}

/// `P(X > Y) + P(X = Y) / 2` for a run of each: the Mann-Whitney statistic U over the number of pairs.
/// Not a number if there is no pair.
///
/// Source: Agarwal et al. (2021), section 4.3; rliable's `probability_of_improvement`.
#[must_use]
pub fn probability_of_improvement(x: &[f64], y: &[f64]) -> f64 {
    let wins = x.iter().flat_map(|x| {
        y.iter().map(move |y| if x > y { 1.0 } else { f64::from(u8::from(x == y)) / 2.0 })
    });
    wins.sum::<f64>() / (x.len() * y.len()) as f64
}

/// The number with so many significant digits, at least one.
#[must_use]
pub fn round(number: f64, digits: usize) -> f64 {
    format!("{number:.*e}", digits - 1).parse().unwrap_or(number)
}

/// 95 % percentile-bootstrap interval of a statistic of one sample or several: each is drawn anew from
/// itself with replacement, [`RESAMPLES`] times, and the interval leaves out 2.5 % of the statistics at
/// each end. `None` if a sample has fewer than two values: one run does not say how runs differ.
///
/// Source: Efron & Tibshirani (1993), "An Introduction to the Bootstrap", section 13.3; rliable's
/// `get_interval_estimates` with one task.
#[must_use]
pub fn bootstrap<const N: usize>(
    samples: [&[f64]; N],
    statistic: impl Fn([&[f64]; N]) -> f64,
) -> Option<[f64; 2]> {
    if samples.iter().any(|sample| sample.len() < 2) {
        return None;
    }
    let mut rng = stream(SEED, Stream::Sampling(0));
    let mut drawn = samples.map(<[f64]>::to_vec);
    let mut statistics: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            for (drawn, sample) in drawn.iter_mut().zip(samples) {
                drawn.fill_with(|| sample[rng.random_range(0..sample.len())]);
            }
            statistic(drawn.each_ref().map(Vec::as_slice))
        })
        .collect();
    Some(ENDS.map(|end| quantile(&mut statistics, end)))
}

/// 95 % interval of the share that `count` of `total` are, Wilson's score interval:
///
/// ```text
/// (p + z²/2n ± z sqrt(p (1 - p)/n + z²/4n²)) / (1 + z²/n)    with p = count/n, z the normal's 97.5 % quantile
/// ```
///
/// A share of none or of all has an interval too, within 0 and 1; a bootstrap's would have no length. Not
/// numbers if `total` is 0.
///
/// Source: Wilson (1927), "Probable Inference, the Law of Succession, and Statistical Inference".
#[must_use]
pub fn wilson(count: usize, total: usize) -> [f64; 2] {
    const Z: f64 = 1.959_963_984_540_054;
    let n = total as f64;
    let p = count as f64 / n;
    let middle = p + Z * Z / (2.0 * n);
    let half = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    let [low, high] = [middle - half, middle + half].map(|end| end / (1.0 + Z * Z / n));
    // Both are exact but for rounding.
    [if count == 0 { 0.0 } else { low }, if count == total { 1.0 } else { high }]
}

/// Area under a curve of points `(x, y)` in order of `x`, by trapezoids, over the length of `x` that it
/// spans: the mean height, in the unit of `y`. Of one point it is its `y`; `None` if there is none.
#[must_use]
pub fn area_under_curve(points: &[(f64, f64)]) -> Option<f64> {
    let (first, last) = (points.first()?, points.last()?);
    let span = last.0 - first.0;
    if span <= 0.0 {
        return Some(last.1);
    }
    let trapezoids =
        points.windows(2).map(|pair| (pair[1].0 - pair[0].0) * (pair[0].1 + pair[1].1) / 2.0);
    Some(trapezoids.sum::<f64>() / span)
}

/// Height of a curve of points in order of `x`, on the straight line between the neighbours of `x`; that
/// of the first or the last point beyond them. Not a number if there is no point.
#[must_use]
pub fn interpolate(points: &[(f64, f64)], x: f64) -> f64 {
    let next = points.partition_point(|point| point.0 < x);
    match (next.checked_sub(1).and_then(|index| points.get(index)), points.get(next)) {
        (Some(a), Some(b)) => a.1 + (b.1 - a.1) * (x - a.0) / (b.0 - a.0),
        (Some(end), None) | (None, Some(end)) => end.1,
        (None, None) => f64::NAN,
    }
}

/// Linear between the order statistics, as numpy's default: position `share (n - 1)`. The samples are
/// left in another order: finding two of them is several times faster than sorting all.
fn quantile(samples: &mut [f64], share: f64) -> f64 {
    let Some(last) = samples.len().checked_sub(1) else { return f64::NAN };
    let position = share * last as f64;
    let (_, &mut low, above) = samples.select_nth_unstable_by(position as usize, f64::total_cmp);
    let next = above.iter().copied().min_by(f64::total_cmp);
    match next {
        // Infinite neighbours have no difference.
        Some(next) if position.fract() > 0.0 && next != low => {
            low + (next - low) * position.fract()
        }
        _ => low,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs of two groups; the numbers below are recorded from rliable 1.2.0 (its metrics) and numpy
    /// 2.4 (percentiles of a million resamples).
    const X: [f64; 7] = [3.1, 4.7, 2.2, 8.9, 5.5, 6.1, 1.4];
    const Y: [f64; 5] = [2.2, 4.0, 0.5, 4.7, 3.3];

    #[track_caller]
    fn close(found: f64, expected: f64, tolerance: f64) {
        assert!((found - expected).abs() <= tolerance, "{found} where {expected} is expected");
    }

    #[test]
    fn middles_are_those_of_rliable() {
        close(mean(&X), 4.557142857142857, 1e-12);
        close(median(&X), 4.7, 0.0);
        close(interquartile_mean(&X), 4.32, 1e-12);
        close(interquartile_mean(&Y), 3.1666666666666665, 1e-12);
        // By hand: of eight samples two go at each end, of three none.
        close(interquartile_mean(&[100.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, -9.0]), 3.5, 1e-12);
        close(interquartile_mean(&[0.0, 0.0, 9.0]), 3.0, 1e-12);
        close(median(&[4.0, 1.0, 3.0, 2.0]), 2.5, 0.0);
    }

    #[test]
    fn a_median_survives_runs_that_never_got_there() {
        let never = f64::INFINITY;
        close(median(&[never, 10.0, 20.0]), 20.0, 0.0);
        assert!(median(&[never, never, 10.0]).is_infinite());
        assert!(median(&[never, 10.0, 20.0, never]).is_infinite());
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn probability_of_improvement_is_that_of_rliable() {
        close(probability_of_improvement(&X, &Y), 0.6857142857142857, 1e-12);
        close(probability_of_improvement(&Y, &X), 1.0 - 0.6857142857142857, 1e-12);
        // By hand: of 4 pairs 2 are won, 1 is a draw.
        close(probability_of_improvement(&[1.0, 3.0], &[1.0, 2.0]), 2.5 / 4.0, 1e-12);
        close(probability_of_improvement(&X, &X), 0.5, 1e-12);
    }

    #[test]
    fn bootstrap_intervals_are_those_of_a_million_resamples() {
        let ends = |found: Option<[f64; 2]>, expected: [f64; 2], tolerance: f64| {
            let found = found.unwrap();
            close(found[0], expected[0], tolerance);
            close(found[1], expected[1], tolerance);
        };
        ends(bootstrap([&X], |[x]| mean(x)), [2.88571429, 6.38571429], 0.1);
        ends(bootstrap([&X], |[x]| median(x)), [2.2, 6.1], 0.0);
        ends(bootstrap([&X], |[x]| interquartile_mean(x)), [2.56, 6.62], 0.1);
        let probability = bootstrap([&X, &Y], |[x, y]| probability_of_improvement(x, y));
        ends(probability, [0.34285714, 0.94285714], 0.03);
    }

    #[test]
    fn of_two_samples_the_interval_is_their_range_and_of_one_there_is_none() {
        assert_eq!(bootstrap([&[7.0, -2.0]], |[x]| mean(x)), Some([-2.0, 7.0]));
        assert_eq!(bootstrap([&[7.0]], |[x]| mean(x)), None);
        let one_of_two = bootstrap([&X, &[1.0]], |[x, y]| probability_of_improvement(x, y));
        assert_eq!(one_of_two, None);
    }

    /// Newcombe (1998), "Two-sided confidence intervals for the single proportion", table I, method 3.
    #[test]
    fn wilson_intervals_are_the_published_ones() {
        for (count, total, expected) in [
            (81, 263, [0.2553, 0.3662]),
            (15, 148, [0.0624, 0.1605]),
            (0, 20, [0.0, 0.1611]),
            (1, 29, [0.0061, 0.1718]),
        ] {
            let found = wilson(count, total);
            close(found[0], expected[0], 5e-5);
            close(found[1], expected[1], 5e-5);
            let others = wilson(total - count, total);
            close(others[0], 1.0 - found[1], 1e-12);
        }
        for total in 1..100 {
            assert_eq!((wilson(0, total)[0], wilson(total, total)[1]), (0.0, 1.0));
        }
    }

    #[test]
    fn an_interval_is_the_same_each_time() {
        let interval = || bootstrap([&X], |[x]| mean(x));
        assert_eq!(interval(), interval());
    }

    #[test]
    fn curves_by_hand() {
        let curve = [(0.0, 0.0), (2.0, 4.0), (6.0, 4.0)];
        // A triangle of 4 and a rectangle of 16, over 6.
        assert_eq!(area_under_curve(&curve), Some(20.0 / 6.0));
        assert_eq!(area_under_curve(&[(3.0, 7.0)]), Some(7.0));
        assert_eq!(area_under_curve(&[]), None);
        for (x, y) in [(-1.0, 0.0), (0.0, 0.0), (0.5, 1.0), (2.0, 4.0), (3.0, 4.0), (9.0, 4.0)] {
            assert_eq!(interpolate(&curve, x), y, "at {x}");
        }
        // Two rows in the same second.
        assert_eq!(interpolate(&[(1.0, 0.0), (1.0, 2.0), (3.0, 4.0)], 2.0), 3.0);
        assert!(interpolate(&[], 1.0).is_nan());
    }
}
