//! Did it work? What a run's own curves say at its end: the rules, each with its reason.
//!
//! The curve that is judged is the mean return of the last 100 training episodes. It is cut into [`BLOCKS`]
//! blocks of as many rows, whose means are nearly independent of each other, while its rows are not.

use crate::experiment::metrics::csv::Column;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Blocks of a curve.
const BLOCKS: usize = 20;
/// Blocks of the last quarter, which is cut anew, at most: 8 points have an interval that is not too wide.
const LAST: usize = 8;
/// Rows that a curve has at least, so that its last quarter has a slope with an interval.
const ROWS: usize = 24;
/// Episodes that a row's mean looks back on.
const WINDOW: f64 = 100.0;
/// Student's t for 95 % with 4, 5 and 6 degrees of freedom: 6 to 8 points less the two of a line.
const T: [f64; 3] = [2.776, 2.571, 2.447];
/// A curve that gains less than this many of its own deviations has not learned: the range of 20 independent
/// numbers is 4 of them, and a mean over the last 100 episodes wanders beyond that. Recorded curves of policies
/// that stay as they are gain 5 and 7, those of such as learn 12 and more.
const DEVIATIONS: f64 = 9.0;
/// Who loses more than this share of what was gained has collapsed; noise at the end is rarely a third of it.
const LOST: f64 = 1.0 / 3.0;
/// A rise is one if the last quarter gains at least this share of the range: less is not worth as many steps.
const WORTH: f64 = 0.02;

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// More steps bring more.
    StillRising,
    /// It has come to where it stays.
    Settled,
    /// It was much better than it is.
    Collapsed,
    /// It is what it was at the beginning.
    NeverLearned,
    /// There are too few rows to say.
    TooShort,
}

/// What came of a run, with the evidence and what to try.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// In a word.
    pub outcome: Outcome,
    /// Mean return in the worst block before the best one.
    pub low: Option<f64>,
    /// In the best block.
    pub best: Option<f64>,
    /// In the last one.
    pub last: Option<f64>,
    /// What a straight line gains over the last quarter of the run.
    pub slope: Option<f64>,
    /// Its 95 % interval.
    pub slope_interval: Option<[f64; 2]>,
    /// What every episode of the evaluation at the end returned, where that is the task's best.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reached: Option<f64>,
    /// Metrics out of their usual ranges.
    pub signs: Vec<Sign>,
    /// What to try.
    pub advice: Vec<String>,
}

/// A metric out of its usual range.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sign {
    /// Its name.
    pub metric: String,
    /// Its mean over the last quarter.
    pub value: f64,
    /// What is usual, and what the other may mean.
    pub meaning: String,
}

