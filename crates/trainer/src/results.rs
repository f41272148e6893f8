//! What runs have left: read back from their directories, and put into groups that differ in more than
//! the seed. Below it, what looks at them.

pub mod compare;
pub mod export;
pub mod failures;
pub mod plot;
pub mod replay;
pub mod report;
mod screen;
pub mod stats;
pub mod steps;
pub mod watch;

use crate::error::Error;
use crate::experiment::changes::{self, Change};
use crate::experiment::config::keys::{self, flattened};
use crate::experiment::metrics::csv::{self, Column};
use crate::experiment::run_dir::RunDir;
use crate::experiment::summary::Summary;
use crate::experiment::verdict::{self, Outcome, Verdict};
use crate::terminal::{count, warn};
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// How deep below a directory runs are looked for: runs/NAME/SEED, and a sweep's trials below that.
const DEPTH: usize = 5;

/// A run, finished or not.
#[derive(Clone, Debug)]
pub struct Run {
    /// Its directory.
    pub path: PathBuf,
    /// The experiment's name.
    pub name: String,
    /// The seed of its random streams.
    pub seed: u64,
    /// The resolved configuration by dotted keys (`agent.gamma`), each value as TOML writes it, in
    /// order of the keys; without `name` and `seed`. A value that was changed on the way says so: `0.99, from
    /// step 2048 0.9`.
    pub config: BTreeMap<String, String>,
    /// Steps that it is to do.
    pub total_steps: u64,
    /// `None` while the run is not finished.
    pub summary: Option<Summary>,
    /// Columns of `metrics.csv` in the order of the file.
    pub columns: Vec<Column>,
}

impl Run {
    /// Reads a run directory.
    ///
    /// # Errors
    /// When a file in it can't be read, or is not what the trainer writes.
    pub fn read(path: &Path) -> Result<Run, Error> {
        let run = RunDir::at(path.to_owned());
        run.must_hold_a_run()?;
        let file = run.config();
        let text = std::fs::read_to_string(&file).map_err(Error::io("can't be read", &file))?;
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
            Error::Usage(format!("{}: {}", file.display(), error.message()))
        })?;
        let mut config = flattened(&table);
        let name = table.get("name").and_then(toml::Value::as_str).unwrap_or_default().to_owned();
        let seed = table.get("seed").and_then(toml::Value::as_integer).unwrap_or_default();
        config.retain(|key, _| key != "name" && key != "seed");
        let mut total_steps = table.get("total_steps").and_then(toml::Value::as_integer);
        for Change { step, key, value } in changes::read(&run.changes())? {
            if key == "total_steps" {
                total_steps = value.as_integer();
            }
            let before = config.get(&key).map_or("not given", String::as_str);
            let now = format!("{before}, from step {step} {}", keys::text(&value));
            config.insert(key, now);
        }
        let total_steps = total_steps.unwrap_or_default() as u64;
        let summary = run.summary().is_file().then(|| Summary::read(&run.summary())).transpose()?;
        let columns = if run.metrics().is_file() { csv::read(&run.metrics())? } else { Vec::new() };
        Ok(Run {
            path: path.to_owned(),
            name,
            seed: seed as u64,
            config,
            total_steps,
            summary,
            columns,
        })
    }

    /// A column of `metrics.csv`.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&[Option<f64>]> {
        let column = self.columns.iter().find(|(known, _)| known == name)?;
        Some(&column.1)
    }

    /// What its curves say of it.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        verdict::of(&self.columns, self.summary.as_ref().and_then(Summary::reached))
    }

    /// The environment's name.
    #[must_use]
    pub fn environment(&self) -> &str {
        self.config.get("env.name").map_or("", String::as_str)
    }

    /// The part of the configuration that makes results what they are. Where updates run does not, as long
    /// as it is a CPU.
    fn identity(&self) -> BTreeMap<&str, &str> {
        let tables = ["eval.", "checkpoint."];
        let pairs = self.config.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        pairs
            .filter(|(key, value)| {
                let is_cpu = *key == "backend" && !value.contains("wgpu");
                !is_cpu && !tables.iter().any(|table| key.starts_with(table))
            })
            .collect()
    }

    /// The points of one metric over another, as `(x, y)`, where both have a value; empty when a
    /// column is not there.
    #[must_use]
    pub fn curve(&self, x: &str, y: &str) -> Vec<(f64, f64)> {
        let (Some(x), Some(y)) = (self.column(x), self.column(y)) else { return Vec::new() };
        x.iter().zip(y).filter_map(|(x, y)| Some(((*x)?, (*y)?))).collect()
    }
}

