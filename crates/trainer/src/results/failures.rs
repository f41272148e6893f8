//! Which seeds failed: those that ended below a threshold.

use crate::error::Error;
use crate::experiment::summary::Summary;
use crate::results::compare::Estimate;
use crate::results::{Group, stats};
use serde::Serialize;

/// What every seed must reach at the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Thresholds {
    /// Mean return.
    pub threshold: Option<f64>,
    /// Success rate, from 0 to 1.
    pub success_threshold: Option<f64>,
}

/// The seeds of a group that ended below a threshold.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Failures {
    /// Which, in order.
    pub seeds: Vec<u64>,
    /// How large a share of the finished runs they are, with its [`stats::wilson`] interval.
    pub share: Estimate,
}

impl Thresholds {
    /// Checks that there is something to be held against a threshold.
    ///
    /// # Errors
    /// When there is a threshold of the success rate, and no finished run reports one.
    pub fn check(self, groups: &[Group]) -> Result<(), Error> {
        let mut summaries =
            groups.iter().flat_map(|group| &group.runs).filter_map(|run| run.summary.as_ref());
        let reported = summaries.any(|summary| summary.eval.success_rate.is_some());
        if self.success_threshold.is_some() && !reported {
            return Err(Error::Usage(
                "--success-threshold: no finished run reports a success rate; --threshold is about the \
                 return"
                    .into(),
            ));
        }
        Ok(())
    }

    /// What is said of a seed that failed; `None` without a threshold.
    #[must_use]
    pub fn failure(self) -> Option<String> {
        let below =
            |what: &str, threshold: Option<f64>| Some(format!("{what} below {}", threshold?));
        let failures =
            [below("a return", self.threshold), below("a success rate", self.success_threshold)];
        let failures: Vec<String> = failures.into_iter().flatten().collect();
        (!failures.is_empty()).then(|| failures.join(" or "))
    }

    /// The failures among finished runs of a group; `None` if no threshold is about them.
    pub(super) fn failures(self, finished: &[&Summary]) -> Option<Failures> {
        let reported = finished.iter().any(|summary| summary.eval.success_rate.is_some());
        if self.threshold.is_none() && !(self.success_threshold.is_some() && reported) {
            return None;
        }
        let is_below = |value: Option<f64>, threshold: Option<f64>| {
            value.zip(threshold).is_some_and(|(value, threshold)| value < threshold)
        };
        let failed = finished.iter().filter(|summary| {
            is_below(Some(summary.eval.mean_return), self.threshold)
                || is_below(summary.eval.success_rate, self.success_threshold)
        });
        let seeds: Vec<u64> = failed.map(|summary| summary.seed).collect();
        let (failed, of) = (seeds.len(), finished.len());
        let share = Estimate {
            value: failed as f64 / of as f64,
            interval: Some(stats::wilson(failed, of)),
        };
        Some(Failures { seeds, share })
    }
}

impl Failures {
    /// How many of so many seeds, the share, and which, as a table shows them.
    #[must_use]
    pub fn cells(&self, of: usize) -> [String; 3] {
        [format!("{} of {of}", self.seeds.len()), self.share.to_string(), self.named()]
    }

    /// The seeds in words, neighbours as a range: `3, 5-8`; `-` if there is none.
    fn named(&self) -> String {
        let follow = |a: &u64, b: &u64| a + 1 == *b;
        let ranges = self.seeds.chunk_by(follow).map(|range| match range {
            [first, _, .., last] => format!("{first}-{last}"),
            few => few.iter().map(u64::to_string).collect::<Vec<_>>().join(", "),
        });
        let ranges: Vec<String> = ranges.collect();
        if ranges.is_empty() { "-".into() } else { ranges.join(", ") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_named_and_neighbours_are_a_range() {
        let named = |seeds: &[u64]| {
            let share = Estimate { value: 0.0, interval: None };
            Failures { seeds: seeds.to_vec(), share }.named()
        };
        assert_eq!(named(&[]), "-");
        assert_eq!(named(&[7]), "7");
        assert_eq!(named(&[1, 2, 4, 6, 7, 8, 10]), "1, 2, 4, 6-8, 10");
        assert_eq!(named(&[0, 1, 2]), "0-2");
    }
}