/// Judges a run by its curves: `curve` gives the values of a column of `metrics.csv`, where there are some;
/// `reached` is the return of [`reached`].
fn judge(curve: impl Fn(&str) -> Vec<f64>, reached: Option<f64>) -> Verdict {
    let mut returns = curve("rollout/ep_rew_mean");
    let (lengths, steps) = (curve("rollout/ep_len_mean"), curve("time/total_timesteps"));
    let steps = &steps[steps.len().saturating_sub(lengths.len())..];
    // Before that the mean is of no policy.
    let begun = first_full_row(steps, &lengths);
    returns.drain(..begun.min(returns.len().saturating_sub(ROWS)));
    if returns.len() < ROWS {
        let advice =
            "there are too few iterations with a return to judge it by its curve".to_owned();
        return Verdict {
            outcome: Outcome::TooShort,
            low: returns.first().copied(),
            best: returns.iter().copied().reduce(f64::max),
            last: returns.last().copied(),
            slope: None,
            slope_interval: None,
            reached: None,
            signs: Vec::new(),
            advice: vec![advice],
        };
    }
    let means = blocks(&returns, BLOCKS);
    let last = means[BLOCKS - 1];
    let mut at_best = 0;
    for (index, mean) in means.iter().enumerate() {
        if *mean > means[at_best] {
            at_best = index;
        }
    }
    let best = means[at_best];
    let low = means[..=at_best].iter().copied().fold(best, f64::min);
    let (slope, interval) = slope(&blocks(last_quarter(&returns), LAST));
    // A curve that only falls has gained nothing, either.
    let gained = best - low;
    // A mean over 100 episodes still rises when the policy has long had the best there is. A task whose episodes
    // are better the sooner they end has no rise that ends at its time limit.
    let reached = reached.filter(|&reached| reached >= best && last > low);
    let outcome = if gained <= DEVIATIONS * deviation(&means) {
        Outcome::NeverLearned
    } else if best - last > LOST * gained {
        Outcome::Collapsed
    } else if reached.is_none() && interval[0] > 0.0 && slope > WORTH * gained {
        Outcome::StillRising
    } else {
        Outcome::Settled
    };
    let signs = signs(outcome, &curve);
    let mut advice = advice(outcome, interval);
    if let (Some(length), Some(steps)) = (lengths.last(), steps.last())
        && WINDOW * length > steps / 4.0
        && reached.is_none()
    {
        let lags = format!(
            "the curve lags: its mean is over the last 100 episodes, {:.0} of {steps:.0} steps; the evaluation \
             at the end says more",
            (WINDOW * length).min(*steps)
        );
        // More steps are no answer to a rise that is of the past.
        if outcome == Outcome::StillRising {
            advice.clear();
        }
        advice.insert(0, lags);
    }
    Verdict {
        outcome,
        low: Some(low),
        best: Some(best),
        last: Some(last),
        slope: Some(slope),
        slope_interval: Some(interval),
        reached,
        advice,
        signs,
    }
}

/// What to try after an outcome.
fn advice(outcome: Outcome, interval: [f64; 2]) -> Vec<String> {
    let texts: &[&str] = match outcome {
        Outcome::StillRising => &["train longer: resume it with --set total_steps=STEPS"],
        Outcome::Settled if interval[1] < 0.0 => {
            &["it falls a little at the end: let the learning rate end at 0, and keep the best \
              checkpoint with eval.every_steps"]
        }
        Outcome::Settled => &[],
        Outcome::Collapsed => &[
            "eval.every_steps keeps the best checkpoint (eval RUN --checkpoint best)",
            "smaller steps towards the end: a learning rate that ends at 0, agent.target_kl, a smaller \
             agent.max_kl; agent.advantage_floor where the task was solved before",
        ],
        Outcome::NeverLearned => &[
            "see that the task can be learned: check-env, and replay RUN to see what the policy does",
            "env.normalize_observations and env.normalize_rewards where numbers are far from 1",
            "a learning rate ten times larger or smaller, more steps in an iteration, a bonus for entropy",
        ],
        Outcome::TooShort => &[],
    };
    texts.iter().map(|&text| text.to_owned()).collect()
}

