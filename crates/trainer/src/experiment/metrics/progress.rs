//! What the user sees while a run goes on.

use super::{Record, Sink};
use crate::error::Error;
use crate::terminal::{bar_style, draws_in_place, line, number};
use console::Term;
use indicatif::ProgressBar;
use std::time::{Duration, Instant};

/// Time between two plain lines, at least.
const PAUSE: Duration = Duration::from_secs(3);

/// Shows each record on stderr: as a bar on a terminal, otherwise as a line every few seconds.
pub enum ProgressSink {
    /// On a terminal.
    Bar(ProgressBar),
    /// In a file or a pipe.
    Lines {
        /// Steps of the whole run.
        total: u64,
        /// When the last line was written, and how many steps were done.
        last: Option<(Instant, u64)>,
    },
}

impl ProgressSink {
    /// Starts at `steps` of `total`.
    #[must_use]
    pub fn new(steps: u64, total: u64) -> ProgressSink {
        if !draws_in_place(&Term::stderr()) {
            return ProgressSink::Lines { total, last: None };
        }
        let bar = ProgressBar::new(total).with_position(steps);
        bar.set_style(bar_style("{bar:8} {human_pos}/{human_len} {wide_msg} ETA {eta}"));
        bar.reset_eta();
        ProgressSink::Bar(bar)
    }
}

impl Sink for ProgressSink {
    fn record(&mut self, record: &Record) -> Result<(), Error> {
        match self {
            ProgressSink::Bar(bar) => {
                bar.set_message(metrics(record));
                bar.set_position(record.steps);
            }
            ProgressSink::Lines { total, last } => {
                let is_due =
                    record.steps == *total || last.is_none_or(|(time, _)| time.elapsed() >= PAUSE);
                if is_due {
                    let seconds = remaining(*last, record.steps, *total);
                    *last = Some((Instant::now(), record.steps));
                    line(&format!(
                        "{}/{total} steps {}{}",
                        record.steps,
                        metrics(record),
                        seconds.map_or_else(String::new, |left| format!(" ETA {left:.0}s")),
                    ));
                }
            }
        }
        Ok(())
    }
}

impl Drop for ProgressSink {
    fn drop(&mut self) {
        if let ProgressSink::Bar(bar) = self {
            // What has ended has no time to go, whether it was done or stopped.
            bar.set_style(bar_style("{bar:8} {human_pos}/{human_len} {wide_msg}"));
            bar.abandon();
        }
    }
}

/// Seconds to go, by the pace since the last line.
fn remaining(last: Option<(Instant, u64)>, steps: u64, total: u64) -> Option<f64> {
    let (time, before) = last?;
    let pace = (steps - before) as f64 / time.elapsed().as_secs_f64();
    (pace > 0.0).then(|| total.saturating_sub(steps) as f64 / pace)
}

fn metrics(record: &Record) -> String {
    let mut text = format!(
        "{} steps/s, return {}, KL {}",
        number(record.get("time/fps"), 0),
        number(record.get("rollout/ep_rew_mean"), 2),
        number(record.get("train/approx_kl"), 4),
    );
    if let Some(cost) = record.get("rollout/ep_cost_mean") {
        text += &format!(", cost {cost:.2}");
    }
    if let Some(evaluation) = record.get("eval/mean_reward") {
        text += &format!(", evaluation {evaluation:.2}");
    }
    text
}
