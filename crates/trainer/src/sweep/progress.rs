//! What the user sees while a sweep goes on.

use crate::terminal::{bar_style, draws_in_place, line};
use console::Term;
use indicatif::{MultiProgress, ProgressBar};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Time between two plain lines about running runs, at least.
const PAUSE: Duration = Duration::from_secs(10);

/// Which run: its trial's and its own position.
type Id = (usize, usize);

/// What is said of a run in a line.
pub struct RunLine {
    label: String,
    /// Steps in all.
    total: u64,
    /// Steps done, and the mean return.
    at: Option<(f64, f64)>,
}

/// A run's bar, and the values that its trial tries.
pub struct RunBar {
    bar: ProgressBar,
    values: String,
}

/// Shows the runs on stderr: on a terminal a bar for each that goes on and one for the whole, otherwise
/// a line when one ends, and one every few seconds.
pub enum ProgressDisplay {
    /// Nothing is shown.
    Quiet,
    /// On a terminal.
    Bars { bars: MultiProgress, whole: ProgressBar, running: HashMap<Id, RunBar> },
    /// In a file or a pipe.
    Lines { running: HashMap<Id, RunLine>, last: Instant },
}

impl ProgressDisplay {
    /// Nothing is running yet.
    #[must_use]
    pub fn new(quiet: bool) -> ProgressDisplay {
        if quiet {
            return ProgressDisplay::Quiet;
        }
        if !draws_in_place(&Term::stderr()) {
            return ProgressDisplay::Lines { running: HashMap::new(), last: Instant::now() };
        }
        let bars = MultiProgress::new();
        let whole = bars.add(ProgressBar::new(1));
        whole.set_style(bar_style("{bar:8} {wide_msg} {elapsed}, ETA {eta}"));
        whole.enable_steady_tick(Duration::from_secs(1));
        ProgressDisplay::Bars { bars, whole, running: HashMap::new() }
    }

    /// A run of so many steps begins.
    pub fn started(&mut self, id: Id, label: &str, total: u64, values: &str) {
        match self {
            ProgressDisplay::Quiet => {}
            ProgressDisplay::Bars { bars, whole, running } => {
                let bar = bars.insert_before(whole, ProgressBar::new(total));
                bar.set_style(bar_style("{bar:8} {human_pos}/{human_len} {prefix} {wide_msg}"));
                bar.set_prefix(label.to_owned());
                bar.set_message(values.to_owned());
                running.insert(id, RunBar { bar, values: values.to_owned() });
            }
            ProgressDisplay::Lines { running, .. } => {
                let label = if values.is_empty() {
                    label.to_owned()
                } else {
                    format!("{label} ({values})")
                };
                running.insert(id, RunLine { label, total, at: None });
            }
        }
    }

    /// A run has come so far.
    pub fn at(&mut self, id: Id, steps: f64, mean_return: f64) {
        match self {
            ProgressDisplay::Quiet => {}
            ProgressDisplay::Bars { running, .. } => {
                if let Some(RunBar { bar, values }) = running.get(&id) {
                    bar.set_position(steps as u64);
                    bar.set_message(format!("{values} | return {mean_return:.2}"));
                }
            }
            ProgressDisplay::Lines { running, .. } => {
                if let Some(run) = running.get_mut(&id) {
                    run.at = Some((steps, mean_return));
                }
            }
        }
    }

    /// A run has ended.
    pub fn ended(&mut self, id: Id, text: &str, done: usize, all: usize) {
        match self {
            ProgressDisplay::Quiet => {}
            ProgressDisplay::Bars { bars, running, .. } => {
                if let Some(RunBar { bar, .. }) = running.remove(&id) {
                    let line = format!("{} {}: {text}", bar.prefix(), bar.message());
                    bar.finish_and_clear();
                    bars.remove(&bar);
                    let _ = bars.println(line);
                }
            }
            ProgressDisplay::Lines { running, .. } => {
                if let Some(RunLine { label, .. }) = running.remove(&id) {
                    line(&format!("{done}/{all} runs, {label}: {text}"));
                }
            }
        }
        self.all(done, all);
    }

    /// So many runs of the whole are done.
    pub fn all(&mut self, done: usize, all: usize) {
        match self {
            ProgressDisplay::Quiet => {}
            ProgressDisplay::Bars { whole, running, .. } => {
                // In steps of a thousandth of a run.
                let part = |RunBar { bar, .. }: &RunBar| {
                    1000 * bar.position() / bar.length().unwrap_or_default().max(1)
                };
                whole.set_length(1000 * all as u64);
                whole.set_position(1000 * done as u64 + running.values().map(part).sum::<u64>());
                whole.set_message(format!("{done}/{all} runs of the sweep"));
            }
            ProgressDisplay::Lines { running, last } => {
                if last.elapsed() < PAUSE {
                    return;
                }
                *last = Instant::now();
                for RunLine { label, total, at } in running.values() {
                    if let Some((steps, mean_return)) = at {
                        line(&format!("{label}: {steps}/{total} steps, return {mean_return:.2}"));
                    }
                }
            }
        }
    }

    /// Nothing runs any more.
    pub fn end(&mut self) {
        if let ProgressDisplay::Bars { whole, .. } = self {
            whole.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use indicatif::ProgressDrawTarget;

    #[test]
    fn values_are_shown_as_they_are_whatever_they_hold() {
        let bars = MultiProgress::with_draw_target(ProgressDrawTarget::hidden());
        let whole = bars.add(ProgressBar::new(1));
        let mut display = ProgressDisplay::Bars { bars, whole, running: HashMap::new() };
        let values = "warm_start=of | return 5";
        display.started((0, 0), "trial 1 seed 1", 100, values);
        for (steps, mean_return) in [(10.0, 1.0), (20.0, 2.5)] {
            display.at((0, 0), steps, mean_return);
        }
        let ProgressDisplay::Bars { running, .. } = &display else { unreachable!() };
        assert_eq!(running[&(0, 0)].bar.message(), format!("{values} | return 2.50"));
    }
}
