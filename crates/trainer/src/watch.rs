//! Curves of experiments in the terminal, drawn anew while they go on.

use crate::cli::CurveArgs;
use crate::error::Error;
use crate::plot;
use crate::results::{self, Run};
use crate::screen::Screen;
use crate::terminal::{self, Align, say};
use std::time::{Duration, Instant};

/// Time between two looks.
const PAUSE: Duration = Duration::from_secs(1);

/// Runs that get a line, of those that are not finished.
const MAX_RUNS: usize = 6;

/// Columns and rows of the picture where there is no terminal.
const SIZE: (usize, usize) = (80, 23);

/// Draws the runs at and below these directories until the user leaves; once where stdout is no
/// terminal.
///
/// # Errors
/// When there is no run, one can't be read, or none has a value of the metric and none will have one.
pub fn watch(curves: &CurveArgs) -> Result<(), Error> {
    let Some(mut screen) = Screen::open() else {
        say(&picture(curves, SIZE)?);
        return Ok(());
    };
    loop {
        let text = picture(curves, screen.size())?;
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        if !screen.show(&lines) || !screen.rest(Instant::now() + PAUSE) {
            return Ok(());
        }
    }
}

/// The curves, with a line a group, and a line a run.
fn picture(curves: &CurveArgs, (columns, rows): (usize, usize)) -> Result<String, Error> {
    let CurveArgs { paths, metric, x } = curves;
    let runs = results::find(paths)?;
    let table = table(&runs);
    let groups = results::groups(runs);
    let rows = rows.saturating_sub(table.lines().count() + 1);
    match plot::text(&groups, metric, *x, columns, rows) {
        Ok(curves) => Ok(format!("{curves}\n{table}")),
        // A run has no row before its first iteration, and no return before its first episode has ended.
        Err(_) if groups.iter().flat_map(|group| &group.runs).any(|run| may_have(run, metric)) => {
            Ok(format!("no run has a value of {metric} yet\n\n{table}"))
        }
        Err(error) => Err(error),
    }
}

/// Whether a run goes on that may bring a value of this metric.
fn may_have(run: &Run, metric: &str) -> bool {
    run.summary.is_none() && (run.columns.is_empty() || run.column(metric).is_some())
}

/// A line for each run that is not finished: how far it is and how well it does.
fn table(runs: &[Run]) -> String {
    let unfinished: Vec<&Run> = runs.iter().filter(|run| run.summary.is_none()).collect();
    let mut lines = Vec::new();
    for run in unfinished.iter().take(MAX_RUNS) {
        let figure = |name, digits| {
            let last = run.column(name).and_then(|column| column.iter().rev().find_map(|x| *x));
            terminal::figure(last, digits)
        };
        let total = run.config.get("total_steps").map_or("?", String::as_str);
        lines.push(vec![
            format!("{} of {total} steps", figure("time/total_timesteps", 0)),
            format!("{} steps/s", figure("time/fps", 0)),
            format!("return {}", figure("rollout/ep_rew_mean", 2)),
            // Last: it may be too long for the terminal.
            run.path.display().to_string(),
        ]);
    }
    let mut text = terminal::columns(&lines, Align::Left);
    if unfinished.len() > MAX_RUNS {
        text += &format!("  and {} more\n", unfinished.len() - MAX_RUNS);
    }
    text + &format!("  {} of {} finished\n", runs.len() - unfinished.len(), runs.len())
}
