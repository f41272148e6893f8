//! What the table `[sweep]` of an experiment means: the trials.

use super::space::SearchSpace;
use crate::error::Error;
use crate::experiment::config::sweep::{MAX_SEEDS, Objective, Pruner, Search, Seeds, SweepTable};
use crate::experiment::config::{
    EnvConfig, Experiment, Override, Source, default_seed, explain, validate_head,
};
use crate::experiment::session;
use crate::registry::Registry;
use envs::Spec;
use serde::Deserialize;
use std::collections::HashSet;
use std::collections::hash_map::{Entry, HashMap};
use std::fmt::Display;
use std::ops::Range;
use std::path::Path;
use std::str::FromStr;
use toml::de::{DeTable, DeValue};
use toml::{Spanned, Value};

/// One part of a sweep that is split over machines: trial `n` is in it when `n = index` modulo `count`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// From 1.
    index: usize,
    count: usize,
}

impl Shard {
    /// Whether the trial of this number is in this part.
    #[must_use]
    pub fn has(self, trial: usize) -> bool {
        (trial - 1) % self.count == self.index - 1
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Shard, String> {
        let parts = text.split_once('/');
        let numbers = parts.and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
        match numbers {
            Some((index, count)) if (1..=count).contains(&index) => Ok(Shard { index, count }),
            _ => Err("must be INDEX/COUNT with the index from 1, such as 2/4".to_owned()),
        }
    }
}

impl Display for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

/// A sweep, validated but for the values that its trials try.
#[derive(Clone, Debug)]
pub struct Sweep {
    source: Source,
    /// Of the experiment.
    pub name: String,
    /// What is tried.
    pub space: SearchSpace,
    /// Every trial is run with each of them.
    pub seeds: Vec<u64>,
    /// What ranks the trials.
    pub objective: Objective,
    /// Evaluation return that counts as reached.
    pub threshold: Option<f64>,
    /// Fresh seeds that the winner is run with again.
    pub confirm_seeds: u64,
    /// How trials without hope are stopped.
    pub pruner: Option<Pruner>,
    /// The part of the sweep that this is.
    pub shard: Option<Shard>,
}

/// What trials give of an environment, with what came of it: every parameter, and what the environment is.
/// Most sweeps leave theirs alone, and to make one may mean to read a file.
type KnownEnvs = HashMap<String, (EnvConfig, Spec)>;

/// One combination of values.
#[derive(Clone, Debug)]
pub struct Trial {
    /// From 1.
    pub number: usize,
    /// A value for each key of the space.
    pub values: Vec<Value>,
    /// The experiment with these values, for the first seed.
    pub experiment: Experiment,
}

impl Sweep {
    /// Reads `[sweep]`; `None` where there is none, because it is a single experiment.
    ///
    /// # Errors
    /// What is wrong in the table, where it stands, and what would be right.
    pub fn parse(source: &Source) -> Result<Option<Sweep>, Error> {
        let root = source.table()?;
        let root = root.get_ref();
        let Some(value) = root.get("sweep") else { return Ok(None) };
        explain::possible_values(source, root)?;
        let table = inside(source, "sweep", value)?;
        let file: SweepTable = strict(source, root, value.span(), table.clone())?;
        let space = match (table.get("grid"), table.get("search")) {
            (Some(_), Some(search)) => {
                let message = "stands beside [sweep.grid]; give one of them";
                return Err(source.error_at(Some(search.span()), Some("sweep.search"), message));
            }
            (Some(grid), None) => SearchSpace::grid(source, inside(source, "sweep.grid", grid)?)?,
            (None, Some(search)) => {
                // What is a table is a distribution, or holds some; the rest are settings.
                let whole = inside(source, "sweep.search", search)?;
                let (keys, settings): (Vec<_>, Vec<_>) = whole
                    .clone()
                    .into_iter()
                    .partition(|(_, value)| matches!(value.get_ref(), DeValue::Table(_)));
                let (keys, settings) = (keys.into_iter().collect(), settings.into_iter().collect());
                let settings: Search = strict(source, root, search.span(), settings)?;
                SearchSpace::search(source, settings, &keys)?
            }
            (None, None) => SearchSpace::Grid(Vec::new()),
        };
        // Every trial has these from the sweep, so that no trial's own validation sees them.
        let head = root.iter().filter(|(key, _)| matches!(&**key.get_ref(), "name" | "seed"));
        let head = head.map(|(key, value)| (key.clone(), value.clone())).collect();
        let NameAndSeed { name, seed } = strict(source, root, value.span(), head)?;
        let name = name.unwrap_or_else(|| source.name());
        validate_head(source, &name, seed)?;
        let seeds = match file.seeds {
            None => vec![seed],
            Some(Seeds::Count(count)) => (1..=count.min(MAX_SEEDS + 1)).collect(),
            Some(Seeds::List(list)) => list,
        };
        let shard = file.shard.as_deref().map(str::parse).transpose();
        let shard = shard.map_err(|message: String| source.error("sweep.shard", &message))?;
        let sweep = Sweep {
            source: source.clone(),
            name,
            space,
            seeds,
            objective: file.objective,
            threshold: file.threshold,
            confirm_seeds: file.confirm_seeds,
            pruner: file.pruner,
            shard,
        };
        sweep.validate()?;
        Ok(Some(sweep))
    }

