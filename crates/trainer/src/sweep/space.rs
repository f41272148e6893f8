//! What a sweep tries: every combination of a grid, or draws from distributions.

use super::draw::{SearchDistribution, draw};
use crate::error::Error;
use crate::experiment::config::sweep::{MAX_TRIALS, Method, Search};
use crate::experiment::config::{Source, explain};
use std::collections::HashSet;
use toml::de::{DeTable, DeValue};
use toml::{Spanned, Value};

const DISTRIBUTIONS: [&str; 4] = ["uniform", "log_uniform", "integer", "choice"];

/// A dotted key that is swept, with where the file says so, and what it takes.
#[derive(Clone, Debug)]
pub struct SweptKey<T> {
    /// As in `agent.learning_rate`.
    pub key: String,
    /// As in `sweep.toml:12`.
    pub place: String,
    /// What it takes.
    pub over: T,
}

/// What is tried.
#[derive(Clone, Debug)]
pub enum SearchSpace {
    /// Every combination of these lists; the last key changes fastest.
    Grid(Vec<SweptKey<Vec<Value>>>),
    /// Draws.
    Search(Search, Vec<SweptKey<SearchDistribution>>),
}

impl SearchSpace {
    /// Reads `[sweep.grid]`, if there is one.
    ///
    /// # Errors
    /// When a key has no list of values.
    pub fn grid(source: &Source, table: &DeTable<'_>) -> Result<SearchSpace, Error> {
        let mut keys = Vec::new();
        for (key, value) in sorted(source, table, |value| !matches!(value, DeValue::Table(_)))? {
            let dotted = format!("sweep.grid.{key}");
            let wrong = |text: &str| Err(source.error_at(Some(value.span()), Some(&dotted), text));
            let over = match value.get_ref() {
                DeValue::Array(items) if items.len() as u64 > MAX_TRIALS => {
                    return wrong(&format!("has more than {MAX_TRIALS} values"));
                }
                DeValue::Array(items) if !items.is_empty() => {
                    items.iter().map(|item| plain(source, item)).collect::<Result<Vec<_>, _>>()?
                }
                DeValue::Array(_) => return wrong("is empty; give the values to try"),
                other => {
                    let kind = explain::kind(other);
                    return wrong(&format!("is {kind}; must be an array of the values to try"));
                }
            };
            // As they are written, because numbers with a point can't be hashed.
            if over.iter().map(Value::to_string).collect::<HashSet<_>>().len() < over.len() {
                return wrong("holds a value twice");
            }
            keys.push(swept(source, key, value, over)?);
        }
        let combinations = keys.iter().try_fold(1_u64, |product, key: &SweptKey<Vec<Value>>| {
            product.checked_mul(key.over.len() as u64).filter(|&product| product <= MAX_TRIALS)
        });
        if combinations.is_none() {
            let message = format!("has more than {MAX_TRIALS} combinations");
            return Err(source.error("sweep.grid", &message));
        }
        Ok(SearchSpace::Grid(keys))
    }

