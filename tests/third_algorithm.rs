//! The example of `docs/adding-an-algorithm.md`, as the book shows it: the parts between ANCHOR
//! comments are included there. The tests below hold it to what the page says.

// ANCHOR: settings
use agents::adam::{Adam, AdamState, clip};
use agents::ops::{standardized, value_loss};
use agents::{
    AgentError, Algorithm, AlgorithmConfig, AlgorithmState, Batch, Check, ConfigError, CriticState,
    Learner, Metrics, Minibatch, Rollout, Schedule,
};
use burn::tensor::Tensor;
use envs::Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Hyperparameters of REINFORCE with a learned baseline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct ReinforceConfig {
    /// Steps per environment and iteration.
    #[schemars(range(min = 1, max = 1 << 24))]
    rollout_steps: usize,
    /// Discount factor gamma, in `[0, 1]`.
    #[schemars(range(min = 0.0, max = 1.0))]
    gamma: f64,
    /// Adam's learning rate for the policy.
    #[schemars(range(min = 0.0, max = 10.0))]
    learning_rate: Schedule,
    /// Adam's learning rate for the baseline.
    #[schemars(range(min = 0.0, max = 10.0))]
    baseline_learning_rate: Schedule,
    /// Steps of the baseline in each iteration, each on the whole batch.
    #[schemars(range(min = 1, max = 1000))]
    baseline_steps: usize,
}

impl Default for ReinforceConfig {
    fn default() -> Self {
        ReinforceConfig {
            rollout_steps: 64,
            gamma: 0.99,
            learning_rate: Schedule::constant(1e-2),
            baseline_learning_rate: Schedule::constant(1e-2),
            baseline_steps: 10,
        }
    }
}

impl AlgorithmConfig for ReinforceConfig {
    const NAME: &'static str = "reinforce";
    const TITLE: &'static str = "REINFORCE";
    const DESCRIPTION: &'static str = "REINFORCE with a learned baseline (Williams 1992)";

    fn rollout(&self) -> Rollout {
        // Lambda 1: the advantage is the whole return, less what the baseline predicted.
        Rollout { steps: self.rollout_steps, gamma: self.gamma, gae_lambda: 1.0 }
    }

    fn gradient_samples(&self, batch: usize) -> usize {
        batch
    }

    fn validate(&self, check: &Check, _batch: usize) -> Result<(), ConfigError> {
        check.schedule("learning_rate", self.learning_rate, 0.0, 10.0)?;
        check.schedule("baseline_learning_rate", self.baseline_learning_rate, 0.0, 10.0)?;
        let steps = self.baseline_steps;
        check.that("baseline_steps", (1..=1000).contains(&steps), steps, "1 to 1000")
    }

    fn algorithm(&self, learner: &Learner, _shuffling: Rng) -> Box<dyn Algorithm> {
        let optimizer = AdamState::new(learner.actor.params().len());
        Box::new(Reinforce { config: self.clone(), optimizer })
    }
}
// ANCHOR_END: settings

// ANCHOR: algorithm
/// Longest gradient of the policy.
const MAX_GRAD_NORM: f64 = 0.5;
/// Adam's epsilon.
const EPSILON: f64 = 1e-5;

/// REINFORCE with its hyperparameters, and its state: Adam of the policy.
#[derive(Debug)]
struct Reinforce {
    config: ReinforceConfig,
    optimizer: AdamState,
}

agents::metrics! {
    /// What an update of REINFORCE reports.
    pub struct ReinforceMetrics {
        /// `-mean(ln pi(a|s) A)`
        pub policy_loss: f64,
        /// Mean squared error of the baseline, over its steps.
        pub value_loss: f64,
        /// Entropy of the policy before the update, in nats.
        pub entropy: f64,
        /// Euclidean norm of the policy's gradient before clipping.
        pub gradient_norm: f64,
    }
}