    fn validate(&self) -> Result<(), Error> {
        let wrong = |key: &str, message: &str| Err(self.source.error(key, message));
        let seeds = &self.seeds;
        if seeds.is_empty() || seeds.len() as u64 > MAX_SEEDS {
            return wrong("sweep.seeds", &format!("must be 1 to {MAX_SEEDS} seeds"));
        }
        if seeds.iter().collect::<HashSet<_>>().len() < seeds.len() {
            return wrong("sweep.seeds", "holds a seed twice");
        }
        let largest = i64::MAX as u64 - MAX_SEEDS;
        if seeds.iter().any(|&seed| seed > largest) {
            return wrong("sweep.seeds", &format!("must be whole numbers from 0 to {largest}"));
        }
        if self.confirm_seeds > MAX_SEEDS {
            let message = format!("is {}; must be from 0 to {MAX_SEEDS}", self.confirm_seeds);
            return wrong("sweep.confirm_seeds", &message);
        }
        match (self.objective, self.threshold) {
            (Objective::StepsToThreshold, None) => wrong(
                "sweep.objective",
                "needs `threshold` in [sweep], the evaluation return to be reached",
            ),
            (Objective::StepsToThreshold, Some(_)) | (_, None) => Ok(()),
            (_, Some(_)) => {
                wrong("sweep.threshold", "goes with objective = \"steps_to_threshold\" only")
            }
        }?;
        match self.shard {
            Some(_) if self.space.learns() => wrong(
                "sweep.shard",
                "does not go with method = \"tpe\", which needs all results in one place; use \
                 method = \"random\"",
            ),
            _ => Ok(()),
        }
    }

    /// Whether a file is a sweep.
    ///
    /// # Errors
    /// When it is no TOML.
    pub fn is_in(source: &Source) -> Result<bool, Error> {
        Ok(source.table()?.get_ref().contains_key("sweep"))
    }

    /// Whether a file is a sweep with seeds of its own.
    ///
    /// # Errors
    /// When it is no TOML.
    pub fn gives_seeds(source: &Source) -> Result<bool, Error> {
        Ok(match source.table()?.get_ref().get("sweep").map(Spanned::get_ref) {
            Some(DeValue::Table(table)) => table.contains_key("seeds"),
            _ => false,
        })
    }

    /// Numbers of the trials of this part.
    pub fn numbers(&self) -> impl Iterator<Item = usize> + use<> {
        let shard = self.shard;
        (1..=self.space.trials()).filter(move |&number| shard.is_none_or(|shard| shard.has(number)))
    }

    /// The trial with these values, validated for its environment too.
    ///
    /// # Errors
    /// What is wrong with the experiment that they make; the message names the swept key.
    pub fn trial(
        &self,
        number: usize,
        values: Vec<Value>,
        registry: &Registry,
    ) -> Result<Trial, Error> {
        self.trial_of(&base(&self.source)?, number, values, registry, &mut KnownEnvs::new())
    }

    /// The same with the file's table at hand: of many trials it is read once.
    fn trial_of(
        &self,
        base: &Spanned<DeTable<'_>>,
        number: usize,
        values: Vec<Value>,
        registry: &Registry,
        known: &mut KnownEnvs,
    ) -> Result<Trial, Error> {
        let keys = self.space.keys();
        let swept = keys.iter().zip(&values);
        let mut overrides = swept
            .map(|((key, place), value)| Override::given(place, key, value))
            .collect::<Result<Vec<_>, _>>()?;
        let flags: Vec<String> = overrides.iter().map(|one| one.flag_text().to_owned()).collect();
        let name = Value::String(self.name.clone());
        overrides.push(Override::given("the sweep's name", "name", &name)?);
        overrides.push(Override::flag("seed", self.seeds[0]));
        let source = self.source.with(overrides);
        self.validated(&source, base, registry, known)
            .map(|experiment| Trial { number, values: values.clone(), experiment })
            .map_err(|error| match error {
                // What is wrong stands elsewhere: say which trial it is wrong in.
                Error::Usage(text)
                    if !values.is_empty()
                        && !flags.iter().any(|flag| text.contains(flag.as_str())) =>
                {
                    Error::Usage(format!("{text} (in the trial {})", self.describe(&values)))
                }
                error => error,
            })
    }

