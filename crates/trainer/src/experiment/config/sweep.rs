//! The table `[sweep]` as it is written.

use schemars::JsonSchema;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

/// Seeds of a sweep, at most.
pub const MAX_SEEDS: u64 = 10_000;
/// Combinations of a grid, or trials of a search, at most.
pub const MAX_TRIALS: u64 = 100_000;

/// `[sweep]` as it is written.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SweepTable {
    /// Seeds that every trial is run with: a list, or how many; the experiment's own where not given.
    pub seeds: Option<Seeds>,
    /// What ranks the trials, averaged over the seeds.
    #[serde(default)]
    pub objective: Objective,
    /// Evaluation return to be reached, for the objective "steps_to_threshold".
    pub threshold: Option<f64>,
    /// Run the winner again with this many fresh seeds.
    #[serde(default)]
    #[schemars(range(min = 0, max = MAX_SEEDS))]
    pub confirm_seeds: u64,
    /// How trials without hope are stopped.
    pub pruner: Option<Pruner>,
    /// Run every N-th trial only, such as "2/4"; --shard sets it.
    pub shard: Option<String>,
    /// Every combination of these lists, each under its dotted key.
    #[serde(rename = "grid")]
    #[schemars(with = "Option<std::collections::BTreeMap<String, serde_json::Value>>")]
    pub _grid: Option<IgnoredAny>,
    /// Draws from distributions, each under its dotted key.
    #[serde(rename = "search")]
    #[schemars(with = "Option<Search>")]
    pub _search: Option<IgnoredAny>,
}

/// The seeds of a sweep.
#[derive(Deserialize, JsonSchema)]
#[serde(
    untagged,
    expecting = "expected a number of seeds, such as 5, or an array of seeds, such as [1, 2, 3]"
)]
pub enum Seeds {
    /// How many, from 1 on.
    Count(#[schemars(range(min = 1, max = MAX_SEEDS))] u64),
    /// Which.
    List(#[schemars(length(min = 1), extend("uniqueItems" = true))] Vec<u64>),
}

/// What ranks the trials.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Objective {
    /// Mean return of the evaluation at the end.
    #[default]
    FinalReturn,
    /// Mean return of the best evaluation.
    BestReturn,
    /// Success rate of the evaluation at the end.
    SuccessRate,
    /// Steps until an evaluation reaches the threshold; less is better.
    StepsToThreshold,
}

impl Objective {
    /// As the configuration calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Objective::FinalReturn => "final_return",
            Objective::BestReturn => "best_return",
            Objective::SuccessRate => "success_rate",
            Objective::StepsToThreshold => "steps_to_threshold",
        }
    }

    /// The objective turned so that less is better.
    #[must_use]
    pub fn loss(self, value: f64) -> f64 {
        if self == Objective::StepsToThreshold { value } else { -value }
    }
}

/// How trials without hope are stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Pruner {
    /// Below the median of the other trials at the same step.
    Median,
}

/// How a search draws: the table `[sweep.search]` without its distributions.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Search {
    /// How many trials there are.
    #[schemars(range(min = 1, max = MAX_TRIALS))]
    pub trials: u64,
    /// How they are chosen.
    #[serde(default)]
    pub method: Method,
    /// Of the draws.
    #[serde(default = "one")]
    pub seed: u64,
}

const fn one() -> u64 {
    1
}

/// How a search chooses its trials.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Independent draws.
    #[default]
    Random,
    /// Tree-structured Parzen estimator (Bergstra et al. 2011): draws where earlier trials were good.
    Tpe,
}
