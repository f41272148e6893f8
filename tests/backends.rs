//! The same updates on every backend: from the same seed and on the same batches, parameters and
//! metrics agree within [`TOLERANCE`]. A backend without a device is skipped, and says so.

use agents::{
    Activation, Agent, AgentConfig, Backend, Batch, Collector, Init, KlPenalty, Metrics,
    NetworkConfig, PpoConfig, Schedule, TrainingConfig, TrpoConfig,
};
use backburn_tests::{assert_match, device, widened};
use envs::{Environments, TaskConfig, VectorEnv};

/// Largest difference, relative for numbers above 1.
const TOLERANCE: f64 = 1e-4;
const SEED: u64 = 1;
const NUM_ENVS: usize = 3;
/// Three environments give 111 samples: neither they nor the networks' widths fill whole registers
/// or workgroups.
const ROLLOUT_STEPS: usize = 37;
const UPDATES: usize = 3;

/// An environment and an agent for it.
struct Case {
    env: &'static str,
    network: NetworkConfig,
    agent: AgentConfig,
}

impl Case {
    fn envs(&self) -> VectorEnv {
        let entry = Environments::default().get(self.env).unwrap();
        VectorEnv::new(&entry.task(&TaskConfig::default()).unwrap(), SEED, 0, NUM_ENVS)
    }

    fn agent(&self, backend: Backend) -> Agent {
        let config = TrainingConfig {
            agent: self.agent.clone(),
            network: self.network.clone(),
            num_envs: NUM_ENVS,
            normalize_observations: true,
            seed: SEED,
            backend,
            ..TrainingConfig::default()
        };
        config.agent(self.envs().spec()).unwrap()
    }

    /// What an agent on `flex` does and becomes: the batches it collects, and after each of them its
    /// parameters and metrics.
    fn record(&self) -> Vec<(Batch, Outcome)> {
        let mut agent = self.agent(Backend::Flex);
        let mut collector = Collector::new(self.envs(), &mut agent, false, SEED).unwrap();
        (0..UPDATES)
            .map(|update| {
                collector.collect(&mut agent).unwrap();
                let batch = collector.batch(&agent).unwrap().clone();
                let outcome = Outcome::of(&mut agent, &batch, update);
                (batch, outcome)
            })
            .collect()
    }
}

/// An agent after an update.
struct Outcome {
    policy: Vec<f64>,
    critic: Vec<f64>,
    metrics: Metrics,
}

impl Outcome {
    fn of(agent: &mut Agent, batch: &Batch, update: usize) -> Outcome {
        let metrics = agent.update(batch, update as f64 / UPDATES as f64).unwrap();
        let state = agent.state().unwrap();
        let critic = widened(&state.critics[0].params);
        Outcome { policy: widened(&state.policy), critic, metrics }
    }
}

/// Repeats on a backend what was recorded on `flex`.
fn check(case: &Case, backend: Backend) {
    if device(backend).is_none() {
        return;
    }
    let mut agent = case.agent(backend);
    let initial = agent.state().unwrap();
    for (update, (batch, expected)) in case.record().iter().enumerate() {
        let found = Outcome::of(&mut agent, batch, update);
        let place = |what: &str| format!("{} on {backend}, update {update}: {what}", case.env);
        assert_match(&found.policy, &expected.policy, TOLERANCE, place("policy"));
        assert_match(&found.critic, &expected.critic, TOLERANCE, place("critic"));
        assert_eq!(found.metrics.entries().len(), expected.metrics.entries().len());
        for (found, expected) in found.metrics.entries().iter().zip(expected.metrics.entries()) {
            assert_eq!(found.0, expected.0, "{}", place("name"));
            assert_match(&[found.1], &[expected.1], TOLERANCE, place(&found.0));
        }
        if let Some(accepted) = found.metrics.get("train/accepted") {
            assert_eq!(accepted, 1.0, "{}", place("no step was taken"));
        }
    }
    let last = agent.state().unwrap();
    let [before, after] = [&initial, &last].map(|state| &state.critics[0].params);
    for (what, from, to) in [("policy", &initial.policy, &last.policy), ("critic", before, after)] {
        let moved = from.iter().zip(to).map(|(from, to)| (from - to).abs()).fold(0.0, f32::max);
        let place = format!("{} on {backend}: the {what}", case.env);
        assert!(f64::from(moved) > 20.0 * TOLERANCE, "{place} moved by {moved} only");
    }
}

/// Clip, clipped values, entropy bonus, a last minibatch that is smaller.
fn ppo_categorical() -> Case {
    Case {
        env: "cartpole",
        network: NetworkConfig { hidden: vec![19, 9], ..NetworkConfig::default() },
        agent: AgentConfig::new(PpoConfig {
            rollout_steps: ROLLOUT_STEPS,
            learning_rate: Schedule { start: 1e-3, end: 0.0 },
            epochs: 2,
            minibatch_size: 40,
            entropy_coef: Schedule::constant(0.01),
            value_clip_range: Some(0.2),
            ..PpoConfig::default()
        }),
    }
}

/// KL penalty, early stop, squashed actions.
fn ppo_gaussian() -> Case {
    Case {
        env: "pendulum",
        network: NetworkConfig {
            hidden: vec![19, 9],
            activation: Activation::Relu,
            init: Init::Xavier,
            squash: true,
            ..NetworkConfig::default()
        },
        agent: AgentConfig::new(PpoConfig {
            rollout_steps: ROLLOUT_STEPS,
            learning_rate: Schedule::constant(1e-3),
            epochs: 2,
            minibatch_size: 40,
            entropy_coef: Schedule::constant(0.01),
            kl_penalty: Some(KlPenalty::default()),
            target_kl: Some(0.1),
            ..PpoConfig::default()
        }),
    }
}

fn trpo(env: &'static str, activation: Activation) -> Case {
    Case {
        env,
        network: NetworkConfig { hidden: vec![19, 9], activation, ..NetworkConfig::default() },
        agent: AgentConfig::new(TrpoConfig {
            rollout_steps: ROLLOUT_STEPS,
            // At a tolerance, rounding would decide on the number of iterations.
            cg_tolerance: 0.0,
            critic_epochs: 2,
            critic_minibatch_size: 40,
            ..TrpoConfig::default()
        }),
    }
}

#[test]
fn ppo_on_ndarray() {
    check(&ppo_categorical(), Backend::NdArray);
    check(&ppo_gaussian(), Backend::NdArray);
}

#[test]
fn ppo_on_wgpu() {
    check(&ppo_categorical(), Backend::Wgpu);
    check(&ppo_gaussian(), Backend::Wgpu);
}

#[test]
fn trpo_on_ndarray() {
    check(&trpo("cartpole", Activation::Tanh), Backend::NdArray);
    check(&trpo("pendulum", Activation::Relu), Backend::NdArray);
}

#[test]
fn trpo_on_wgpu() {
    check(&trpo("cartpole", Activation::Tanh), Backend::Wgpu);
    check(&trpo("pendulum", Activation::Relu), Backend::Wgpu);
}

/// Weights are drawn by a generator of our own, so they are the same to the last bit.
#[test]
fn agents_start_the_same_on_every_backend() {
    for case in [ppo_categorical(), ppo_gaussian(), trpo("pendulum", Activation::Tanh)] {
        let expected = case.agent(Backend::Flex).state().unwrap();
        let others = [Backend::NdArray, Backend::Wgpu].into_iter();
        for backend in others.filter(|&backend| device(backend).is_some()) {
            let found = case.agent(backend).state().unwrap();
            assert_eq!(found, expected, "{} on {backend}", case.env);
        }
    }
}