    /// Reads the distributions of `[sweep.search]`.
    ///
    /// # Errors
    /// When one is no distribution, or there is none.
    pub fn search(
        source: &Source,
        search: Search,
        table: &DeTable<'_>,
    ) -> Result<SearchSpace, Error> {
        let is_leaf = |value: &DeValue<'_>| match value {
            DeValue::Table(inside) => {
                inside.is_empty()
                    || inside.iter().any(|(key, inner)| {
                        DISTRIBUTIONS.contains(&key.get_ref().as_ref())
                            || !matches!(inner.get_ref(), DeValue::Table(_))
                    })
            }
            _ => true,
        };
        let mut keys = Vec::new();
        for (key, value) in sorted(source, table, is_leaf)? {
            let over = distribution(source, &key, value)?;
            keys.push(swept(source, key, value, over)?);
        }
        if keys.is_empty() {
            let message = "has no distribution; give one such as \
                           \"agent.learning_rate\" = { log_uniform = [1e-4, 1e-2] }";
            return Err(source.error("sweep.search", message));
        }
        if !(1..=MAX_TRIALS).contains(&search.trials) {
            let message =
                format!("is {}; must be a whole number from 1 to {MAX_TRIALS}", search.trials);
            return Err(source.error("sweep.search.trials", &message));
        }
        Ok(SearchSpace::Search(search, keys))
    }

    /// How many trials it means.
    #[must_use]
    pub fn trials(&self) -> usize {
        match self {
            SearchSpace::Grid(keys) => keys.iter().map(|key| key.over.len()).product(),
            SearchSpace::Search(search, _) => search.trials as usize,
        }
    }

    /// Whether a trial depends on the results of those before it.
    #[must_use]
    pub fn learns(&self) -> bool {
        matches!(self, SearchSpace::Search(Search { method: Method::Tpe, .. }, _))
    }

    /// The swept keys and their places.
    #[must_use]
    pub fn keys(&self) -> Vec<(&str, &str)> {
        match self {
            SearchSpace::Grid(keys) => keys.iter().map(|one| (&*one.key, &*one.place)).collect(),
            SearchSpace::Search(_, keys) => {
                keys.iter().map(|one| (&*one.key, &*one.place)).collect()
            }
        }
    }

    /// A value a key for the trial of this number, from 1. `history` holds the values and the loss
    /// (less is better) of the trials that it may learn from.
    ///
    /// # Errors
    /// When the sampler refuses a value, which the reading of the space rules out.
    pub fn values(
        &self,
        number: usize,
        history: &[(Vec<Value>, f64)],
    ) -> Result<Vec<Value>, Error> {
        match self {
            SearchSpace::Grid(keys) => {
                let mut rest = number - 1;
                let mut values: Vec<Value> = keys
                    .iter()
                    .rev()
                    .map(|key| {
                        let value = key.over[rest % key.over.len()].clone();
                        rest /= key.over.len();
                        value
                    })
                    .collect();
                values.reverse();
                Ok(values)
            }
            SearchSpace::Search(search, keys) => {
                let distributions: Vec<_> = keys.iter().map(|key| &key.over).collect();
                draw(search, &distributions, number, history)
            }
        }
    }

    /// Combinations in which every end of every distribution occurs, to be validated before a search
    /// begins; none for a grid.
    #[must_use]
    pub fn probes(&self) -> Vec<Vec<Value>> {
        let SearchSpace::Search(_, keys) = self else { return Vec::new() };
        let ends: Vec<Vec<Value>> = keys.iter().map(|key| key.over.ends()).collect();
        let most = ends.iter().map(Vec::len).max().unwrap_or_default();
        (0..most)
            .map(|i| ends.iter().map(|ends| ends[i.min(ends.len() - 1)].clone()).collect())
            .collect()
    }
}

fn swept<T>(
    source: &Source,
    key: String,
    value: &Spanned<DeValue<'_>>,
    over: T,
) -> Result<SweptKey<T>, Error> {
    let place = source.place(value.span().start);
    let wrong = match key.split('.').next() {
        Some("seed") => "the seeds of a sweep are `seeds` in [sweep]",
        Some("name") => "is the name of the whole sweep",
        Some("sweep") => "a sweep can't sweep itself",
        _ => return Ok(SweptKey { key, place, over }),
    };
    Err(source.error_at(Some(value.span()), Some(&key), wrong))
}