    fn validated(
        &self,
        source: &Source,
        base: &Spanned<DeTable<'_>>,
        registry: &Registry,
        known: &mut KnownEnvs,
    ) -> Result<Experiment, Error> {
        let mut table = Spanned::new(base.span(), base.get_ref().clone());
        source.put_overrides(table.get_mut())?;
        let mut experiment = Experiment::parse_table(source, table, registry)?;
        let (env, spec) = match known.entry(format!("{:?}", experiment.env)) {
            Entry::Occupied(checked) => checked.into_mut(),
            Entry::Vacant(place) => {
                let task = experiment.resolve(source, registry)?;
                place.insert((experiment.env.clone(), task.spec().clone()))
            }
        };
        experiment.env = env.clone();
        session::must_fit(&experiment, spec, source)?;
        let objective = |message: &str| Err(source.error("sweep.objective", message));
        if self.objective == Objective::SuccessRate && !spec.reports_success {
            let env = &experiment.env.name;
            return objective(&format!("{env} does not say whether an episode succeeded"));
        }
        if self.objective == Objective::StepsToThreshold && experiment.eval.every_steps == 0 {
            return objective("needs evaluations on the way; set eval.every_steps");
        }
        Ok(experiment)
    }

    /// The combinations at the ends of a search's distributions, each validated; none of a grid.
    ///
    /// # Errors
    /// As [`Sweep::trial`].
    pub fn probes(&self, registry: &Registry) -> Result<Vec<Trial>, Error> {
        let (base, mut known) = (base(&self.source)?, KnownEnvs::new());
        let probes = self.space.probes().into_iter();
        probes.map(|values| self.trial_of(&base, 1, values, registry, &mut known)).collect()
    }

    /// All trials of this part that are known before the sweep begins, each validated; of a search
    /// with TPE none, but the ends of its distributions are.
    ///
    /// # Errors
    /// As [`Sweep::trial`].
    pub fn trials(&self, registry: &Registry) -> Result<Vec<Trial>, Error> {
        self.probes(registry)?;
        if self.space.learns() {
            return Ok(Vec::new());
        }
        let (base, mut known) = (base(&self.source)?, KnownEnvs::new());
        let trial = |number| {
            let values = self.space.values(number, &[])?;
            self.trial_of(&base, number, values, registry, &mut known)
        };
        self.numbers().map(trial).collect()
    }

    /// Values for people: `learning_rate=0.001 epochs=4`.
    #[must_use]
    pub fn describe(&self, values: &[Value]) -> String {
        let pairs = self.space.keys().into_iter().zip(values);
        let pairs = pairs.map(|((key, _), value)| {
            // Of a whole agent the algorithm will do; the trial's number says the rest.
            let algorithm = value.get("algorithm").unwrap_or(value);
            format!("{}={}", short(key), shown(algorithm))
        });
        pairs.collect::<Vec<_>>().join(" ")
    }

    /// The configuration with every override put in, and what `[sweep]` leaves out: reading it gives
    /// the same sweep, wherever it lies.
    ///
    /// # Errors
    /// When a value can't be written in TOML, which validation rules out.
    pub fn to_toml(&self, registry: &Registry) -> Result<String, Error> {
        self.to_toml_with(registry, &mut |path| Ok(path.to_string_lossy().into_owned()))
    }

    /// The same with files by what is in them: a text that two sweeps share exactly when they are the same,
    /// wherever their files are.
    ///
    /// # Errors
    /// As [`Sweep::to_toml`], and when a file can't be read.
    pub fn fingerprint(&self, registry: &Registry) -> Result<String, Error> {
        self.to_toml_with(registry, &mut |path| {
            let content = std::fs::read(path).map_err(Error::io("can't be read", path))?;
            Ok(format!("a file with the checksum {:08x}", crc32c::crc32c(&content)))
        })
    }

