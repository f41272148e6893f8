//! Learning, with the configurations that ship: each is trained to its end, and its final policy must
//! solve the task in 100 greedy episodes.

use std::path::Path;

use agents::Evaluation;
use trainer::{Experiment, Override, Registry, Session};

/// Trains as `trainer run configs/NAME.toml --seed SEED` does, and evaluates as it does at the end.
fn train(name: &str, seed: u64) -> Evaluation {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../configs/{name}.toml"));
    let registry = Registry::default();
    let overrides = [Override::flag("seed", seed)];
    let (experiment, source) = Experiment::read(&path, &overrides, &registry).unwrap();
    assert_eq!(experiment.eval.episodes, 100, "{name}: episodes of the evaluation");

    let mut session = Session::begin(experiment, &source, &registry).unwrap();
    while !session.is_finished() {
        session.iterate().unwrap();
    }
    session.evaluate().unwrap()
}

/// The mean return over the evaluation must be at least `bar`.
fn check(name: &str, seed: u64, bar: f64) {
    let evaluation = train(name, seed);
    let returns: Vec<f64> = evaluation.episodes().iter().map(|e| e.episode_return).collect();
    assert_eq!(returns.len(), 100, "{name}, seed {seed}: episodes");
    let mean = returns.iter().sum::<f64>() / 100.0;
    assert!(
        mean >= bar,
        "{name}, seed {seed}: mean return {mean} (from {} to {}), the bar is {bar}",
        evaluation.min_return(),
        evaluation.max_return()
    );
}

/// The most that an episode of 500 steps gives: every one of the 100 must be kept up to its end.
const CARTPOLE: f64 = 500.0;
/// The shortest way, along the edge of Sutton and Barto's cliff.
const CLIFF: f64 = -13.0;

#[test]
fn ppo_solves_cartpole() {
    check("ppo_cartpole", 1, CARTPOLE);
}

#[test]
fn ppo_solves_cartpole_from_another_seed() {
    check("ppo_cartpole", 2, CARTPOLE);
}

#[test]
fn trpo_solves_cartpole() {
    check("trpo_cartpole", 1, CARTPOLE);
}

#[test]
fn trpo_solves_cartpole_from_another_seed() {
    check("trpo_cartpole", 2, CARTPOLE);
}

#[test]
fn ppo_walks_along_the_cliff() {
    check("ppo_cliff", 1, CLIFF);
}

#[test]
fn ppo_walks_along_the_cliff_from_another_seed() {
    check("ppo_cliff", 2, CLIFF);
}

#[test]
fn trpo_walks_along_the_cliff() {
    check("trpo_cliff", 1, CLIFF);
}

#[test]
fn trpo_walks_along_the_cliff_from_another_seed() {
    check("trpo_cliff", 2, CLIFF);
}
