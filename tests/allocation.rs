//! Acting allocates nothing per step, and an update nothing per minibatch: counted by an allocator that counts.

use agents::ops::kernel::{self, Layer, Level, Network};
use agents::{
    Activation, AlgorithmConfig, Collector, Constraint, Constraints, PpoConfig, Schedule, Threads,
    TrainingConfig, TrpoConfig,
};
use backburn_tests::allocations::{Counting, allocations, allocations_of_all_threads};
use envs::{Environments, TaskConfig, VectorEnv};
use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Keeps other tests from allocating where all threads are counted.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn acting_allocates_nothing_once_the_buffers_have_grown() {
    let _alone = alone();
    for (name, normalize) in [
        ("cartpole", false),
        ("pendulum", true),
        ("reach", true),
        ("cliff", false),
        ("gusty", false),
        ("budget", true),
        ("arm", true),
    ] {
        let entry = Environments::default().get(name).unwrap();
        let envs = VectorEnv::new(&entry.task(&TaskConfig::default()).unwrap(), 1, 0, 8);
        let config = TrainingConfig {
            normalize_observations: normalize,
            ..TrainingConfig::new(PpoConfig { rollout_steps: 512, ..PpoConfig::default() })
        };
        let mut agent = config.agent(envs.spec()).unwrap();
        let mut collector = Collector::new(envs, &mut agent, normalize, 1).unwrap();
        // The lists of ended episodes grow to the longest that was needed.
        for _ in 0..3 {
            collector.collect(&mut agent).unwrap();
        }
        let before = allocations();
        collector.collect(&mut agent).unwrap();
        let made = allocations() - before;
        // 4096 steps; a list may grow once more.
        assert!(made <= 2, "{name}: {made} allocations in 512 x 8 steps");
    }
}

#[test]
fn environments_allocate_nothing_with_all_that_a_task_can_have() {
    let _alone = alone();
    for (name, key, bounds) in [
        ("cartpole", "pole_mass", [0.05, 0.2]),
        ("pendulum", "mass", [0.8, 1.2]),
        ("reach", "link1_mass", [0.8, 1.2]),
        ("cliff", "slip_probability", [0.1, 0.3]),
        ("gusty", "gust_probability", [0.1, 0.3]),
        ("budget", "end_probability", [0.01, 0.03]),
    ] {
        let config = serde_json::json!({
            "parameters": { key: { "uniform": bounds } },
            "max_episode_steps": 20,
            "observation_noise": 0.01,
            "action_delay": { "uniform": [0, 3] },
            "action_repeat": 2,
        });
        let config: TaskConfig = serde_json::from_value(config).unwrap();
        let task = Environments::default().get(name).unwrap().task(&config).unwrap();
        let mut envs = VectorEnv::new(&task, 1, 0, 8);
        let actions = vec![1.0; 8 * task.spec().action_space.width()];
        let before = allocations();
        let mut episodes = 0;
        for _ in 0..100 {
            episodes += envs.step(&actions).iter().filter(|step| step.ended()).count();
        }
        assert_eq!(allocations(), before, "{name}");
        assert!(episodes >= 8 * 5, "{name}: {episodes} episodes");
    }
}

#[test]
fn kernels_allocate_nothing_once_their_buffers_have_grown() {
    let _alone = alone();
    let sizes = [7, 40, 64, 5];
    let mut weights = 0;
    let mut layers = Vec::new();
    for pair in sizes.windows(2) {
        let biases = weights + pair[0] * pair[1];
        layers.push(Layer { inputs: pair[0], outputs: pair[1], weights, biases });
        weights = biases + pair[1];
    }
    let params = vec![0.1; weights];
    let rows = 1000;
    let observations = vec![0.5; rows * 7];
    let mut outputs = vec![0.0; rows * 5];
    let mut hidden = vec![0.0; kernel::hidden_len(&layers, rows)];
    let derivative = vec![0.2; rows * 5];
    let mut gradient = vec![0.0; weights];
    let indices: Vec<i32> = (0..rows as i32).collect();
    let mut run = |rows: usize| {
        let observations = &observations[..rows * 7];
        let outputs = &mut outputs[..rows * 5];
        let hidden = &mut hidden[..kernel::hidden_len(&layers, rows)];
        let network =
            Network { layers: &layers, activation: Activation::Tanh, level: Level::default() };
        let (d, g) = (&derivative[..rows * 5], &mut gradient);
        let before = allocations();
        kernel::outputs(network, &params, observations, outputs);
        kernel::forward(network, &params, observations, hidden, outputs);
        kernel::backward(network, &params, observations, hidden, d, g);
        kernel::jvp(network, &params, observations, hidden, g, outputs);
        let indices = &indices[..rows];
        kernel::gradient(
            network,
            &params,
            observations,
            indices,
            g,
            &mut [0.0],
            &|some, _, to, _| {
                to.copy_from_slice(&derivative[..5 * some.len()]);
            },
        );
        kernel::curvature(network, &params, observations, hidden, &params, &|_, _| {}, g);
        allocations() - before
    };
    let sizes = [1000, 1, 8, 32, 100, 128, 129, 300];
    assert!(sizes.map(&mut run)[0] > 0);
    for rows in sizes {
        assert_eq!(run(rows), 0, "{rows} rows");
    }
}