/// Metrics out of their usual ranges, as means over the last quarter of the run.
fn signs(outcome: Outcome, curve: &impl Fn(&str) -> Vec<f64>) -> Vec<Sign> {
    let mut signs = Vec::new();
    let last = |name: &str| {
        let values = curve(name);
        (values.len() >= 4).then(|| mean(last_quarter(&values)))
    };
    let mut say = |metric: &str, value: f64, meaning: &str| {
        signs.push(Sign { metric: metric.to_owned(), value, meaning: meaning.to_owned() });
    };
    // Schulman's own PPO stops or shrinks at 0.01 to 0.02; TRPO's trust regions are of this size.
    if let Some(kl) = last("train/approx_kl").filter(|&kl| kl > 0.05) {
        say(
            "train/approx_kl",
            kl,
            "usually 0.05 or less: steps are large; a smaller learning rate, fewer \
             epochs, or agent.target_kl",
        );
    }
    // Beyond that most samples of a minibatch say nothing any more.
    if let Some(clipped) = last("train/clip_fraction").filter(|&share| share > 0.3) {
        say(
            "train/clip_fraction",
            clipped,
            "usually 0.3 or less: most of what is seen is clipped away; a \
             smaller learning rate or fewer epochs",
        );
    }
    if let Some(accepted) = last("train/accepted").filter(|&share| share < 0.9) {
        say(
            "train/accepted",
            accepted,
            "usually 0.9 or more: the line search finds no step; more samples an \
             iteration, more damping",
        );
    }
    // A solved task has returns without variance, of which nothing can be explained.
    if outcome != Outcome::Settled
        && let Some(explained) = last("train/explained_variance").filter(|&share| share < 0.2)
    {
        say(
            "train/explained_variance",
            explained,
            "usually towards 1: the critic does not know the returns; \
             env.normalize_rewards, a larger critic learning rate, or a larger agent.gae_lambda",
        );
    }
    let entropy = curve("train/entropy");
    if let (Some(&begun), Some(now)) = (entropy.first(), last("train/entropy")) {
        if now > begun + 0.5 {
            say(
                "train/entropy",
                now,
                "usually falls: actions become more random; a smaller \
                 agent.entropy_coef or network.log_std_max",
            );
        } else if begun > 0.0
            && (0.0..0.02 * begun).contains(&now)
            && matches!(outcome, Outcome::NeverLearned | Outcome::Collapsed)
        {
            say(
                "train/entropy",
                now,
                "usually falls slowly: the policy was certain before it knew; a larger \
                 agent.entropy_coef, from a start to 0",
            );
        }
    }
    signs
}

/// The last quarter of some rows.
fn last_quarter(values: &[f64]) -> &[f64] {
    &values[values.len() - values.len().div_ceil(4)..]
}

