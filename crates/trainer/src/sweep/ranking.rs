//! `results.csv`, `best.toml`, and the ranked table at the end.

use super::plan::{Sweep, short, shown};
use super::trial::{RunMetrics, Status, TrialState, losses};
use crate::error::Error;
use crate::experiment::config::sweep::Objective;
use crate::files;
use crate::terminal::{Align, columns};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;
use toml::Value;

/// Rows of the table at the end; the rest is in the file.
const ROWS: usize = 20;

/// Writes a row a trial, and the winner's configuration.
///
/// # Errors
/// When a file can't be written.
pub fn write(sweep: &Sweep, root: &Path, entries: &[TrialState]) -> Result<(), Error> {
    let rows: Vec<(String, &TrialState)> =
        entries.iter().map(|entry| (entry.trial.number.to_string(), entry)).collect();
    table(sweep, &root.join("results.csv"), "trial", &rows)?;
    if let Some(best) = ranked(sweep, entries).first() {
        let mut experiment = best.trial.experiment.clone();
        experiment.name += "_best";
        files::write_atomically(&root.join("best.toml"), &[experiment.to_toml()?.as_bytes()])?;
    }
    Ok(())
}

/// Writes a CSV file with a row an entry: its name under `title`, how it ended, its values, its
/// metrics averaged over the seeds.
///
/// # Errors
/// When the file can't be written.
pub fn table(
    sweep: &Sweep,
    path: &Path,
    title: &str,
    rows: &[(String, &TrialState)],
) -> Result<(), Error> {
    let keys = sweep.space.keys();
    let mut header = vec![title, "status", "reason"];
    header.extend(keys.iter().map(|(key, _)| *key));
    header.extend(["seeds", "objective_std"]);
    header.extend(RunMetrics::NAMES);
    let mut lines = vec![header.into_iter().map(str::to_owned).collect::<Vec<_>>()];
    let cell = |number: Option<f64>| number.map_or_else(String::new, |number| number.to_string());
    for (name, entry) in rows {
        let (status, reason) = outcome(entry);
        let mut row = vec![name.clone(), status.to_owned(), reason.to_owned()];
        row.extend(entry.values().iter().map(shown));
        row.extend([entry.finished().to_string(), cell(entry.deviation())]);
        row.extend(RunMetrics::NAMES.map(|name| cell(entry.mean(name))));
        lines.push(row);
    }
    files::write_csv(path, &lines)
}

/// Finished trials, the best first; those that break a limit come after all that keep theirs. Of two that are equal the
/// one that learned sooner: by the area under the curve of the training return, then by the steps to the threshold;
/// then the one that came first.
#[must_use]
pub fn ranked<'a>(sweep: &Sweep, entries: &'a [TrialState]) -> Vec<&'a TrialState> {
    let entries: Vec<&TrialState> = entries.iter().collect();
    let losses = losses(sweep, &entries);
    let mut ranked: Vec<(&TrialState, f64)> =
        entries.into_iter().zip(losses).filter_map(|(entry, loss)| Some((entry, loss?))).collect();
    let more = |entry: &TrialState| -entry.mean("area").unwrap_or(f64::NEG_INFINITY);
    let less = |entry: &TrialState| entry.mean("steps_to_threshold").unwrap_or(f64::INFINITY);
    ranked.sort_by(|(a, loss_a), (b, loss_b)| {
        loss_a.total_cmp(loss_b).then(more(a).total_cmp(&more(b))).then(less(a).total_cmp(&less(b)))
    });
    ranked.into_iter().map(|(entry, _)| entry).collect()
}

/// What to call a swept table of an agent: its algorithm, if no other table has the same.
fn algorithm<'a>(value: &'a Value, mut others: impl Iterator<Item = &'a Value>) -> Option<&'a str> {
    let name = value.get("algorithm")?.as_str()?;
    let is_same = |other: &Value| other.get("algorithm").and_then(Value::as_str) == Some(name);
    others.all(|other| other == value || !is_same(other)).then_some(name)
}