/// All runs at and below these directories, in order of their paths; those that can't be read are left out
/// with a warning.
///
/// # Errors
/// When a path is no directory or holds no run, or no run can be read.
pub fn find(paths: &[PathBuf]) -> Result<Vec<Run>, Error> {
    let (runs, broken) = look(paths)?;
    broken.iter().for_each(|problem| warn(&format!("{problem}; this run is left out")));
    Ok(runs)
}

/// The same without warnings: the runs, and what is wrong with the others.
fn look(paths: &[PathBuf]) -> Result<(Vec<Run>, Vec<Error>), Error> {
    let mut found = Vec::new();
    for path in paths {
        let before = found.len();
        search(path, DEPTH, &mut found)?;
        if found.len() == before {
            let path = path.display();
            return Err(Error::Usage(format!(
                "{path}: there is no run in it; give run directories, such as runs/ppo_cartpole/1, or \
                 directories with runs below them"
            )));
        }
    }
    found.sort();
    found.dedup();
    let read: Vec<Result<Run, Error>> = found.par_iter().map(|path| Run::read(path)).collect();
    let (mut runs, mut broken) = (Vec::new(), Vec::new());
    for run in read {
        match run {
            Ok(run) => runs.push(run),
            Err(problem) => broken.push(problem),
        }
    }
    if runs.is_empty() && !broken.is_empty() { Err(broken.remove(0)) } else { Ok((runs, broken)) }
}