    /// [`Sweep::to_toml`]; `named` says what stands for a file, whose path is absolute.
    ///
    /// # Errors
    /// As [`Sweep::to_toml`], and those of `named`.
    pub fn to_toml_with(
        &self,
        registry: &Registry,
        named: &mut dyn FnMut(&Path) -> Result<String, Error>,
    ) -> Result<String, Error> {
        let problem = |error: &dyn Display| {
            Error::Failed(format!("the sweep can't be written as TOML: {error}"))
        };
        let root = self.source.table()?;
        let mut root =
            toml::Table::deserialize(toml::Deserializer::from(root)).map_err(|e| problem(&e))?;
        root.insert("name".into(), Value::String(self.name.clone()));
        let files = self.files(registry);
        for (key, value) in &mut root {
            self.name_files(value, key, false, &files, named)?;
        }
        if let Some(Value::Table(sweep)) = root.get_mut("sweep") {
            let seeds = self.seeds.iter().map(|&seed| Value::Integer(seed as i64)).collect();
            if self.shard.is_none() {
                sweep.remove("shard");
            }
            sweep.insert("seeds".into(), Value::Array(seeds));
            sweep.insert("objective".into(), Value::String(self.objective.name().into()));
            sweep.insert("confirm_seeds".into(), Value::Integer(self.confirm_seeds as i64));
            if let (SearchSpace::Search(search, _), Some(Value::Table(table))) =
                (&self.space, sweep.get_mut("search"))
            {
                let method = if self.space.learns() { "tpe" } else { "random" };
                table.insert("method".into(), Value::String(method.into()));
                table.insert("seed".into(), Value::Integer(search.seed as i64));
            }
        }
        toml::to_string(&root).map_err(|error| problem(&error))
    }
}

impl Sweep {
    /// The dotted keys of the environment's parameters that are paths of files.
    fn files(&self, registry: &Registry) -> Vec<String> {
        let Ok(table) = self.source.table() else { return Vec::new() };
        let name = table
            .get_ref()
            .get("env")
            .and_then(|env| env.get_ref().get("name")?.get_ref().as_str());
        let entry = name.and_then(|name| registry.environments.get(name));
        let keys = entry.map(|entry| entry.files()).unwrap_or_default();
        keys.into_iter().map(|key| format!("env.parameters.{key}")).collect()
    }

    /// Puts what `named` says in the place of each path in a value, which stands at a dotted key: `files` are
    /// the keys of paths, in the tables and in what is swept.
    fn name_files(
        &self,
        value: &mut Value,
        dotted: &str,
        is_file: bool,
        files: &[String],
        named: &mut dyn FnMut(&Path) -> Result<String, Error>,
    ) -> Result<(), Error> {
        match value {
            Value::String(path) if is_file => {
                *path = named(&self.source.path_at(dotted, path)?)?;
            }
            Value::Array(values) => {
                for value in values {
                    self.name_files(value, dotted, is_file, files, named)?;
                }
            }
            Value::Table(table) => {
                for (key, value) in table {
                    let dotted = format!("{dotted}.{key}");
                    let is_file =
                        is_file || files.iter().any(|file| *file == dotted || file == key);
                    self.name_files(value, &dotted, is_file, files, named)?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// What stands above the tables, as far as a sweep needs it.
#[derive(Deserialize)]
struct NameAndSeed {
    name: Option<String>,
    #[serde(default = "default_seed")]
    seed: u64,
}

/// The file's table without `[sweep]`, which may be much longer than the rest.
fn base(source: &Source) -> Result<Spanned<DeTable<'_>>, Error> {
    let mut table = source.file_table()?;
    table.get_mut().remove("sweep");
    Ok(table)
}

/// The last part of a dotted key, which is what people call it.
pub fn short(key: &str) -> &str {
    key.rsplit('.').next().unwrap_or(key)
}

/// A value in a table for people, and in CSV: a text without its quotes.
pub fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

fn inside<'a, 'i>(
    source: &Source,
    key: &str,
    value: &'a Spanned<DeValue<'i>>,
) -> Result<&'a DeTable<'i>, Error> {
    match value.get_ref() {
        DeValue::Table(table) => Ok(table),
        other => {
            let message = format!("is {}; must be a table [{key}]", explain::kind(other));
            Err(source.error_at(Some(value.span()), Some(key), &message))
        }
    }
}

fn strict<'de, T: Deserialize<'de>>(
    source: &Source,
    root: &DeTable<'_>,
    span: Range<usize>,
    table: DeTable<'de>,
) -> Result<T, Error> {
    T::deserialize(toml::Deserializer::from(Spanned::new(span, table)))
        .map_err(|error| explain::error(source, root, &error, None, &Registry::default()))
}