/// The ranked table for people.
#[must_use]
pub fn ranking(sweep: &Sweep, root: &Path, entries: &[TrialState]) -> String {
    let ranked = ranked(sweep, entries);
    let keys = sweep.space.keys();
    let mut header = vec!["rank".to_owned(), "trial".to_owned()];
    header.extend(keys.iter().map(|(key, _)| short(key).to_owned()));
    header.extend([sweep.objective.name(), "+/-"].map(str::to_owned));
    let knows = |metric: &str| ranked.iter().any(|entry| entry.mean(metric).is_some());
    let (knows_success, knows_limit) = (knows("eval.success_rate"), knows("limit_excess"));
    header.extend(knows_success.then(|| "success".to_owned()));
    header.extend(knows_limit.then(|| "limit".to_owned()));
    header.push("seconds".to_owned());
    let mut rows = vec![header];
    for (rank, entry) in ranked.iter().enumerate().take(ROWS) {
        let mut row = vec![(rank + 1).to_string(), entry.trial.number.to_string()];
        row.extend(entry.values().iter().enumerate().map(|(column, value)| {
            let others = ranked.iter().map(|entry| &entry.values()[column]);
            algorithm(value, others).map_or_else(|| shown(value), str::to_owned)
        }));
        row.push(number(entry.objective()));
        row.push(number(entry.deviation()));
        row.extend(knows_success.then(|| number(entry.mean("eval.success_rate"))));
        row.extend(knows_limit.then(|| limit(entry)));
        row.push(number(entry.mean("seconds")));
        rows.push(row);
    }
    let mut text = format!(
        "{}: {} by {}, mean and deviation over {} seeds, {} is better\n{}",
        sweep.name,
        if ranked.is_empty() { "no trial has finished to be ranked" } else { "trials" },
        sweep.objective.name(),
        sweep.seeds.len(),
        if sweep.objective == Objective::StepsToThreshold { "less" } else { "more" },
        columns(&rows, Align::Right),
    );
    if ranked.len() > ROWS {
        text += &format!("  and {} more\n", ranked.len() - ROWS);
    }
    for status in [Status::Failed, Status::Pruned] {
        let of: Vec<&TrialState> = entries
            .iter()
            .filter(|entry| entry.verdict.as_ref().is_some_and(|(one, _)| *one == status))
            .collect();
        for entry in of.iter().take(ROWS) {
            let reason = entry.verdict.as_ref().map_or("", |(_, reason)| reason.as_str());
            text += &format!("  trial {} {}: {reason}\n", entry.trial.number, status.name());
        }
        if of.len() > ROWS {
            text += &format!("  and {} more {}\n", of.len() - ROWS, status.name());
        }
    }
    let root = root.display();
    text += &format!("  results     {root}/results.csv\n");
    if !ranked.is_empty() {
        text += &format!("  winner      {root}/best.toml\n");
    }
    text
}

/// Whether the limit of a trial is kept, for people: `kept`, or by how much it is not, `6.1 % over`.
fn limit(entry: &TrialState) -> String {
    match (entry.mean("limit_excess"), entry.excess()) {
        (None, _) => "-".to_owned(),
        (_, 0.0) => "kept".to_owned(),
        (_, excess) => format!("{:.1} % over", 100.0 * excess),
    }
}

/// The ranked table for scripts: the finished trials, the best first, then the others.
#[derive(Serialize)]
pub struct Ranking<'a> {
    sweep: String,
    name: &'a str,
    objective: Objective,
    seeds: &'a [u64],
    trials: Vec<RankedTrial<'a>>,
    winner: Option<String>,
    confirmed: Option<RankedTrial<'a>>,
    /// That the winner does worse on fresh seeds than the second; `null` if it does not.
    lost: Option<String>,
}

/// A trial, by the names of `results.csv`.
#[derive(Serialize)]
struct RankedTrial<'a> {
    trial: usize,
    status: &'static str,
    reason: &'a str,
    values: BTreeMap<&'a str, &'a Value>,
    seeds: usize,
    objective_std: Option<f64>,
    #[serde(flatten)]
    metrics: BTreeMap<&'static str, Option<f64>>,
}

impl<'a> Ranking<'a> {
    /// Of these trials, and of the winner on fresh seeds.
    #[must_use]
    pub fn new(
        sweep: &'a Sweep,
        root: &Path,
        entries: &'a [TrialState],
        confirmed: Option<&'a TrialState>,
    ) -> Ranking<'a> {
        let ranked = ranked(sweep, entries);
        let others = entries.iter().filter(|entry| entry.objective().is_none());
        Ranking {
            sweep: root.display().to_string(),
            name: &sweep.name,
            objective: sweep.objective,
            seeds: &sweep.seeds,
            winner: (!ranked.is_empty()).then(|| root.join("best.toml").display().to_string()),
            confirmed: confirmed.map(|entry| RankedTrial::new(sweep, entry)),
            lost: confirmed.and_then(|entry| lost(sweep, entry, ranked.get(1).copied())),
            trials: ranked
                .into_iter()
                .chain(others)
                .map(|entry| RankedTrial::new(sweep, entry))
                .collect(),
        }
    }
}

