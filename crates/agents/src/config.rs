//! Hyperparameters, as a TOML file names them.

use crate::schedule::Schedule;
use schemars::JsonSchema;
use serde::de::{Deserializer, Error, Visitor, value};
use serde::{Deserialize, Serialize};

/// The networks of actor and critic, which share no parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NetworkConfig {
    /// Units of each hidden layer; `[]` is a linear function.
    #[schemars(length(max = 32), inner(range(min = 1, max = 65_536)))]
    pub hidden: Vec<usize>,
    /// Units of each hidden layer of the critic; those of `hidden` where not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), inner(range(min = 1, max = 65_536)), example = [64, 64])]
    pub critic_hidden: Option<Vec<usize>>,
    /// Nonlinearity after each hidden layer.
    pub activation: Activation,
    /// How weights are drawn.
    pub init: Init,
    /// Initial log standard deviation of a Gaussian policy, one for all actions.
    #[schemars(range(min = -20.0, max = 2.0))]
    pub log_std_init: f64,
    /// Smallest log standard deviation that training may reach.
    #[schemars(range(min = -20.0, max = 0.0))]
    pub log_std_min: f64,
    /// Largest log standard deviation that training may reach.
    #[schemars(range(min = 0.0, max = 20.0))]
    pub log_std_max: f64,
    /// Correlation of a Gaussian policy's noise with that of the step before, while training.
    #[schemars(range(min = 0.0, max = 0.99))]
    pub noise_correlation: f64,
    /// Squash a Gaussian policy's actions through tanh into the environment's bounds, instead of
    /// clipping them.
    pub squash: bool,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        NetworkConfig {
            hidden: vec![64, 64],
            critic_hidden: None,
            activation: Activation::Tanh,
            init: Init::Orthogonal,
            log_std_init: 0.0,
            log_std_min: -20.0,
            log_std_max: 2.0,
            noise_correlation: 0.0,
            squash: false,
        }
    }
}

/// Nonlinearity of a hidden layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// Hyperbolic tangent.
    Tanh,
    /// `max(x, 0)`.
    Relu,
}

/// How weights are drawn; biases start at 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Init {
    /// Orthogonal matrices, scaled by sqrt(2) in hidden layers, 0.01 in the policy's last layer and
    /// 1 in the critic's (the usual choice for PPO; Saxe et al. 2014).
    Orthogonal,
    /// Uniform within `sqrt(6 / (inputs + outputs))` (Glorot and Bengio 2010), the policy's last
    /// layer scaled by 0.01.
    Xavier,
}

/// A hyperparameter that is out of its range, by its dotted key.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{key}: {message}")]
pub struct ConfigError {
    /// Dotted key in the configuration, `agent.gamma`.
    pub key: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl NetworkConfig {
    /// Units of each hidden layer of the critic.
    #[must_use]
    pub fn critic_hidden(&self) -> &[usize] {
        self.critic_hidden.as_ref().unwrap_or(&self.hidden)
    }

    /// Hidden layers that are given, by their keys in `[network]`.
    pub fn layers(&self) -> impl Iterator<Item = (&'static str, &Vec<usize>)> {
        let of_critic = self.critic_hidden.as_ref().map(|layers| ("critic_hidden", layers));
        [("hidden", &self.hidden)].into_iter().chain(of_critic)
    }

    /// Checks every value.
    ///
    /// # Errors
    /// The first value out of its range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let check = Check::table("network");
        for (key, layers) in self.layers() {
            for &units in layers {
                check.that(
                    key,
                    (1..=65_536).contains(&units),
                    units,
                    "1 to 65536 units a layer",
                )?;
            }
            check.that(key, layers.len() <= 32, layers.len(), "at most 32 layers")?;
        }
        let (low, high) = (self.log_std_min, self.log_std_max);
        check.range("log_std_min", low, -20.0, 0.0)?;
        check.range("log_std_max", high, 0.0, 20.0)?;
        check.range("log_std_init", self.log_std_init, low, high)?;
        check.range("noise_correlation", self.noise_correlation, 0.0, 0.99)
    }
}

/// Checks values of one table; every message names the dotted key.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    table: &'static str,
}

impl Check {
    /// For the values of this table.
    #[must_use]
    pub fn table(table: &'static str) -> Check {
        Check { table }
    }

    /// An error about a key.
    ///
    /// # Errors
    /// Always: what is wrong, and what would be right.
    pub fn fail(&self, key: &str, message: impl Into<String>) -> Result<(), ConfigError> {
        Err(ConfigError { key: format!("{}.{key}", self.table), message: message.into() })
    }

    /// Fails unless the condition holds; says what was found and what would be right.
    ///
    /// # Errors
    /// As said.
    pub fn that(
        &self,
        key: &str,
        holds: bool,
        found: impl std::fmt::Display,
        right: &str,
    ) -> Result<(), ConfigError> {
        if holds { Ok(()) } else { self.fail(key, format!("is {found}; must be {right}")) }
    }

    /// Fails unless the value is in a closed interval.
    ///
    /// # Errors
    /// As said.
    pub fn range(&self, key: &str, value: f64, low: f64, high: f64) -> Result<(), ConfigError> {
        let holds = (low..=high).contains(&value);
        self.that(key, holds, value, &format!("a number from {low} to {high}"))
    }

    /// Fails unless the value is above 0, and at most 1e9.
    ///
    /// # Errors
    /// As said.
    pub fn positive(&self, key: &str, value: f64) -> Result<(), ConfigError> {
        let holds = value > 0.0 && value <= 1e9;
        self.that(key, holds, value, "a number above 0, at most 1e9")
    }

    /// Fails unless both ends of a schedule are in a closed interval.
    ///
    /// # Errors
    /// As said.
    pub fn schedule(
        &self,
        key: &str,
        schedule: Schedule,
        low: f64,
        high: f64,
    ) -> Result<(), ConfigError> {
        self.range(key, schedule.start, low, high)?;
        self.range(key, schedule.end, low, high)
    }

    /// Fails unless the minibatch is not empty and fits into the batch.
    ///
    /// # Errors
    /// As said.
    pub fn minibatch(&self, key: &str, size: usize, batch: usize) -> Result<(), ConfigError> {
        let right =
            format!("1 to {batch}, the size of the batch (env.num_envs times agent.rollout_steps)");
        self.that(key, (1..=batch).contains(&size), size, &right)
    }
}

/// The field names of a struct of settings, as TOML spells them, asked from its `Deserialize`
/// implementation; none of a type that is no struct.
///
/// ```
/// assert_eq!(agents::keys::<agents::KlPenalty>(), ["target", "initial_coef"]);
/// ```
#[must_use]
pub fn keys<'de, T: Deserialize<'de>>() -> &'static [&'static str] {
    let mut names: &'static [&'static str] = &[];
    // Always an error: the asking ends as soon as the struct has named its fields.
    let _ = T::deserialize(Ask { names: &mut names });
    names
}

struct Ask<'a> {
    names: &'a mut &'static [&'static str],
}

impl<'de> Deserializer<'de> for Ask<'_> {
    type Error = value::Error;

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, value::Error> {
        Err(value::Error::custom("only a struct has field names"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, value::Error> {
        *self.names = fields;
        self.deserialize_any(visitor)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}