/// Means of so many blocks of rows, which are as many in each but for one.
fn blocks(values: &[f64], count: usize) -> Vec<f64> {
    let count = count.min(values.len());
    let edge = |block: usize| block * values.len() / count;
    (0..count).map(|block| mean(&values[edge(block)..edge(block + 1)])).collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// How far the blocks of a curve are from a line through each quarter of it: the middle of four deviations, so
/// that neither a steep beginning nor a fall counts.
fn deviation(means: &[f64]) -> f64 {
    let quarter = means.len() / 4;
    let mut deviations: Vec<f64> = means
        .chunks_exact(quarter)
        .map(|points| {
            let Line { residuals, .. } = Line::through(points);
            (residuals / (points.len() as f64 - 2.0)).sqrt()
        })
        .collect();
    deviations.sort_by(f64::total_cmp);
    (deviations[1] + deviations[2]) / 2.0
}

/// The first row whose mean looks back on 100 episodes, by the steps and the mean length of episodes in each row;
/// the number of rows if there is none. Episodes that end first are short ones, so a row is judged by the
/// lengths of those that follow, too.
#[must_use]
pub fn first_full_row(steps: &[f64], lengths: &[f64]) -> usize {
    const AHEAD: usize = 8;
    let full = |row: usize| {
        let seen = &lengths[..lengths.len().min(row + AHEAD)];
        steps[row] / seen.iter().copied().fold(1.0, f64::max) >= WINDOW
    };
    (0..steps.len().min(lengths.len())).find(|&row| full(row)).unwrap_or(lengths.len())
}

/// The least-squares line through evenly spaced points.
struct Line {
    /// A point.
    rise: f64,
    /// Sum of squares of the points' distances.
    residuals: f64,
    /// Sum of squares of the places.
    spread: f64,
}

impl Line {
    fn through(points: &[f64]) -> Line {
        let (middle, height) = ((points.len() as f64 - 1.0) / 2.0, mean(points));
        let at = |index: usize| index as f64 - middle;
        let spread: f64 = (0..points.len()).map(|index| at(index).powi(2)).sum();
        let rise =
            points.iter().enumerate().map(|(i, y)| at(i) * (y - height)).sum::<f64>() / spread;
        let distance = |(i, y): (usize, &f64)| (y - height - rise * at(i)).powi(2);
        Line { rise, residuals: points.iter().enumerate().map(distance).sum(), spread }
    }
}

/// What a straight line through 6 to 8 points gains from the first to the last, with its 95 % interval.
fn slope(points: &[f64]) -> (f64, [f64; 2]) {
    let Line { rise, residuals, spread } = Line::through(points);
    let freedom = points.len() - 2;
    let error = T[freedom.clamp(4, 6) - 4] * (residuals / freedom as f64 / spread).sqrt();
    let width = points.len() as f64 - 1.0;
    (rise * width, [(rise - error) * width, (rise + error) * width])
}

/// A number for people.
fn shown(number: f64) -> String {
    match number.abs() {
        1e3.. => format!("{number:.0}"),
        1.0.. => format!("{number:.1}"),
        1e-3.. => format!("{number:.3}"),
        0.0 => "0".into(),
        _ => format!("{number:.1e}"),
    }
}

/// The same of the columns of a `metrics.csv`, and of [`Summary::reached`](super::summary::Summary::reached).
#[must_use]
pub fn of(columns: &[Column], reached: Option<f64>) -> Verdict {
    let curve = |name: &str| {
        let column = columns.iter().find(|(known, _)| known == name);
        column.iter().flat_map(|(_, cells)| cells.iter().flatten().copied()).collect()
    };
    judge(curve, reached)
}

impl Outcome {
    /// All of them, the good ones first.
    pub const ALL: [Outcome; 5] = [
        Outcome::Settled,
        Outcome::StillRising,
        Outcome::Collapsed,
        Outcome::NeverLearned,
        Outcome::TooShort,
    ];

    /// In words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Outcome::StillRising => "still rising",
            Outcome::Settled => "settled",
            Outcome::Collapsed => "collapsed",
            Outcome::NeverLearned => "never learned",
            Outcome::TooShort => "too short to judge",
        }
    }
}