impl Algorithm for Reinforce {
    /// One step of the policy along `E[grad ln pi(a|s) A]`; beside it the baseline is fitted.
    fn update(
        &mut self,
        learner: &mut Learner,
        batch: &Batch,
        progress: f64,
    ) -> Result<Metrics, AgentError> {
        let (actor, critic, device) = (&learner.actor, &learner.critics[0], &learner.device);
        let all = Minibatch::upload(batch, &batch.reward().advantages, device);

        // The policy: its loss is written down, and Burn's autodiff finds the gradient.
        let policy = actor.policy();
        let mut adam = Adam::new(actor.params(), &self.optimizer, EPSILON, policy.bounds(), device);
        let params = adam.params().tensor::<1>().autodiff().require_grad();
        let distribution = policy.distribution(&params, all.observations.clone());
        let log_probs = distribution.log_prob(&all.actions);
        let loss = (log_probs * standardized(all.advantages.clone())).mean().neg();
        let gradient = params.grad(&loss.backward());
        let gradient =
            gradient.ok_or_else(|| AgentError::Fault("a loss of no parameter".into()))?;
        let (norm, scale) = clip(&[&gradient], MAX_GRAD_NORM);
        adam.step(&gradient.into(), &scale, self.config.learning_rate.at(progress));

        // The baseline: forward, loss with its derivative, backward, step. Faster, for many steps.
        let target = &all.targets[0];
        let mut baseline = critic.adam(EPSILON, device);
        let whole = Tensor::<1>::ones([1], device).into();
        let mut value_losses = Vec::new();
        for _ in 0..self.config.baseline_steps {
            let network = critic.forward(&baseline.params().tensor(), &all.observations);
            let loss = value_loss(network.outputs(), &target.returns, &target.values, None, 1.0);
            let rate = self.config.baseline_learning_rate.at(progress);
            baseline.step(&network.vjp(loss.derivative).into(), &whole, rate);
            value_losses.push(loss.loss);
        }

        // One transfer from the device. Nothing is written back before all is found finite.
        let entropy = distribution.entropy().mean().inner();
        let numbers = vec![loss.inner(), Tensor::cat(value_losses, 0).mean(), entropy, norm];
        let (numbers, [(params, optimizer)], baselines) =
            Adam::read_all(Tensor::cat(numbers, 0), [("policy", adam)], vec![baseline])?;
        let numbers: Vec<f64> = numbers.into_iter().map(f64::from).collect();
        for (name, number) in ["policy loss", "value loss", "entropy", "norm"].iter().zip(&numbers)
        {
            AgentError::check_finite(name, *number)?;
        }
        learner.actor.set_params(params);
        self.optimizer = optimizer;
        for (critic, (params, optimizer)) in learner.critics.iter_mut().zip(baselines) {
            critic.state = CriticState { params, optimizer };
        }
        Ok(ReinforceMetrics {
            policy_loss: numbers[0],
            value_loss: numbers[1],
            entropy: numbers[2],
            gradient_norm: numbers[3],
        }
        .into())
    }

    fn state(&self) -> Result<AlgorithmState, AgentError> {
        AlgorithmState::new(ReinforceConfig::NAME, &self.optimizer)
    }

    fn set_state(&mut self, state: &AlgorithmState, learner: &Learner) -> Result<(), AgentError> {
        let optimizer: AdamState = state.read(ReinforceConfig::NAME)?;
        optimizer.check("policy's optimiser", learner.actor.params().len())?;
        self.optimizer = optimizer;
        Ok(())
    }
}
// ANCHOR_END: algorithm

// ANCHOR: main
use std::process::ExitCode;
use trainer::Registry;

/// Everything that a configuration can name in this program.
fn registry() -> Registry {
    Registry::default().with_algorithm::<ReinforceConfig>()
}

fn main() -> ExitCode {
    trainer::main(registry())
}
// ANCHOR_END: main

/// The configuration of the page.
const CONFIG: &str = r#"
# ANCHOR: config
name = "reinforce_cartpole"
total_steps = 200_000

[env]
name = "cartpole"
num_envs = 8

