//! What an iteration consists of: acting, values and advantages, one update.
//!
//! `cargo bench --workspace --bench updates`

#![allow(missing_docs, clippy::unwrap_used)]

use agents::{Agent, AgentConfig, Collector, PpoConfig, TrainingConfig, TrpoConfig};
use divan::Bencher;
use divan::counter::ItemsCount;
use envs::{Environments, TaskConfig, VectorEnv};

fn main() {
    divan::main();
}

/// PPO's and TRPO's settings here: CleanRL's batch of 4 x 128 steps, 4 epochs of 4 minibatches.
fn ppo() -> AgentConfig {
    AgentConfig::new(PpoConfig { epochs: 4, minibatch_size: 128, ..PpoConfig::default() })
}

fn trpo() -> AgentConfig {
    AgentConfig::new(TrpoConfig::default())
}

fn start(config: &AgentConfig, env: &str, num_envs: usize) -> (Agent, Collector) {
    let task = Environments::default().get(env).unwrap().task(&TaskConfig::default()).unwrap();
    let envs = VectorEnv::new(&task, 1, 0, num_envs);
    let config = TrainingConfig { agent: config.clone(), num_envs, ..TrainingConfig::default() };
    let mut agent = config.agent(task.spec()).unwrap();
    let collector = Collector::new(envs, &mut agent, false, 1).unwrap();
    (agent, collector)
}

/// Environment steps a second while acting.
#[divan::bench(args = [1, 4, 16, 256, 4096])]
fn rollout_cartpole(bencher: Bencher<'_, '_>, num_envs: usize) {
    let (mut agent, mut collector) = start(&ppo(), "cartpole", num_envs);
    let steps = num_envs * agent.rollout().steps;
    bencher.counter(ItemsCount::new(steps)).bench_local(|| {
        collector.collect(&mut agent).unwrap();
    });
}

#[divan::bench(args = ["pendulum", "reach"])]
fn rollout_of_16(bencher: Bencher<'_, '_>, env: &str) {
    let (mut agent, mut collector) = start(&ppo(), env, 16);
    let steps = 16 * agent.rollout().steps;
    bencher.counter(ItemsCount::new(steps)).bench_local(|| {
        collector.collect(&mut agent).unwrap();
    });
}

/// Values and advantages of a batch of 512 samples.
#[divan::bench]
fn values_and_advantages(bencher: Bencher<'_, '_>) {
    let (mut agent, mut collector) = start(&ppo(), "cartpole", 4);
    collector.collect(&mut agent).unwrap();
    bencher.counter(ItemsCount::new(512_usize)).bench_local(|| {
        collector.batch(&agent).unwrap();
    });
}

fn update(bencher: Bencher<'_, '_>, config: &AgentConfig) {
    let (mut agent, mut collector) = start(config, "cartpole", 4);
    collector.collect(&mut agent).unwrap();
    let batch = collector.batch(&agent).unwrap().clone();
    bencher
        .counter(ItemsCount::new(batch.len()))
        .bench_local(|| agent.update(&batch, 0.0).unwrap());
}

/// One PPO update: 16 minibatches of 128.
#[divan::bench]
fn ppo_update(bencher: Bencher<'_, '_>) {
    update(bencher, &ppo());
}

/// One TRPO update of 512 samples, the critic's fit included.
#[divan::bench]
fn trpo_update(bencher: Bencher<'_, '_>) {
    update(bencher, &trpo());
}