impl<'a> RankedTrial<'a> {
    fn new(sweep: &'a Sweep, entry: &'a TrialState) -> RankedTrial<'a> {
        let (status, reason) = outcome(entry);
        RankedTrial {
            trial: entry.trial.number,
            status,
            reason,
            values: sweep
                .space
                .keys()
                .into_iter()
                .map(|(key, _)| key)
                .zip(entry.values())
                .collect(),
            seeds: entry.finished(),
            objective_std: entry.deviation(),
            metrics: RunMetrics::NAMES.into_iter().map(|name| (name, entry.mean(name))).collect(),
        }
    }
}

/// How a trial ended, and why.
fn outcome(entry: &TrialState) -> (&'static str, &str) {
    match &entry.verdict {
        Some((status, reason)) => (status.name(), reason),
        None => ("unfinished", ""),
    }
}

/// The winner on the seeds it won with, and on fresh ones.
#[must_use]
pub fn confirmation(
    sweep: &Sweep,
    won: &TrialState,
    confirmed: &TrialState,
    second: Option<&TrialState>,
) -> String {
    let seeds = |entry: &TrialState| {
        let seeds: Vec<String> = entry.runs.iter().map(|(seed, _)| seed.to_string()).collect();
        seeds.join(",")
    };
    let mut rows = vec![["metric", "won with", "confirmed"].map(str::to_owned).to_vec()];
    let mut row = |name: &str, a: String, b: String| rows.push(vec![name.to_owned(), a, b]);
    row("seeds", seeds(won), seeds(confirmed));
    row(sweep.objective.name(), number(won.objective()), number(confirmed.objective()));
    row("+/-", number(won.deviation()), number(confirmed.deviation()));
    for name in ["eval.mean_return", "eval.success_rate"] {
        let is_shown = name == "eval.mean_return" && sweep.objective == Objective::FinalReturn;
        if won.mean(name).is_some() && !is_shown {
            row(name, number(won.mean(name)), number(confirmed.mean(name)));
        }
    }
    if won.mean("limit_excess").is_some() {
        row("limit", limit(won), limit(confirmed));
    }
    let table = columns(&rows, Align::Right);
    let lost =
        lost(sweep, confirmed, second).map_or_else(String::new, |text| format!("  {text}\n"));
    format!("trial {} on fresh seeds\n{table}{lost}", won.trial.number)
}

/// That the winner does worse on fresh seeds than the second did on those that both were chosen by.
#[must_use]
pub fn lost(sweep: &Sweep, confirmed: &TrialState, second: Option<&TrialState>) -> Option<String> {
    let second = second?;
    let [Some(fresh), Some(other)] = losses(sweep, &[confirmed, second])[..] else { return None };
    let result = |entry: &TrialState| match entry.excess() {
        0.0 => number(entry.objective()),
        _ => format!("{}, limit {}", number(entry.objective()), limit(entry)),
    };
    (fresh > other).then(|| {
        format!(
            "on fresh seeds the winner does worse than trial {}, the second, did on the first ones ({} \
             against {}): its seeds were lucky, and it may not be the best; give both more seeds",
            second.trial.number,
            result(confirmed),
            result(second)
        )
    })
}

/// A number for people; a dash where there is none.
#[must_use]
pub fn number(number: Option<f64>) -> String {
    match number {
        None => "-".to_owned(),
        Some(number) if number.fract() == 0.0 && number.abs() < 1e15 => format!("{number:.0}"),
        Some(number) => format!("{number:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_swept_agent_goes_by_its_algorithm_where_that_is_enough() {
        let agent = |text: &str| Value::Table(text.parse().unwrap());
        let (ppo, trpo) = (agent("algorithm = 'ppo'\ngamma = 0.9"), agent("algorithm = 'trpo'"));
        let other = agent("algorithm = 'ppo'\ngamma = 0.8");
        assert_eq!(algorithm(&ppo, [&ppo, &trpo].into_iter()), Some("ppo"));
        assert_eq!(algorithm(&ppo, [&other, &ppo].into_iter()), None);
        assert_eq!(algorithm(&Value::Integer(1), [&ppo].into_iter()), None);
    }
}
