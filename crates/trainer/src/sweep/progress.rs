//! What the user sees while a sweep goes on.

use crate::experiment::progress::style;
use crate::terminal::{draws_in_place, line};
use console::Term;
use indicatif::{MultiProgress, ProgressBar};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Time between two plain lines about running runs, at least.
const PAUSE: Duration = Duration::from_secs(10);

/// Which run: its trial's and its own position.
type Id = (usize, usize);

/// What is said of a run: its label, its steps in all, and how far it is with which mean return.
type Line = (String, u64, Option<(f64, f64)>);

/// Shows the runs on stderr: on a terminal a bar for each that goes on and one for the whole, otherwise
/// a line when one ends, and one every few seconds.
pub enum Progress {
    /// Nothing is shown.
    Quiet,
    /// On a terminal.
    Bars { bars: MultiProgress, whole: ProgressBar, running: HashMap<Id, ProgressBar> },
    /// In a file or a pipe.
    Lines { running: HashMap<Id, Line>, last: Instant },
}

impl Progress {
    /// Nothing is running yet.
    #[must_use]
    pub fn new(quiet: bool) -> Progress {
        if quiet {
            return Progress::Quiet;
        }
        if !draws_in_place(&Term::stderr()) {
            return Progress::Lines { running: HashMap::new(), last: Instant::now() };
        }
        let bars = MultiProgress::new();
        let whole = bars.add(ProgressBar::new(1));
        whole.set_style(style("{bar:8} {wide_msg} {elapsed}, ETA {eta}"));
        whole.enable_steady_tick(Duration::from_secs(1));
        Progress::Bars { bars, whole, running: HashMap::new() }
    }

    /// A run of so many steps begins.
    pub fn started(&mut self, id: Id, label: &str, total: u64, values: &str) {
        match self {
            Progress::Quiet => {}
            Progress::Bars { bars, whole, running } => {
                let bar = bars.insert_before(whole, ProgressBar::new(total));
                bar.set_style(style("{bar:8} {human_pos}/{human_len} {prefix} {wide_msg}"));
                bar.set_prefix(label.to_owned());
                bar.set_message(values.to_owned());
                running.insert(id, bar);
            }
            Progress::Lines { running, .. } => {
                let label = if values.is_empty() {
                    label.to_owned()
                } else {
                    format!("{label} ({values})")
                };
                running.insert(id, (label, total, None));
            }
        }
    }

    /// A run has come so far.
    pub fn at(&mut self, id: Id, steps: f64, mean_return: f64) {
        match self {
            Progress::Quiet => {}
            Progress::Bars { running, .. } => {
                if let Some(bar) = running.get(&id) {
                    bar.set_position(steps as u64);
                    let message = bar.message();
                    let values = message.split(" | return ").next().unwrap_or_default();
                    bar.set_message(format!("{values} | return {mean_return:.2}"));
                }
            }
            Progress::Lines { running, .. } => {
                if let Some(run) = running.get_mut(&id) {
                    run.2 = Some((steps, mean_return));
                }
            }
        }
    }

    /// A run has ended.
    pub fn ended(&mut self, id: Id, text: &str, done: usize, all: usize) {
        match self {
            Progress::Quiet => {}
            Progress::Bars { bars, running, .. } => {
                if let Some(bar) = running.remove(&id) {
                    let line = format!("{} {}: {text}", bar.prefix(), bar.message());
                    bar.finish_and_clear();
                    bars.remove(&bar);
                    let _ = bars.println(line);
                }
            }
            Progress::Lines { running, .. } => {
                if let Some((label, ..)) = running.remove(&id) {
                    line(&format!("{done}/{all} runs, {label}: {text}"));
                }
            }
        }
        self.all(done, all);
    }

    /// So many runs of the whole are done.
    pub fn all(&mut self, done: usize, all: usize) {
        match self {
            Progress::Quiet => {}
            Progress::Bars { whole, running, .. } => {
                // In steps of a thousandth of a run.
                let part = |bar: &ProgressBar| {
                    1000 * bar.position() / bar.length().unwrap_or_default().max(1)
                };
                whole.set_length(1000 * all as u64);
                whole.set_position(1000 * done as u64 + running.values().map(part).sum::<u64>());
                whole.set_message(format!("{done}/{all} runs of the sweep"));
            }
            Progress::Lines { running, last } => {
                if last.elapsed() < PAUSE {
                    return;
                }
                *last = Instant::now();
                for (label, total, at) in running.values() {
                    if let Some((steps, mean_return)) = at {
                        line(&format!("{label}: {steps}/{total} steps, return {mean_return:.2}"));
                    }
                }
            }
        }
    }

    /// Nothing runs any more.
    pub fn end(&mut self) {
        if let Progress::Bars { whole, .. } = self {
            whole.finish_and_clear();
        }
    }
}