/// The values of a table by their dotted keys, quoted (`"agent.gamma"`) or not.
fn leaves<'a, 'i>(
    prefix: &str,
    table: &'a DeTable<'i>,
    is_leaf: impl Fn(&DeValue<'_>) -> bool + Copy,
) -> Vec<(String, &'a Spanned<DeValue<'i>>)> {
    let mut found = Vec::new();
    for (key, value) in table {
        let key = format!("{prefix}{}", key.get_ref());
        match value.get_ref() {
            DeValue::Table(inside) if !is_leaf(value.get_ref()) => {
                found.extend(leaves(&format!("{key}."), inside, is_leaf));
            }
            _ => found.push((key, value)),
        }
    }
    found
}

/// The same in order of the keys, however they are written; an override replaces what the file has.
fn sorted<'a, 'i>(
    source: &Source,
    table: &'a DeTable<'i>,
    is_leaf: impl Fn(&DeValue<'_>) -> bool + Copy,
) -> Result<Vec<(String, &'a Spanned<DeValue<'i>>)>, Error> {
    let mut found = leaves("", table, is_leaf);
    // Overrides stand behind the file.
    found.sort_by(|a, b| a.0.cmp(&b.0).then(b.1.span().start.cmp(&a.1.span().start)));
    for pair in found.windows(2).filter(|pair| pair[0].0 == pair[1].0) {
        if !source.is_override(pair[0].1.span().start) {
            let message = "is given twice, with quotes and without; give it once";
            return Err(source.error_at(Some(pair[0].1.span()), Some(&pair[0].0), message));
        }
    }
    found.dedup_by(|later, first| later.0 == first.0);
    Ok(found)
}

/// A value without its position.
fn plain(source: &Source, value: &Spanned<DeValue<'_>>) -> Result<Value, Error> {
    Ok(match value.get_ref() {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(number) => {
            let parsed = i64::from_str_radix(number.as_str(), number.radix());
            Value::Integer(parsed.map_err(|_| {
                source.error_at(Some(value.span()), None, "is too large for a whole number")
            })?)
        }
        DeValue::Float(number) => Value::Float(number.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(truth) => Value::Boolean(*truth),
        DeValue::Datetime(date) => Value::Datetime(*date),
        DeValue::Array(items) => Value::Array(
            items.iter().map(|item| plain(source, item)).collect::<Result<Vec<_>, _>>()?,
        ),
        DeValue::Table(inside) => {
            let pairs = inside
                .iter()
                .map(|(key, value)| Ok((key.get_ref().to_string(), plain(source, value)?)));
            Value::Table(pairs.collect::<Result<toml::Table, Error>>()?)
        }
    })
}

fn distribution(
    source: &Source,
    key: &str,
    value: &Spanned<DeValue<'_>>,
) -> Result<SearchDistribution, Error> {
    let dotted = format!("sweep.search.{key}");
    let wrong = |message: &str| source.error_at(Some(value.span()), Some(&dotted), message);
    let one_of = "must be one distribution: { uniform = [LOW, HIGH] }, { log_uniform = [LOW, HIGH] }, \
                  { integer = [LOW, HIGH] } or { choice = [A, B, C] }";
    let DeValue::Table(inside) = value.get_ref() else {
        return Err(wrong(&format!("is {}; {one_of}", explain::kind(value.get_ref()))));
    };
    let mut pairs = inside.iter();
    let (Some((kind, list)), None) = (pairs.next(), pairs.next()) else {
        return Err(wrong(one_of));
    };
    let kind = kind.get_ref().as_ref();
    if !DISTRIBUTIONS.contains(&kind) {
        let hint = explain::did_you_mean(kind, &DISTRIBUTIONS);
        return Err(wrong(&format!("there is no distribution `{kind}`{hint}; {one_of}")));
    }
    let values = match plain(source, list)? {
        Value::Array(values) if !values.is_empty() => values,
        _ => return Err(wrong(&format!("`{kind}` needs an array that is not empty"))),
    };
    let number = |value: &Value| value.as_float().or(value.as_integer().map(|i| i as f64));
    let numbers: Option<Vec<f64>> = values.iter().map(number).collect();
    match (kind, values.as_slice(), numbers.as_deref()) {
        ("choice", ..) => Ok(SearchDistribution::Choice(values)),
        ("integer", &[Value::Integer(low), Value::Integer(high)], _) if low < high => {
            Ok(SearchDistribution::Integer(low, high))
        }
        ("integer", ..) => Err(wrong("`integer` needs two whole numbers, [LOW, HIGH], rising")),
        ("uniform", _, Some(&[low, high])) if low < high => {
            Ok(SearchDistribution::Uniform(low, high))
        }
        ("log_uniform", _, Some(&[low, high])) if 0.0 < low && low < high => {
            Ok(SearchDistribution::LogUniform(low, high))
        }
        ("log_uniform", ..) => {
            Err(wrong("`log_uniform` needs two numbers above 0, [LOW, HIGH], rising"))
        }
        _ => Err(wrong("`uniform` needs two numbers, [LOW, HIGH], rising")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use std::path::Path;

    fn search(method: Method) -> SearchSpace {
        let key = |key: &str, over| SweptKey { key: key.into(), place: String::new(), over };
        let keys = vec![
            key("agent.learning_rate", SearchDistribution::LogUniform(1e-4, 1.0)),
            key("agent.gamma", SearchDistribution::Uniform(0.0, 1.0)),
            key("agent.gae_lambda", SearchDistribution::Uniform(0.0, 1.0)),
            key("agent.epochs", SearchDistribution::Integer(1, 3)),
            key(
                "env.num_envs",
                SearchDistribution::Choice(vec![Value::Integer(4), Value::Integer(9)]),
            ),
        ];
        SearchSpace::Search(Search { trials: 60, method, seed: 1 }, keys)
    }

    #[test]
    fn a_grid_has_every_combination_once() {
        let text = "agent.a = [1, 2]\n'agent.b' = ['x', 'y', 'z']";
        let source = Source::new(Path::new("x.toml"), text.into(), &[]);
        let space = SearchSpace::grid(&source, source.table().unwrap().get_ref()).unwrap();
        assert_eq!(space.trials(), 6);
        let all: Vec<_> = (1..=6).map(|number| space.values(number, &[]).unwrap()).collect();
        assert!((0..6).all(|i| !all[..i].contains(&all[i])), "{all:?}");
        assert_eq!(all[1], [Value::Integer(1), Value::String("y".into())]);
    }

    #[test]
    fn draws_stay_in_their_bounds_and_depend_on_seed_and_number_only() {
        let space = search(Method::Random);
        let mut seen = Vec::new();
        for number in 1..=200 {
            let values = space.values(number, &seen.clone()).unwrap();
            assert_eq!(values, space.values(number, &[]).unwrap());
            let numbers: Vec<f64> = values[..3].iter().map(|v| v.as_float().unwrap()).collect();
            assert!((1e-4..=1.0).contains(&numbers[0]) && numbers[1] != numbers[2], "{values:?}");
            assert!((1..=3).contains(&values[3].as_integer().unwrap()));
            seen.push((values, 0.0));
        }
        let small = seen.iter().filter(|(v, _)| v[0].as_float().unwrap() < 1e-2).count();
        assert!((70..130).contains(&small), "half of the decades, {small} of 200 draws");
        let fours = seen.iter().filter(|(v, _)| v[4].as_integer() == Some(4)).count();
        assert!((70..130).contains(&fours), "half of the choices, {fours} of 200 draws");
    }

    #[test]
    fn tpe_draws_nearer_to_the_best_than_chance() {
        // Best: a learning rate of 0.01 (in logarithms the middle) and 9 environments.
        let loss = |values: &[Value]| {
            (values[0].as_float().unwrap().log10() + 2.0).abs()
                + if values[4].as_integer() == Some(9) { 0.0 } else { 1.0 }
        };
        let mean = |method| {
            let space = search(method);
            let mut history: Vec<(Vec<Value>, f64)> = Vec::new();
            for number in 1..=60 {
                let values = space.values(number, &history).unwrap();
                let loss = loss(&values);
                history.push((values, loss));
            }
            history[30..].iter().map(|(_, loss)| loss).sum::<f64>() / 30.0
        };
        let (random, tpe) = (mean(Method::Random), mean(Method::Tpe));
        assert!(tpe < 0.6 * random, "TPE {tpe:.2}, random {random:.2}");
    }
}
