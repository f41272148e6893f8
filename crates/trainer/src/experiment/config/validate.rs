//! Ranges, and how values must go together.

use super::source::Source;
use super::tables::{Experiment, MAX_SECONDS, MAX_SEED, MAX_STEPS, MAX_WARMUP};
use crate::error::Error;
use std::sync::Arc;

impl Experiment {
    pub(super) fn validate(&self, source: &Source) -> Result<(), Error> {
        let check = |key: &str, wrong: Option<String>| match wrong {
            Some(message) => Err(source.error(key, &message)),
            None => Ok(()),
        };
        let range = |key: &str, value: u64, low: u64, high: u64| {
            let wrong = !(low..=high).contains(&value);
            let message = format!("is {value}; must be a whole number from {low} to {high}");
            check(key, wrong.then_some(message))
        };
        validate_head(source, &self.name, self.seed)?;
        range("total_steps", self.total_steps, 1, MAX_STEPS)?;
        let warmup = self.warm_start.as_ref().map_or(0, |start| start.critic_warmup);
        range("warm_start.critic_warmup", warmup, 0, MAX_WARMUP)?;
        range("eval.episodes", self.eval.episodes as u64, 1, 100_000)?;
        range("eval.every_steps", self.eval.every_steps, 0, MAX_STEPS)?;
        let number = |key: &str, value: Option<f64>, low: f64, high: f64| {
            let wrong = value.filter(|value| !(low..=high).contains(value));
            let message =
                wrong.map(|value| format!("is {value}; must be a number from {low} to {high}"));
            check(key, message)
        };
        number("max_seconds", self.max_seconds, 0.0, MAX_SECONDS)?;
        number("eval.stop_at_success", self.eval.stop_at_success, 0.0, 1.0)?;
        range("checkpoint.every_steps", self.checkpoint.every_steps, 1, MAX_STEPS)?;
        range("checkpoint.keep", self.checkpoint.keep as u64, 2, 1_000_000)?;

        let training = self.training(&Arc::default()).validate();
        training.map_err(|error| source.error(&error.key, &error.message))
    }
}

/// Checks what stands above the tables of an experiment and of a sweep alike.
///
/// # Errors
/// When the name can't be a directory's, or the seed is too large.
pub fn validate_head(source: &Source, name: &str, seed: u64) -> Result<(), Error> {
    if let Some(message) = wrong_name(name) {
        return Err(source.error("name", &message));
    }
    if seed > MAX_SEED {
        let message = format!("is {seed}; must be a whole number from 0 to {MAX_SEED}");
        return Err(source.error("seed", &message));
    }
    Ok(())
}

/// What is wrong with a name that becomes a directory.
fn wrong_name(name: &str) -> Option<String> {
    let unusable =
        |c: char| matches!(c, '/' | '\\' | char::REPLACEMENT_CHARACTER) || c.is_control();
    let what = if name.trim().is_empty() {
        "is empty"
    } else if matches!(name, "." | "..") {
        "is a directory already"
    } else if name.contains(unusable) {
        "holds a character that a directory name can't have"
    } else if name.len() > 200 {
        "is longer than 200 bytes"
    } else {
        return None;
    };
    Some(format!("{name:?} {what}; it becomes a directory under runs/, such as \"ppo_cartpole\""))
}
