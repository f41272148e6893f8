//! Draws of a search: a value a key from its distribution.

use crate::error::Error;
use crate::experiment::config::sweep::{Method, Search};
use optimizer::parameter::{CategoricalParam, FloatParam, IntParam, ParamValue, Parameter};
use optimizer::sampler::random::RandomSampler;
use optimizer::sampler::tpe::TpeSampler;
use optimizer::{Direction, Study};
use std::collections::HashMap;
use toml::Value;

/// Trials that are drawn at random before TPE begins to learn from them.
const STARTUP: usize = 8;

/// What a key's values are drawn from.
#[derive(Clone, Debug, PartialEq)]
pub enum SearchDistribution {
    /// Numbers between two bounds.
    Uniform(f64, f64),
    /// Numbers between two bounds above 0 whose logarithm is uniform.
    LogUniform(f64, f64),
    /// Whole numbers, bounds included.
    Integer(i64, i64),
    /// One of a list.
    Choice(Vec<Value>),
}

impl SearchDistribution {
    /// The values at its ends; all of a list.
    #[must_use]
    pub fn ends(&self) -> Vec<Value> {
        match self {
            SearchDistribution::Uniform(low, high) | SearchDistribution::LogUniform(low, high) => {
                vec![Value::Float(*low), Value::Float(*high)]
            }
            SearchDistribution::Integer(low, high) => {
                vec![Value::Integer(*low), Value::Integer(*high)]
            }
            SearchDistribution::Choice(values) => values.clone(),
        }
    }
}

/// A value for each distribution, for the trial of this number, from 1. `history` holds the values and the
/// loss (less is better) of the trials that it may learn from.
///
/// # Errors
/// When the sampler refuses a value, which the reading of the distributions rules out.
pub fn draw(
    search: &Search,
    distributions: &[&SearchDistribution],
    number: usize,
    history: &[(Vec<Value>, f64)],
) -> Result<Vec<Value>, Error> {
    // Each trial has draws of its own, however many were drawn before it.
    let seed = search.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(number as u64);
    let problem = |error: optimizer::Error| Error::Failed(format!("[sweep.search]: {error}"));
    let study: Study<f64> = if search.method == Method::Tpe {
        let sampler = TpeSampler::builder().n_startup_trials(STARTUP).seed(seed).build();
        Study::with_sampler(Direction::Minimize, sampler.map_err(problem)?)
    } else {
        Study::with_sampler(Direction::Minimize, RandomSampler::with_seed(seed))
    };
    let parameters: Vec<SampledParameter> =
        distributions.iter().map(|one| SampledParameter::new(one)).collect();
    for (values, loss) in history.iter().filter(|_| search.method == Method::Tpe) {
        let known = parameters.iter().zip(values);
        let known: Option<HashMap<_, _>> =
            known.map(|(draw, value)| Some((draw.id(), draw.told(value)?))).collect();
        // A value from before the file was changed teaches nothing.
        let Some(known) = known else { continue };
        study.enqueue(known);
        let mut trial = study.ask();
        for draw in &parameters {
            draw.suggest(&mut trial).map_err(problem)?;
        }
        study.tell(trial, Ok::<f64, String>(*loss));
    }
    let mut trial = study.ask();
    parameters.iter().map(|draw| draw.suggest(&mut trial).map_err(problem)).collect()
}

/// A distribution as the sampler knows it.
enum SampledParameter {
    Number(FloatParam, (f64, f64)),
    Integer(IntParam),
    Choice(CategoricalParam<usize>, Vec<Value>),
}

impl SampledParameter {
    fn new(distribution: &SearchDistribution) -> SampledParameter {
        match distribution {
            SearchDistribution::Uniform(low, high) => {
                SampledParameter::Number(FloatParam::new(*low, *high), (*low, *high))
            }
            SearchDistribution::LogUniform(low, high) => {
                SampledParameter::Number(FloatParam::new(*low, *high).log_scale(), (*low, *high))
            }
            SearchDistribution::Integer(low, high) => {
                SampledParameter::Integer(IntParam::new(*low, *high))
            }
            SearchDistribution::Choice(values) => SampledParameter::Choice(
                CategoricalParam::new((0..values.len()).collect()),
                values.clone(),
            ),
        }
    }

    fn id(&self) -> optimizer::parameter::ParamId {
        match self {
            SampledParameter::Number(parameter, _) => parameter.id(),
            SampledParameter::Integer(parameter) => parameter.id(),
            SampledParameter::Choice(parameter, _) => parameter.id(),
        }
    }

    fn told(&self, value: &Value) -> Option<ParamValue> {
        Some(match self {
            SampledParameter::Number(_, (low, high)) => {
                let number = value.as_float()?;
                if !(*low..=*high).contains(&number) {
                    return None;
                }
                ParamValue::Float(number)
            }
            SampledParameter::Integer(_) => ParamValue::Int(value.as_integer()?),
            SampledParameter::Choice(_, values) => {
                ParamValue::Categorical(values.iter().position(|one| one == value)?)
            }
        })
    }

    fn suggest(&self, trial: &mut optimizer::Trial) -> Result<Value, optimizer::Error> {
        Ok(match self {
            SampledParameter::Number(parameter, (low, high)) => {
                // Four digits are as good as seventeen, and can be read.
                let drawn = parameter.suggest(trial)?;
                let short = format!("{drawn:.3e}").parse().unwrap_or(drawn);
                Value::Float(short.clamp(*low, *high))
            }
            SampledParameter::Integer(parameter) => Value::Integer(parameter.suggest(trial)?),
            SampledParameter::Choice(parameter, values) => {
                values[parameter.suggest(trial)?].clone()
            }
        })
    }
}