/// Allocations of all threads in an update of 512 samples with so many threads: the fewest of some, since in one of
/// them a buffer may still grow.
fn in_an_update(name: &str, threads: usize, config: impl AlgorithmConfig) -> u64 {
    let entry = Environments::default().get(name).unwrap();
    let envs = VectorEnv::new(&entry.task(&TaskConfig::default()).unwrap(), 1, 0, 8);
    let mut agent = TrainingConfig::new(config).agent(envs.spec()).unwrap();
    agent.set_threads(Threads::new(NonZeroUsize::new(threads).unwrap()));
    let mut collector = Collector::new(envs, &mut agent, false, 1).unwrap();
    collector.collect(&mut agent).unwrap();
    let (batch, state) = (collector.batch(&agent).unwrap(), agent.state().unwrap());
    let updates = (0..8).map(|_| {
        agent.set_state(state.clone()).unwrap();
        let before = allocations_of_all_threads();
        agent.update(batch, 0.0).unwrap();
        allocations_of_all_threads() - before
    });
    updates.min().unwrap()
}

/// Fewer than one in an epoch, which has two or eight minibatches: with several threads, what an update does once is
/// not always the same.
#[test]
fn minibatches_allocate_nothing() {
    let _alone = alone();
    for threads in [1, 2] {
        // A minibatch of 256 is one of two chunks.
        for (name, minibatch_size, target_kl, constraint) in [
            ("cartpole", 64, None, None),
            ("pendulum", 256, Some(100.0), None),
            ("gusty", 64, None, Some(Constraint::on("fall", 0.5))),
        ] {
            let in_epochs = |epochs| {
                let constraint = constraint.clone().map(|one| Constraints::new(vec![one]));
                let config = PpoConfig { epochs, target_kl, constraint, ..PpoConfig::default() };
                let config = PpoConfig { rollout_steps: 64, minibatch_size, ..config };
                in_an_update(name, threads, config)
            };
            let [one, nine] = [1, 9].map(in_epochs);
            assert!(nine < one + 8, "PPO on {name}, {threads} threads: {one}, {nine}");
        }
        let in_epochs = |critic_epochs| {
            let config = TrpoConfig { critic_epochs, critic_minibatch_size: 64, ..small_trpo() };
            in_an_update("pendulum", threads, config)
        };
        let [one, nine] = [1, 9].map(in_epochs);
        assert!(nine < one + 8, "TRPO's critic, {threads} threads: {one}, {nine}");
    }
}

fn small_trpo() -> TrpoConfig {
    TrpoConfig {
        rollout_steps: 64,
        cg_tolerance: 0.0,
        max_kl: Schedule::constant(1e-3),
        ..TrpoConfig::default()
    }
}

/// A product makes two tensors, which are five allocations each with what they stand behind, and a vector.
#[test]
fn products_of_conjugate_gradient_allocate_little() {
    let _alone = alone();
    for threads in [1, 2] {
        for name in ["cartpole", "pendulum"] {
            let with = |cg_iterations| {
                in_an_update(name, threads, TrpoConfig { cg_iterations, ..small_trpo() })
            };
            let [two, ten] = [2, 10].map(with);
            assert!(ten < two + 8 * (11 + 1), "{name}, {threads} threads: {two}, {ten}");
        }
    }
}
