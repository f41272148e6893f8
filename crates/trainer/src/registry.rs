//! What a configuration can name.

use agents::{AlgorithmConfig, Algorithms};

/// The environments and algorithms that a program knows.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    /// What `env.name` takes.
    pub environments: envs::Environments,
    /// What `agent.algorithm` takes.
    pub algorithms: Algorithms,
}

impl Registry {
    /// The same with one more environment; one of the same name is replaced.
    #[must_use]
    pub fn with_environment(mut self, environment: envs::Entry) -> Registry {
        self.environments = self.environments.with(environment);
        self
    }

    /// The same with one more algorithm; one of the same name is replaced.
    #[must_use]
    pub fn with_algorithm<C: AlgorithmConfig>(mut self) -> Registry {
        self.algorithms = self.algorithms.with::<C>();
        self
    }
}

impl From<envs::Environments> for Registry {
    /// These environments, and the built-in algorithms.
    fn from(environments: envs::Environments) -> Registry {
        Registry { environments, algorithms: Algorithms::default() }
    }
}
