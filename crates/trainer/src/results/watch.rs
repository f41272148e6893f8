//! Curves of experiments in the terminal, drawn anew while they go on.

use crate::error::Error;
use crate::experiment::lock::Lock;
use crate::results::plot::{self, Axis};
use crate::results::screen::Screen;
use crate::results::{self, Run};
use crate::terminal::{self, Align, say};
use std::path::PathBuf;
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
/// At the first look: when a run can't be read, or none has a value of the metric and none will have one;
/// where stdout is no terminal, also when there is no run. What is wrong later may pass, and is shown.
pub fn watch(paths: &[PathBuf], metric: &str, x: Axis) -> Result<(), Error> {
    let picture = |size| picture(paths, metric, x, size);
    let Some(mut screen) = Screen::open() else {
        say(&picture(SIZE)?);
        return Ok(());
    };
    let mut has_begun = false;
    loop {
        let text = match picture(screen.size()) {
            Err(Error::Usage(problem)) if has_begun || results::find(paths).is_err() => {
                format!("{problem}\n\n  looking again every second\n")
            }
            text => {
                has_begun = true;
                text?
            }
        };
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        if !screen.show(&lines) || !screen.rest(Instant::now() + PAUSE) {
            return Ok(());
        }
    }
}

/// The curves, with a line a group, and a line a run.
fn picture(
    paths: &[PathBuf],
    metric: &str,
    x: Axis,
    (columns, rows): (usize, usize),
) -> Result<String, Error> {
    let (runs, broken) = results::look(paths)?;
    let groups = results::groups(runs);
    let runs: Vec<&Run> = groups.iter().flat_map(|group| &group.runs).collect();
    let table = table(&runs, broken.len());
    let rows = rows.saturating_sub(table.lines().count() + 1);
    let all = results::by_environment(groups.clone());
    let pictures: Vec<Result<String, Error>> = all
        .values()
        .map(|groups| plot::text(groups, metric, x, columns, rows / all.len()))
        .collect();
    // An environment may have nothing to show yet.
    let has_one = pictures.iter().any(Result::is_ok);
    let shown = pictures.into_iter().filter(|picture| picture.is_ok() || !has_one);
    match shown.collect::<Result<String, Error>>() {
        Ok(curves) => Ok(format!("{curves}\n{table}")),
        // A run has no row before its first iteration, and no return before its first episode has ended.
        Err(_) if runs.iter().any(|run| may_have(run, metric)) => {
            Ok(format!("no run has a value of {metric} yet\n\n{table}"))
        }
        Err(error) => Err(error),
    }
}

/// Whether a run goes on that may bring a value of this metric.
fn may_have(run: &Run, metric: &str) -> bool {
    run.summary.is_none() && (run.columns.is_empty() || run.column(metric).is_some())
}

/// A line for each run that is not finished, those that a process works on first: how far it is and how
/// well it does.
fn table(runs: &[&Run], broken: usize) -> String {
    let is_running = |run: &Run| Lock::is_held(&run.path);
    let unfinished = runs.iter().filter(|run| run.summary.is_none());
    let mut unfinished: Vec<(&Run, bool)> = unfinished.map(|run| (*run, is_running(run))).collect();
    unfinished.sort_by_key(|(_, is_running)| !is_running);
    let mut lines = Vec::new();
    for (run, is_running) in unfinished.iter().take(MAX_RUNS) {
        let number = |name, digits| {
            let last = run.column(name).and_then(|column| column.iter().rev().find_map(|x| *x));
            terminal::number(last, digits)
        };
        let total = run.total_steps;
        lines.push(vec![
            format!("{} of {total} steps", number("time/total_timesteps", 0)),
            match is_running {
                true => format!("{} steps/s", number("time/fps", 0)),
                false => "stopped".into(),
            },
            format!("return {}", number("rollout/ep_rew_mean", 2)),
            // Last: it may be too long for the terminal.
            run.path.display().to_string(),
        ]);
    }
    let mut text = terminal::columns(&lines, Align::Left);
    if unfinished.len() > MAX_RUNS {
        text += &format!("  and {} more\n", unfinished.len() - MAX_RUNS);
    }
    let running = unfinished.iter().filter(|(_, is_running)| *is_running).count();
    let states = [
        (running, "running"),
        (unfinished.len() - running, "stopped"),
        (runs.len() - unfinished.len(), "finished"),
        (broken, "can't be read"),
    ];
    let states = states.iter().filter(|(number, _)| *number > 0);
    let states: Vec<String> = states.map(|(number, state)| format!("{number} {state}")).collect();
    text + &format!("  {}\n", states.join(", "))
}
