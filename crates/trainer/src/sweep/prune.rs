//! Trials without hope, seen while they run.

use super::trial::TrialState;
use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::PathBuf;

/// A run is left alone for this share of its steps.
const WARM_UP: f64 = 0.25;
/// Other trials that must have come as far, at least, before one is judged by them.
const OTHERS: usize = 3;

/// The training return of a run while it goes on, from its `metrics.csv`.
pub struct Live {
    path: PathBuf,
    position: u64,
    /// Columns of steps and mean return.
    columns: Option<(usize, usize)>,
    /// Steps and mean return, as far as they were read.
    pub curve: Vec<(f64, f64)>,
}

impl Live {
    /// Of a run that may not have written anything yet.
    #[must_use]
    pub fn new(path: PathBuf) -> Live {
        Live { path, position: 0, columns: None, curve: Vec::new() }
    }

    /// Steps done and the mean return.
    #[must_use]
    pub fn last(&self) -> Option<(f64, f64)> {
        self.curve.last().copied()
    }

    /// Reads on. What can't be read now may be later.
    pub fn read(&mut self) {
        // A resumed run cuts its file back: begin anew.
        if std::fs::metadata(&self.path).is_ok_and(|file| file.len() < self.position) {
            *self = Live::new(self.path.clone());
        }
        let _ = self.read_on();
    }

    fn read_on(&mut self) -> std::io::Result<()> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.position))?;
        let mut reader = BufReader::new(file);
        let mut line = String::new();
        loop {
            line.clear();
            let bytes = reader.read_line(&mut line)?;
            if !line.ends_with('\n') {
                return Ok(());
            }
            self.position += bytes as u64;
            let cells: Vec<&str> = line.trim_end().split(',').collect();
            let Some((steps, mean_return)) = self.columns else {
                let column = |name| cells.iter().position(|cell| *cell == name);
                self.columns = column("time/total_timesteps").zip(column("rollout/ep_rew_mean"));
                continue;
            };
            let number = |index: usize| cells.get(index)?.parse().ok();
            self.curve.extend(number(steps).zip(number(mean_return)));
        }
    }
}

/// A run that goes on: its trial's position, its own, and its curve.
type Running<'a> = (usize, usize, &'a [(f64, f64)]);

/// The median rule (Golovin et al. 2017): a trial is without hope when one of its runs, a quarter of
/// its steps done, has a mean training return below the median of what the runs of at least three
/// other trials with the same seed had at that step. Returns the entry and the reason.
#[must_use]
pub fn hopeless(entries: &[TrialState], running: &[Running<'_>]) -> Option<(usize, String)> {
    running.iter().find_map(|&(index, run, curve)| {
        let entry = &entries[index];
        let (steps, value) = *curve.last()?;
        let is_early = steps < WARM_UP * entry.trial.experiment.total_steps as f64;
        if is_early || entry.verdict.is_some() {
            return None;
        }
        let others = entries.iter().enumerate().filter(|(other, _)| *other != index);
        let mut values: Vec<f64> = others
            .filter_map(|(other, entry)| {
                let live = running.iter().find(|(i, r, _)| (*i, *r) == (other, run));
                let curve = match live {
                    Some((.., curve)) => curve,
                    None => entry.curve(run)?,
                };
                // Only what has come as far is compared.
                let is_as_far = curve.last()?.0 >= steps;
                let before = curve.iter().take_while(|point| point.0 <= steps).last()?;
                is_as_far.then_some(before.1)
            })
            .collect();
        if values.len() < OTHERS {
            return None;
        }
        let median = median(&mut values);
        (value < median).then(|| {
            let seed = entry.runs[run].0;
            let reason = format!(
                "seed {seed} at {steps} steps: training return {value:.4}, the median of {} other \
                 trials is {median:.4}",
                values.len()
            );
            (index, reason)
        })
    })
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::experiment::config::{Experiment, Source};
    use crate::registry::Registry;
    use crate::sweep::plan::Trial;
    use crate::sweep::trial::{RunMetrics, RunState};
    use std::path::Path;

    /// Trials of 1000 steps that ended with these returns, by the straight way.
    fn entries(returns: &[f64]) -> Vec<TrialState> {
        let text = "total_steps = 1000\nenv = { name = 'cliff', num_envs = 1 }\n\
                    agent = { algorithm = 'ppo', minibatch_size = 1 }";
        let source = Source::new(Path::new("x.toml"), text.into(), &[]);
        let (experiment, _) = Experiment::parse(&source, &Registry::default()).unwrap();
        let entry = |(index, value): (usize, &f64)| TrialState {
            trial: Trial { number: index + 1, values: vec![], experiment: experiment.clone() },
            directory: PathBuf::new(),
            runs: vec![(
                1,
                RunState::Finished(RunMetrics {
                    all: vec![],
                    curve: (1..=10).map(|i| (100.0 * f64::from(i), value * f64::from(i))).collect(),
                }),
            )],
            verdict: None,
        };
        returns.iter().enumerate().map(entry).collect()
    }

    #[test]
    fn a_run_below_the_median_is_without_hope_once_it_had_its_time() {
        let entries = entries(&[1.0, 3.0, 5.0, 0.0]);
        let verdict = |curve: &[(f64, f64)]| hopeless(&entries, &[(3, 0, curve)]);
        // At 300 steps the others had 3, 9 and 15.
        let (index, reason) = verdict(&[(300.0, 8.9)]).unwrap();
        assert!(index == 3 && reason.contains("300 steps") && reason.contains("9.0"), "{reason}");
        assert_eq!(verdict(&[(300.0, 9.1)]), None);
        assert_eq!(verdict(&[(200.0, -9.0)]), None, "too early");
        assert_eq!(hopeless(&entries[1..], &[(2, 0, &[(300.0, -9.0)])]), None, "too few others");
    }

    #[test]
    fn the_median_of_an_even_number_is_between_the_middle_ones() {
        assert_eq!(median(&mut [4.0, 1.0, 3.0, 2.0]), 2.5);
    }
}
