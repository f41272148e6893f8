//! The same updates on every backend: from the same seed and on the same batches, parameters and
//! metrics agree within [`TOLERANCE`]. A backend without a device is skipped, and says so.

use std::io::Write;
use std::sync::OnceLock;

use agents::{
    Activation, Agent, AgentConfig, AlgorithmMetrics, Backend, Batch, Collector, Init, KlPenalty,
    NetworkConfig, PpoConfig, Schedule, TrpoConfig, UpdateMetrics,
};
use backburn_tests::assert_match;
use burn::tensor::Device;
use envs::{Registry, TaskConfig, VectorEnv};

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
        let entry = Registry::default().get(self.env).unwrap();
        VectorEnv::new(&entry.task(&TaskConfig::default()).unwrap(), SEED, 0, NUM_ENVS)
    }

    fn agent(&self, device: Device) -> Agent {
        let envs = self.envs();
        let (observations, actions) = (envs.observation_space(), envs.action_space());
        Agent::new(&self.agent, &self.network, true, observations, actions, SEED, device).unwrap()
    }

    /// What an agent on `flex` does and becomes: the batches it collects, and after each of them its
    /// parameters and metrics.
    fn record(&self) -> Vec<(Batch, Outcome)> {
        let mut agent = self.agent(Backend::Flex.open().unwrap());
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
    metrics: UpdateMetrics,
}

impl Outcome {
    fn of(agent: &mut Agent, batch: &Batch, update: usize) -> Outcome {
        let metrics = agent.update(batch, update as f64 / UPDATES as f64).unwrap();
        let state = agent.state();
        Outcome { policy: widened(&state.policy), critic: widened(&state.critic), metrics }
    }
}

fn widened(numbers: &[f32]) -> Vec<f64> {
    numbers.iter().map(|&x| f64::from(x)).collect()
}

/// The GPU, opened once for all tests, unless this machine has none.
fn gpu() -> Option<Device> {
    static GPU: OnceLock<Option<Device>> = OnceLock::new();
    let open = || match Backend::Wgpu.open() {
        Ok(device) => Some(device),
        Err(error) => {
            // Past the test harness, which keeps to itself what a passing test prints.
            let _ = writeln!(std::io::stderr().lock(), "\nSKIPPED what needs a GPU: {error}");
            None
        }
    };
    GPU.get_or_init(open).clone()
}

fn device(backend: Backend) -> Option<Device> {
    if backend == Backend::Wgpu { gpu() } else { Some(backend.open().unwrap()) }
}

/// Repeats on a backend what was recorded on `flex`.
fn check(case: &Case, backend: Backend) {
    let Some(device) = device(backend) else {
        return;
    };
    let mut agent = case.agent(device);
    let initial = agent.state();
    for (update, (batch, expected)) in case.record().iter().enumerate() {
        let found = Outcome::of(&mut agent, batch, update);
        let place = |what: &str| format!("{} on {backend}, update {update}: {what}", case.env);
        assert_match(&found.policy, &expected.policy, TOLERANCE, place("policy"));
        assert_match(&found.critic, &expected.critic, TOLERANCE, place("critic"));
        let pairs = found.metrics.entries().into_iter().zip(expected.metrics.entries());
        for ((name, found), (_, expected)) in pairs {
            assert_match(&[found], &[expected], TOLERANCE, place(name));
        }
        if let AlgorithmMetrics::Trpo { accepted, .. } = found.metrics.algorithm {
            assert!(accepted, "{}", place("no step was taken"));
        }
    }
    let last = agent.state();
    for (what, from, to) in
        [("policy", &initial.policy, &last.policy), ("critic", &initial.critic, &last.critic)]
    {
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
        agent: AgentConfig::Ppo(PpoConfig {
            rollout_steps: ROLLOUT_STEPS,
            learning_rate: Schedule { start: 1e-3, end: 0.0 },
            epochs: 2,
            minibatch_size: 40,
            entropy_coef: 0.01,
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
        agent: AgentConfig::Ppo(PpoConfig {
            rollout_steps: ROLLOUT_STEPS,
            learning_rate: Schedule::constant(1e-3),
            epochs: 2,
            minibatch_size: 40,
            entropy_coef: 0.01,
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
        agent: AgentConfig::Trpo(TrpoConfig {
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
        let expected = case.agent(Backend::Flex.open().unwrap()).state();
        for device in [Backend::NdArray, Backend::Wgpu].into_iter().filter_map(device) {
            let found = case.agent(device.clone()).state();
            assert_eq!(found, expected, "{} on {device:?}", case.env);
        }
    }
}
