//! Algorithms by name.

use crate::algorithm::{AgentConfig, AlgorithmConfig};
use crate::cpo::CpoConfig;
use crate::ppo::PpoConfig;
use crate::trpo::TrpoConfig;
use schemars::{Schema, SchemaGenerator};

/// One algorithm that can be asked for by name.
#[derive(Clone, Copy, Debug)]
pub struct RegisteredAlgorithm {
    /// The value of `agent.algorithm`.
    pub name: &'static str,
    /// What people call it.
    pub title: &'static str,
    /// One line for `trainer list`.
    pub description: &'static str,
    /// Whether it is nothing without a constraint.
    pub needs_constraint: bool,
    keys: fn() -> &'static [&'static str],
    schema: fn(&mut SchemaGenerator) -> Schema,
    parse: fn(toml::Deserializer<'_>) -> Result<AgentConfig, toml::de::Error>,
}

impl RegisteredAlgorithm {
    fn of<C: AlgorithmConfig>() -> RegisteredAlgorithm {
        RegisteredAlgorithm {
            name: C::NAME,
            title: C::TITLE,
            description: C::DESCRIPTION,
            needs_constraint: C::NEEDS_CONSTRAINT,
            keys: crate::config::keys::<C>,
            schema: C::json_schema,
            parse: |table| C::deserialize(table).map(AgentConfig::new),
        }
    }

    /// The keys of its settings, without `algorithm`.
    #[must_use]
    pub fn keys(&self) -> &'static [&'static str] {
        (self.keys)()
    }

    /// The JSON schema of its settings, without `algorithm`.
    #[must_use]
    pub fn schema(&self, generator: &mut SchemaGenerator) -> Schema {
        (self.schema)(generator)
    }

    /// Reads its settings from a table without `algorithm`.
    ///
    /// # Errors
    /// The first key that is not known or whose value has another type, with its place in the file.
    pub fn parse(&self, table: toml::Deserializer<'_>) -> Result<AgentConfig, toml::de::Error> {
        (self.parse)(table)
    }
}

/// The algorithms that can be asked for by name.
///
/// ```
/// use agents::Algorithms;
///
/// let algorithms = Algorithms::default();
/// let names: Vec<&str> = algorithms.all().iter().map(|algorithm| algorithm.name).collect();
/// assert_eq!(names, ["ppo", "trpo", "cpo"]);
/// ```
#[derive(Clone, Debug)]
pub struct Algorithms {
    all: Vec<RegisteredAlgorithm>,
}

impl Default for Algorithms {
    /// The built-in algorithms: one line each.
    fn default() -> Self {
        let none = Algorithms { all: Vec::new() };
        none.with::<PpoConfig>().with::<TrpoConfig>().with::<CpoConfig>()
    }
}

impl Algorithms {
    /// These and one more; one of the same name is replaced.
    #[must_use]
    pub fn with<C: AlgorithmConfig>(mut self) -> Algorithms {
        self.all.retain(|known| known.name != C::NAME);
        self.all.push(RegisteredAlgorithm::of::<C>());
        self
    }

    /// All of them, in the order of registration.
    #[must_use]
    pub fn all(&self) -> &[RegisteredAlgorithm] {
        &self.all
    }

    /// The one of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<RegisteredAlgorithm> {
        self.all.iter().find(|algorithm| algorithm.name == name).copied()
    }
}
