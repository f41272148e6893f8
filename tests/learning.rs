//! Learning, with the configurations that ship: each is trained to its end, and its final policy must
//! solve the task in 100 greedy episodes.

use backburn_tests::exact::{ACTIONS, STATES, Table, Walk, dual_optimum, softmax_policy};
use backburn_tests::{begin, train};
use envs::Cliff;
use trainer::Session;

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

/// A policy that is a table, with everything about it computed exactly.
fn exact(session: &Session) -> Walk {
    let mut observations = vec![0.0; STATES * Cliff::CELLS];
    for (state, row) in observations.chunks_exact_mut(Cliff::CELLS).enumerate() {
        row[state] = 1.0;
    }
    let mut logits = vec![0.0; STATES * ACTIONS];
    let actor = session.training.agent.actor();
    actor.policy().network().forward_plain(actor.params(), &observations, &mut logits);
    let table: Table = logits.as_chunks().0.iter().map(|row| row.map(f64::from)).collect();
    Walk::new(softmax_policy(&table))
}

/// The final policy on `gusty` keeps its limit of 0.5, by exact policy evaluation: within `tolerance` of it,
/// never more than 5 % above, and its return is near the best there is. The multiplier, if it is steered,
/// is on average that of the dual in the last quarter of the run.
fn check_gusty(name: &str, seed: u64, tolerance: f64, is_steered: bool) {
    const LIMIT: f64 = 0.5;
    let (best, lambda) = dual_optimum(LIMIT);
    let mut session = begin(name, seed);
    let mut multipliers = Vec::new();
    while !session.is_finished() {
        multipliers
            .push(session.training.iterate().unwrap().update.get("train/multiplier").unwrap());
    }
    assert!(session.training.progress.steps <= 1_000_000);
    let walk = exact(&session);
    let place = format!("{name}, seed {seed}");
    assert!((walk.cost / LIMIT - 1.0).abs() <= tolerance, "{place}: cost {}", walk.cost);
    assert!(walk.cost <= 1.05 * LIMIT, "{place}: cost {}", walk.cost);
    assert!(walk.performance >= best - 0.15, "{place}: return {}", walk.performance);
    if is_steered {
        let last = &multipliers[multipliers.len() / 4 * 3..];
        let mean = last.iter().sum::<f64>() / last.len() as f64;
        assert!((mean / lambda - 1.0).abs() <= 0.1, "{place}: multiplier {mean}, not {lambda}");
    }
}

#[test]
fn ppo_keeps_a_limit_on_falls() {
    check_gusty("ppo_gusty", 1, 0.05, true);
}

#[test]
fn trpo_keeps_a_limit_on_falls() {
    check_gusty("trpo_gusty", 1, 0.05, true);
}

#[test]
fn cpo_keeps_a_limit_on_falls() {
    check_gusty("cpo_gusty", 1, 0.05, false);
}