[agent]
algorithm = "reinforce"
learning_rate = { start = 1e-2, end = 0.0 }
# ANCHOR_END: config
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use agents::{AgentState, PpoConfig};
    use envs::Task;
    use serde_json::Value;
    use std::path::Path;
    use trainer::{Experiment, Session, Source};

    fn parse(text: &str) -> Result<(Experiment, Task, Source), String> {
        let source = Source::new(Path::new("x.toml"), text.to_owned(), &[]);
        let experiment = Experiment::parse(&source, &registry());
        experiment
            .map(|(experiment, task)| (experiment, task, source))
            .map_err(|error| error.to_string())
    }

    fn session(seed: u64) -> Session {
        let (mut experiment, task, source) = parse(CONFIG).expect("a configuration");
        experiment.seed = seed;
        Session::begin(experiment, task, &source).expect("a session")
    }

    #[test]
    fn the_configuration_of_the_page_learns_to_balance_the_pole() {
        for seed in 1..4 {
            let mut session = session(seed);
            while !session.is_finished() {
                session.training.iterate().expect("finite numbers");
            }
            let evaluation = session.evaluate().expect("finite numbers");
            assert_eq!(evaluation.episodes().len(), 100);
            let found = evaluation.mean_return();
            assert!(found >= 400.0, "seed {seed}: 100 greedy episodes return {found}");
        }
    }

    #[test]
    fn a_restored_agent_goes_on_bit_for_bit() {
        let (mut session, mut other) = (session(1), self::session(2));
        (0..5).for_each(|_| drop(session.training.iterate().expect("finite numbers")));
        let state = session.training.state().expect("a state");
        let resumed = other.training.config.resume(&other.training.task, state);
        other.training = resumed.expect("it fits");
        for _ in 0..5 {
            let found = other.training.iterate().expect("finite numbers").update;
            assert_eq!(found, session.training.iterate().expect("finite numbers").update);
        }
        assert_eq!(other.training.agent.state(), session.training.agent.state());
        assert_eq!(other.training.collector.state(), session.training.collector.state());
    }

    #[test]
    fn a_state_that_does_not_fit_is_refused() {
        let mut session = session(1);
        let own = session.training.agent.state().expect("a state");
        let mut set = |name: &str, optimizer: AdamState| {
            let algorithm = AlgorithmState::new(name, &optimizer).expect("a state");
            session.training.agent.set_state(AgentState { algorithm, ..own.clone() })
        };
        let params = own.policy.len();
        set("reinforce", AdamState::new(params)).expect("it fits");
        let error = set("ppo", AdamState::new(params)).expect_err("another algorithm").to_string();
        assert!(error.contains("ppo") && error.contains("reinforce"), "{error}");
        set("reinforce", AdamState::new(params - 1)).expect_err("a parameter is missing");
    }

    #[test]
    fn mistakes_are_explained_as_those_of_the_built_in_algorithms() {
        let start = "[env]\nname = 'cartpole'\n[agent]\nalgorithm = 'reinforce'\n";
        let error = |line: &str| parse(&format!("{start}{line}\n")).expect_err(line);
        for (line, expected) in [
            ("baseline_step = 3", "did you mean `baseline_steps`?"),
            ("epochs = 3", "epochs is a PPO key, and agent.algorithm is reinforce"),
            ("baseline_steps = 0", "agent.baseline_steps: is 0; must be 1 to 1000"),
            ("gamma = 1.5", "agent.gamma: is 1.5; must be a number from 0 to 1"),
            ("gamma = 'high'", "expected a number"),
        ] {
            let error = error(line);
            assert!(error.starts_with("x.toml:5") && error.contains(expected), "{error}");
        }
        let error = parse(&start.replace("'reinforce'", "'reinforc'")).expect_err("no algorithm");
        assert!(error.contains("did you mean `reinforce`?"), "{error}");
        let error =
            parse(&start.replace("reinforce'", "ppo'\nbaseline_steps = 1")).expect_err("ppo");
        let expected = "baseline_steps is a REINFORCE key, and agent.algorithm is ppo";
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn schema_and_init_know_the_settings() {
        let schema = trainer::schema(&registry());
        let tables = schema["properties"]["agent"]["anyOf"].as_array().expect("tables");
        let is_own = |table: &&Value| table["properties"]["algorithm"]["const"] == "reinforce";
        let own = &tables.iter().find(is_own).expect("a table of its own")["properties"];
        assert_eq!(own["baseline_steps"]["maximum"], 1000);
        assert_eq!(own["baseline_steps"]["default"], 10);

        let entry = registry().environments.get("cliff").expect("it is built in");
        let text = trainer::init(&entry, "reinforce", "x", &registry());
        let (experiment, ..) = parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let settings: &ReinforceConfig = experiment.agent.settings().expect("its own settings");
        assert_eq!(*settings, ReinforceConfig::default());
        for key in agents::keys::<ReinforceConfig>() {
            assert!(text.contains(&format!("\n{key} ")), "no {key} in\n{text}");
        }
        assert!(experiment.agent.settings::<PpoConfig>().is_none());
    }
}