impl fmt::Display for Verdict {
    /// `settled: return 498.0 at the end, 499.0 at best, 21.0 before; the last quarter gains 0.200 [-1.5, 1.9]`
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "{}", self.outcome.words())?;
        if let (Some(low), Some(best), Some(last)) = (self.low, self.best, self.last) {
            let [low, best, last] = [low, best, last].map(shown);
            write!(formatter, ": return {last} at the end, {best} at best, {low} before")?;
        }
        if let (Some(slope), Some(interval)) = (self.slope, self.slope_interval) {
            let [low, high] = interval.map(shown);
            write!(formatter, "; the last quarter gains {} [{low}, {high}]", shown(slope))?;
        }
        if let Some(reached) = self.reached {
            write!(
                formatter,
                "; every episode of the evaluation lasts to the time limit and returns {}",
                shown(reached)
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for Sign {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "{} {}, {}", self.metric, shown(self.value), self.meaning)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::experiment::metrics::csv::read;
    use crate::experiment::summary::Summary;
    use std::path::Path;

    /// The verdict on a curve that a run of this program has left.
    fn recorded(name: &str) -> Verdict {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/reference/verdicts");
        of(&read(&Path::new(folder).join(name).with_extension("csv")).unwrap(), None)
    }

    #[test]
    fn recorded_curves_get_the_verdict_that_a_look_at_them_gives() {
        for (name, outcome) in [
            ("settled_cartpole", Outcome::Settled),
            ("settled_pendulum", Outcome::Settled),
            ("rising_pendulum", Outcome::StillRising),
            ("rising_reach", Outcome::StillRising),
            ("rising_reach_short", Outcome::StillRising),
            ("collapsed_cartpole", Outcome::Collapsed),
            ("certain_cartpole", Outcome::Collapsed),
            ("lagging_cartpole", Outcome::StillRising),
            ("unstable_cartpole", Outcome::StillRising),
            ("flat_pendulum", Outcome::NeverLearned),
            ("flat_cartpole", Outcome::NeverLearned),
        ] {
            let verdict = recorded(name);
            assert_eq!(verdict.outcome, outcome, "{name}: {verdict}");
        }
    }

    #[test]
    fn what_is_out_of_its_range_is_named() {
        let names = |run: &str| -> Vec<String> {
            recorded(run).signs.into_iter().map(|sign| sign.metric).collect()
        };
        assert_eq!(names("settled_cartpole"), [] as [&str; 0]);
        assert_eq!(names("collapsed_cartpole"), ["train/approx_kl", "train/entropy"]);
        assert_eq!(names("certain_cartpole"), ["train/entropy"]);
        let unstable = ["train/approx_kl", "train/explained_variance"];
        assert_eq!(names("unstable_cartpole"), unstable);
        assert_eq!(names("flat_pendulum"), ["train/explained_variance"]);
        assert!(recorded("lagging_cartpole").advice[0].starts_with("the curve lags"));
        assert!(!recorded("settled_cartpole").to_string().contains("lags"));
    }

    #[test]
    fn what_the_task_gives_at_most_is_not_still_rising() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/reference/verdicts");
        let columns = read(&Path::new(folder).join("lagging_cartpole.csv")).unwrap();
        let with = |min_return: f64, max_return: f64, mean_length: f64| {
            let summary: Summary = serde_json::from_value(serde_json::json!({
                "steps": 1, "seconds": 1.0, "steps_per_second": 1.0, "seed": 1, "backend": "flex",
                "algorithm": "ppo", "environment": "cartpole", "version": "0.1.0",
                "task": { "max_episode_steps": 500 },
                "eval": {
                    "episodes": 100, "greedy": true, "mean_return": max_return, "std_return": 0.0,
                    "min_return": min_return, "max_return": max_return,
                    "mean_length": mean_length, "success_rate": null,
                },
            }))
            .unwrap();
            of(&columns, summary.reached())
        };
        let verdict = with(500.0, 500.0, 500.0);
        assert_eq!(verdict.outcome, Outcome::Settled, "{verdict}");
        assert!(verdict.advice.is_empty(), "{verdict:?}");
        assert!(
            verdict.to_string().ends_with("lasts to the time limit and returns 500.0"),
            "{verdict}"
        );
        // Episodes that differ or end before, and ones that are worse than those of training, say nothing.
        for other in [with(499.0, 500.0, 500.0), with(450.0, 450.0, 450.0), with(10.0, 10.0, 500.0)]
        {
            assert_eq!((other.outcome, other.reached), (Outcome::StillRising, None), "{other}");
        }
    }

    #[test]
    fn a_line_has_its_slope_and_noise_has_none() {
        let line: Vec<f64> = (0..8).map(f64::from).collect();
        assert_eq!(slope(&line), (7.0, [7.0, 7.0]));
        // Worked by hand: the rise is -4/42 a point, the residuals' squares sum to 8 - 16/42.
        let (rise, [low, high]) = slope(&[1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0, -1.0]);
        assert!((rise + 2.0 / 3.0).abs() < 1e-12, "{rise}");
        let error = T[2] * ((8.0 - 16.0 / 42.0_f64) / 6.0 / 42.0).sqrt() * 7.0;
        assert!((high - rise - error).abs() < 1e-9 && (rise - low - error).abs() < 1e-9, "{error}");
    }

    #[test]
    fn few_rows_are_not_judged() {
        let verdict = judge(|_| vec![1.0, 2.0, 3.0], None);
        assert_eq!((verdict.outcome, verdict.best), (Outcome::TooShort, Some(3.0)));
    }
}