fn search(path: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<(), Error> {
    if path.join("config.toml").is_file() {
        found.push(path.to_owned());
        return Ok(());
    }
    if depth == 0 || !path.is_dir() {
        return Ok(());
    }
    for name in crate::files::names(path)? {
        search(&path.join(name), depth - 1, found)?;
    }
    Ok(())
}

/// Runs of one configuration, with a seed each.
#[derive(Clone, Debug)]
pub struct Group {
    /// What tells this group from the others, short enough for a legend.
    pub label: String,
    /// Keys whose values differ between the groups, with the value here; a key that a configuration
    /// lacks has an empty value.
    pub differences: BTreeMap<String, String>,
    /// In order of their seeds.
    pub runs: Vec<Run>,
}

/// Puts runs whose configurations differ in the seed only, or in what makes no result another one, into
/// one group; in order of appearance. Two runs of one configuration and seed are the same run twice: one of
/// them is enough, the finished one.
#[must_use]
pub fn groups(runs: Vec<Run>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut places = BTreeMap::new();
    for run in runs {
        let identity = run.identity();
        let identity: Vec<(String, String)> =
            identity.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
        let place = *places.entry(identity).or_insert(groups.len());
        if place == groups.len() {
            let (label, differences) = (String::new(), BTreeMap::new());
            groups.push(Group { label, differences, runs: Vec::new() });
        }
        groups[place].runs.push(run);
    }
    let all_keys = differing(&groups.iter().collect::<Vec<_>>());
    let mut namesakes: BTreeMap<&str, Vec<&Group>> = BTreeMap::new();
    for group in &groups {
        namesakes.entry(&group.runs[0].name).or_default().push(group);
    }
    let algorithm = |group: &Group| group.runs[0].config.get("agent.algorithm").cloned();
    // Two algorithms differ in nearly every key: their names say more.
    let go_by_algorithm = |same: &[&Group]| {
        let algorithms: BTreeSet<_> = same.iter().map(|group| algorithm(group)).collect();
        same.len() > 1 && algorithms.len() == same.len()
    };
    let named: BTreeMap<&str, (bool, Vec<String>)> = namesakes
        .iter()
        .map(|(name, same)| (*name, (go_by_algorithm(same), differing(same))))
        .collect();
    let label = |group: &Group| {
        let (name, config) = (&group.runs[0].name, &group.runs[0].config);
        let (by_algorithm, keys) = &named[name.as_str()];
        let of_its_name = match algorithm(group).filter(|_| *by_algorithm) {
            Some(algorithm) => algorithm,
            None => {
                // The last part of a key is what people call it.
                let differences = keys.iter().filter_map(|key| {
                    let last = key.rsplit('.').next().unwrap_or(key);
                    Some(format!("{last} {}", short(config.get(key)?)))
                });
                differences.collect::<Vec<_>>().join(", ")
            }
        };
        match of_its_name {
            none if none.is_empty() => name.clone(),
            some if named.len() == 1 => some,
            some => format!("{name}, {some}"),
        }
    };
    let labels: Vec<String> = groups.iter().map(label).collect();
    for (group, label) in groups.iter_mut().zip(labels) {
        group.label = label;
        group.runs.sort_by_key(|run| (run.seed, run.summary.is_none()));
        group.runs.dedup_by_key(|run| run.seed);
        let config = &group.runs[0].config;
        let value = |key: &String| config.get(key).cloned().unwrap_or_default();
        group.differences = all_keys.iter().map(|key| (key.clone(), value(key))).collect();
    }
    groups
}

/// The groups by their environments, in order of the names: what is earned in one says nothing of another.
#[must_use]
pub fn by_environment(groups: Vec<Group>) -> BTreeMap<String, Vec<Group>> {
    let mut all: BTreeMap<String, Vec<Group>> = BTreeMap::new();
    for group in groups {
        all.entry(group.runs[0].environment().to_owned()).or_default().push(group);
    }
    all
}

/// What became of the runs, in a sentence: of one its verdict, of more how many have which, and which are
/// not settled.
#[must_use]
pub fn verdicts(groups: &[Group]) -> String {
    let runs: Vec<&Run> = groups.iter().flat_map(|group| &group.runs).collect();
    if let [run] = runs[..] {
        return run.verdict().to_string();
    }
    let judged: Vec<(Outcome, &Run)> =
        runs.par_iter().map(|run| (run.verdict().outcome, *run)).collect();
    let part = |outcome: Outcome| {
        let of: Vec<&Run> =
            judged.iter().filter(|(one, _)| *one == outcome).map(|(_, run)| *run).collect();
        let names: Vec<String> =
            of.iter().take(3).map(|run| run.path.display().to_string()).collect();
        let more = if of.len() > 3 { format!(" and {} more", of.len() - 3) } else { String::new() };
        match outcome {
            _ if of.is_empty() => None,
            Outcome::Settled => Some(format!("{} settled", of.len())),
            _ => Some(format!("{} {} ({}{more})", of.len(), outcome.words(), names.join(", "))),
        }
    };
    let parts: Vec<String> = Outcome::ALL.into_iter().filter_map(part).collect();
    format!("{}: {}", count(runs.len(), "run"), parts.join(", "))
}

/// A number without needless digits: `1e-10`, `0.95`, `2`.
fn shown(number: f64) -> String {
    match number.abs() {
        0.0 | 1e-2..1e6 => format!("{number}"),
        _ => format!("{number:e}"),
    }
}

/// Keys that have not the same value in all of these groups, in order.
fn differing(groups: &[&Group]) -> Vec<String> {
    let configs: Vec<_> = groups.iter().map(|group| group.runs[0].identity()).collect();
    let keys: BTreeSet<&str> = configs.iter().flat_map(|config| config.keys().copied()).collect();
    let differs = |key: &&str| configs.iter().any(|it| it.get(key) != configs[0].get(key));
    keys.into_iter().filter(differs).map(str::to_owned).collect()
}

/// A value as people write it: a schedule as `2e-3 to 0`, a distribution as `uniform 0.1 to 0.2`, a small
/// number as `1e-10`; of a value that was changed each part; any other value as it is.
#[must_use]
pub fn short(value: &str) -> String {
    if let Some((before, rest)) = value.split_once(", from step ")
        && let Some((step, now)) = rest.split_once(' ')
    {
        return format!("{}, from step {step} {}", short(before), short(now));
    }
    if let Ok(number) = value.parse::<f64>()
        && value.contains(['.', 'e'])
    {
        return shown(number);
    }
    let line: Option<toml::Table> = format!("it = {value}").parse().ok();
    let table = line.as_ref().and_then(|table| table.get("it")).and_then(toml::Value::as_table);
    let Some(table) = table else { return value.to_owned() };
    if let (Some(start), Some(end)) = (table.get("start"), table.get("end")) {
        return format!("{} to {}", short(&start.to_string()), short(&end.to_string()));
    }
    let bounds = ["uniform", "log_uniform"].into_iter().find_map(|name| {
        let [low, high] = &table.get(name)?.as_array()?[..] else { return None };
        Some(format!("{name} {} to {}", short(&low.to_string()), short(&high.to_string())))
    });
    bounds.unwrap_or_else(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(name: &str, seed: u64, config: &[(&str, &str)]) -> Run {
        let config = config.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let path = PathBuf::from(format!("{name}/{seed}"));
        let (summary, columns) = (None, Vec::new());
        Run { path, name: name.into(), seed, config, total_steps: 0, summary, columns }
    }

    #[test]
    fn groups_differ_in_more_than_the_seed_and_are_named_after_it() {
        let (slow, fast) = ([("agent.learning_rate", "0.001")], [("agent.learning_rate", "0.01")]);
        let runs =
            vec![run("a", 2, &slow), run("a", 1, &slow), run("a", 1, &fast), run("a", 2, &fast)];
        let groups = groups(runs);
        let labels: Vec<&str> = groups.iter().map(|group| group.label.as_str()).collect();
        assert_eq!(labels, ["learning_rate 1e-3", "learning_rate 0.01"]);
        assert_eq!(groups[0].runs.iter().map(|run| run.seed).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(groups[1].differences["agent.learning_rate"], "0.01");
    }

    #[test]
    fn what_changes_no_result_does_not_split_the_seeds() {
        let all = [
            ("backend", "flex", "ndarray"),
            ("checkpoint.every_steps", "1000", "2000"),
            ("eval.episodes", "10", "100"),
        ];
        for (key, one, other) in all {
            let both = vec![run("a", 1, &[(key, one)]), run("b", 2, &[(key, other)])];
            assert_eq!(groups(both).len(), 1, "{key}");
        }
        let gpu = vec![run("a", 1, &[("backend", "flex")]), run("a", 2, &[("backend", "wgpu")])];
        let labels: Vec<String> = groups(gpu).into_iter().map(|group| group.label).collect();
        assert_eq!(labels, ["backend flex", "backend wgpu"]);
    }

    #[test]
    fn experiments_with_names_of_their_own_go_by_them() {
        let runs = vec![
            run("ppo", 1, &[("agent.algorithm", "ppo"), ("agent.epochs", "4")]),
            run("trpo", 1, &[("agent.algorithm", "trpo")]),
        ];
        let groups = groups(runs);
        assert_eq!([&*groups[0].label, &*groups[1].label], ["ppo", "trpo"]);
        assert_eq!(groups[1].differences["agent.epochs"], "");
    }

    #[test]
    fn algorithms_of_one_experiment_go_by_their_names() {
        let groups = groups(vec![
            run("both", 1, &[("agent.algorithm", "ppo"), ("agent.epochs", "4")]),
            run("both", 1, &[("agent.algorithm", "trpo"), ("agent.max_kl", "0.01")]),
        ]);
        assert_eq!([&*groups[0].label, &*groups[1].label], ["ppo", "trpo"]);
    }

    #[test]
    fn a_name_that_repeats_is_told_apart_by_what_differs_within_it() {
        let schedule = "{ end = 0.0, schedule = \"linear\", start = 0.002 }";
        let groups = groups(vec![
            run("ppo", 1, &[("agent.learning_rate", schedule), ("agent.epochs", "4")]),
            run("ppo", 1, &[("agent.learning_rate", "0.001"), ("agent.epochs", "4")]),
            run("trpo", 1, &[("agent.max_kl", "0.01")]),
        ]);
        let labels: Vec<&str> = groups.iter().map(|group| group.label.as_str()).collect();
        assert_eq!(labels, ["ppo, learning_rate 2e-3 to 0", "ppo, learning_rate 1e-3", "trpo"]);
    }

    #[test]
    fn a_distribution_is_one_value() {
        let configuration = "env.parameters = { force = { uniform = [8.0, 12.0] }, mass = 1.0 }";
        let table: toml::Table = configuration.parse().unwrap();
        let values = flattened(&table);
        let values: Vec<(&str, &str)> =
            values.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let force = ("env.parameters.force", "{ uniform = [8.0, 12.0] }");
        assert_eq!(values, [force, ("env.parameters.mass", "1.0")]);
        let groups = groups(vec![run("a", 1, &[force]), run("a", 1, &[(force.0, "10.0")])]);
        let labels: Vec<&str> = groups.iter().map(|group| group.label.as_str()).collect();
        assert_eq!(labels, ["force uniform 8 to 12", "force 10"]);
    }
}
