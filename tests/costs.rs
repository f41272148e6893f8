//! Costs beside the reward, and the methods that keep them within limits, on a task whose constrained
//! optimum is a line of arithmetic. Exact optima of `gusty` and `budget` are the business of
//! `constraints.rs`.

mod support;

use agents::adam::AdamState;
use agents::lagrangian::Lagrangian;
use agents::{
    AgentState, AlgorithmState, Batch, Constraint, Evaluation, PpoConfig, Signal, TrainingConfig,
    evaluate, record,
};
use backburn_tests::exact::{Linear, Walk};
use envs::{
    Action, Entry, Environment, Environments, ParameterError, Parametric, Rng, RunningMeanStd,
    Space, Spec, StateError, Step, Task, TaskConfig,
};
use rand::RngExt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::Path;
use support::Place;
use trainer::{Experiment, Registry, Session, Source};

/// Offers, one a step for ten steps, each worth 0.2, 0.4, 0.6, 0.8 or 1: to be taken (1) or left (0).
/// Taking one earns what it is worth; it costs `heat` and makes half a unit of `noise`.
#[derive(Clone)]
struct Offers {
    heat: f64,
    offer: usize,
    taken: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct OffersParameters {
    /// What taking one costs.
    #[schemars(range(min = -10.0, max = 10.0))]
    heat: f64,
}

const OFFERS: usize = 5;
const STEPS: u32 = 10;

impl Default for OffersParameters {
    fn default() -> Self {
        OffersParameters { heat: 1.0 }
    }
}

impl Parametric for Offers {
    type Parameters = OffersParameters;

    fn new(OffersParameters { heat }: OffersParameters) -> Result<Self, ParameterError> {
        Ok(Offers { heat, offer: 0, taken: false })
    }
}

impl Environment for Offers {
    fn spec(&self) -> Spec {
        let spaces = (Space::symmetric_box(OFFERS, 1.0), Space::Discrete { n: 2 });
        Spec { costs: vec!["heat".into(), "noise".into()], ..Spec::new(spaces.0, spaces.1, STEPS) }
    }

    fn reset(&mut self, rng: &mut Rng) {
        self.offer = rng.random_range(0..OFFERS);
    }

    fn step(&mut self, action: Action<'_>, rng: &mut Rng) -> Step {
        self.taken = action.index() == 1;
        let reward = if self.taken { worth(self.offer) } else { 0.0 };
        self.reset(rng);
        Step { reward, ..Step::default() }
    }

    fn observe(&self, observation: &mut [f32]) {
        observation.fill(0.0);
        observation[self.offer] = 1.0;
    }

    fn costs(&self, costs: &mut [f64]) {
        costs.copy_from_slice(if self.taken { &[1.0, 0.5] } else { &[0.0, 0.0] });
        costs[0] *= self.heat;
    }

    fn state(&self) -> Vec<f64> {
        vec![self.offer as f64, f64::from(u8::from(self.taken))]
    }

    fn set_state(&mut self, state: &[f64]) -> Result<(), StateError> {
        let [offer, taken] = StateError::read(state)?;
        (self.offer, self.taken) = (offer as usize, taken == 1.0);
        Ok(())
    }
}

fn worth(offer: usize) -> f64 {
    (offer + 1) as f64 / OFFERS as f64
}

fn registry() -> Registry {
    Registry::default()
        .with_environment(Entry::with_parameters::<Offers>("offers", "take or leave"))
}

fn parse(text: &str) -> Result<(Experiment, Task, Source), String> {
    let source = Source::new(Path::new("x.toml"), text.to_owned(), &[]);
    let experiment = Experiment::parse(&source, &registry());
    let parsed = experiment.map(|(experiment, task)| (experiment, task, source));
    parsed.map_err(|error| error.to_string())
}

/// A session of a task whose steps have nothing to do with one another, so that nothing is discounted.
fn session(agent: &str, seed: u64) -> Result<Session, String> {
    let text = format!(
        "seed = {seed}\ntotal_steps = 200_000\n[env]\nname = 'offers'\nnum_envs = 8\n[network]\n\
         hidden = []\n[agent]\nrollout_steps = 100\ngamma = 0.0\n{agent}"
    );
    let (experiment, task, source) = parse(&text)?;
    Session::begin(experiment, task, &source).map_err(|error| error.to_string())
}

const PPO: &str =
    "algorithm = 'ppo'\nlearning_rate = { start = 2e-2, end = 0.0 }\nminibatch_size = 200\n";
const TRPO: &str = "algorithm = 'trpo'\nmax_kl = { start = 3e-3, end = 1e-5 }\n";
const CPO: &str = "algorithm = 'cpo'\nmax_kl = { start = 3e-3, end = 1e-5 }\n";
const LIMIT: &str = "constraint = { cost = 'heat', limit = 3.0 }\n";

/// How likely each offer is taken.
fn policy(session: &Session) -> [f64; OFFERS] {
    std::array::from_fn(|offer| {
        let mut observation = [0.0; OFFERS];
        observation[offer] = 1.0;
        let mut outputs = [0.0; 2];
        session.training.agent.actor().outputs(&observation, &mut outputs);
        1.0 / (1.0 + f64::from(outputs[0] - outputs[1]).exp())
    })
}

/// What the policy earns in an episode, and what heat it costs: exactly.
fn exact(session: &Session) -> (f64, f64) {
    let policy = policy(session);
    let a_step = f64::from(STEPS) / OFFERS as f64;
    let earned = policy.iter().enumerate().map(|(offer, taken)| taken * worth(offer));
    (a_step * earned.sum::<f64>(), a_step * policy.iter().sum::<f64>())
}

/// Trains to the end; also the multiplier's mean over the last quarter.
fn train(session: &mut Session) -> f64 {
    let mut multipliers = Vec::new();
    while !session.is_finished() {
        let metrics = session.training.iterate().expect("finite numbers").update;
        multipliers.push(metrics.get("train/multiplier").expect("a constraint"));
    }
    let last = &multipliers[multipliers.len() * 3 / 4..];
    last.iter().sum::<f64>() / last.len() as f64
}

/// Within a heat of 3 the best is to take all offers worth 1, which are two of ten, and half of those worth
/// 0.8: 2.8. One unit more or less of heat is worth 0.8, the multiplier.
#[test]
fn every_method_finds_the_constrained_optimum_and_its_multiplier() {
    for agent in [PPO, TRPO, CPO] {
        for seed in 1..=3 {
            let mut session = session(&format!("{agent}{LIMIT}"), seed).expect("a session");
            let multiplier = train(&mut session);
            let (earned, heat) = exact(&session);
            let found =
                format!("{agent} seed {seed}: {multiplier} {earned} {heat} {:?}", policy(&session));
            // CPO's is that of a step, which is 0 wherever the limit is slack there.
            assert!(agent == CPO || (multiplier - 0.8).abs() < 0.08, "the multiplier: {found}");
            assert!((heat - 3.0).abs() < 0.3, "the cost: {found}");
            assert!(earned > 2.8 - 0.2, "the return: {found}");
        }
    }
}

/// Episodes cost 5 at first. A step of CPO takes off what is above the limit, and no more: it knows that the
/// cost of an episode is ten times that of a step.
#[test]
fn a_step_of_cpo_ends_at_the_limit() {
    let agent =
        format!("{CPO}{LIMIT}").replace("3e-3", "1e-2").replace("limit = 3.0", "limit = 4.7");
    let mut session = session(&agent, 1).expect("a session");
    let (_, before) = exact(&session);
    let metrics = session.training.iterate().expect("finite numbers").update;
    let (_, after) = exact(&session);
    let batch = session.training.collector.batch(&session.training.agent).expect("finite numbers");
    let measured = batch.costs()[0].episode_sum.expect("episodes ended");
    assert!((before - 5.0).abs() < 0.1 && measured > 4.8, "{before} {measured}");
    assert_eq!(metrics.get("train/recovery"), Some(0.0));
    let (change, asked) = (before - after, measured - 4.7);
    assert!((change - asked).abs() < 0.2 * asked, "{change} where {asked} was asked for");
}

/// With normalised rewards the multiplier is still in units of the environment's own.
#[test]
fn a_multiplier_is_in_the_rewards_own_unit_however_they_are_normalised() {
    let text = format!("{PPO}{LIMIT}[env.parameters]\nheat = 2.0\n");
    let text = text.replace("limit = 3.0", "limit = 6.0");
    let (mut experiment, task, source) = parse(&format!(
        "total_steps = 200_000\n[env]\nname = 'offers'\nnormalize_rewards = true\n[network]\nhidden = \
         []\n[agent]\nrollout_steps = 100\ngamma = 0.0\n{text}"
    ))
    .expect("a configuration");
    experiment.env.num_envs = 8;
    let mut session = Session::begin(experiment, task, &source).expect("a session");
    let multiplier = train(&mut session);
    let (_, heat) = exact(&session);
    // The same policy costs twice as much, so a unit of cost is worth half.
    assert!((multiplier - 0.4).abs() < 0.05, "{multiplier}");
    assert!((heat - 3.0).abs() < 0.3, "{heat}");
}

#[test]
fn a_fixed_multiplier_solves_the_penalised_problem() {
    for agent in [PPO, TRPO] {
        let fixed = "constraint = { cost = 'heat', multiplier = 0.5 }\n";
        let mut session = session(&format!("{agent}{fixed}"), 1).expect("a session");
        assert_eq!(train(&mut session), 0.5);
        // What is worth more than it costs is taken.
        let policy = policy(&session);
        assert!(policy[..2].iter().all(|taken| *taken < 0.1), "{agent}: {policy:?}");
        assert!(policy[2..].iter().all(|taken| *taken > 0.9), "{agent}: {policy:?}");
    }
}

#[test]
fn of_several_constraints_the_tighter_one_binds() {
    let several = "[[agent.constraint]]\ncost = 'heat'\nlimit = 5.0\n[[agent.constraint]]\ncost = \
                   'noise'\nlimit = 1.5\n";
    let mut session = session(&format!("{PPO}{several}"), 1).expect("a session");
    let mut last = None;
    while !session.is_finished() {
        last = Some(session.training.iterate().expect("finite numbers").update);
    }
    // A noise of 1.5 is a heat of 3.
    let (_, heat) = exact(&session);
    assert!((heat - 3.0).abs() < 0.3, "{heat}");
    let metrics = last.expect("an iteration");
    assert_eq!(metrics.get("train/multiplier/heat"), Some(0.0));
    let noise = metrics.get("train/multiplier/noise").expect("a column of its own");
    assert!((noise - 1.6).abs() < 0.4, "0.8 a unit of heat is 1.6 a unit of noise: {noise}");
    assert!(metrics.get("train/cost_value_loss/noise").is_some_and(|loss| loss > 0.0));
}

#[test]
fn a_restored_agent_goes_on_bit_for_bit() {
    for agent in [PPO, TRPO, CPO] {
        let agent = format!("{agent}{LIMIT}");
        let [mut one, mut other] = [1, 2].map(|seed| session(&agent, seed).expect("a session"));
        (0..20).for_each(|_| drop(one.training.iterate().expect("finite numbers")));
        let state = one.training.state().expect("a state");
        let resumed = other.training.config.resume(&other.training.task, state);
        other.training = resumed.expect("it fits");
        for _ in 0..20 {
            let [found, expected] = [&mut other, &mut one].map(|session| {
                let update = session.training.iterate().expect("finite numbers").update;
                // A recovery has no multiplier, which no other number is equal to.
                format!("{update:?}")
            });
            assert_eq!(found, expected, "{agent}");
        }
        assert_eq!(other.training.agent.state(), one.training.agent.state(), "{agent}");
        assert_eq!(other.training.collector.state(), one.training.collector.state(), "{agent}");
    }
}

#[test]
fn a_state_of_other_constraints_is_refused() {
    for agent in [PPO, TRPO] {
        let mut with = session(&format!("{agent}{LIMIT}"), 1).expect("a session");
        let mut without = session(agent, 1).expect("a session");
        let state = |session: &Session| session.training.agent.state().expect("a state");
        let (own, other) = (state(&with), state(&without));
        let error = with
            .training
            .agent
            .set_state(other.clone())
            .expect_err("a critic is missing")
            .to_string();
        assert!(error.contains("list of critics"), "{error}");
        without.training.agent.set_state(own.clone()).expect_err("a critic too many");
        // The critics of one, the algorithm's state of the other.
        let mixed = AgentState { critics: own.critics.clone(), ..other };
        let error =
            with.training.agent.set_state(mixed).expect_err("a multiplier is missing").to_string();
        assert!(error.contains("list of multipliers"), "{error}");
        with.training.agent.set_state(own).expect("its own");
    }
}

/// A cost's critic means nothing with another discount. Where none is given it is that of the rewards.
#[test]
fn a_checkpoint_of_another_discount_of_the_cost_is_refused() {
    let place = Place::new();
    let path = place.path("gusty.ckpt");
    let task = Environments::default().get("gusty").expect("gusty").task(&TaskConfig::default());
    let task = task.expect("its defaults");
    let config = |discount: &str| {
        let ppo = format!("constraint = {{ cost = 'fall', limit = 0.5{discount} }}");
        TrainingConfig::new(toml::from_str::<PpoConfig>(&ppo).expect("TOML"))
    };
    config("").build(&task).expect("a beginning").save(&path).expect("a file");
    let load = |discount: &str| config(discount).load(&task, &path).map(drop);
    load(", cost_gamma = 0.99").expect("the rewards' discount");
    let error = load(", cost_gamma = 1.0").expect_err("another").to_string();
    let differs = "agent.constraint.cost_gamma is [0.99] there and [1.0] here";
    assert!(error.contains(differs), "{error}");
}

/// What PPO keeps, where names don't count: Adam of the policy, the KL coefficient, the stream of the
/// shuffles, what returns were like, and of each multiplier its integral, the last cost, and itself.
type KeptByPpo = (AdamState, f64, Rng, RunningMeanStd, Vec<Multiplier>);
type Multiplier = (f64, Option<f64>, f64);

#[test]
fn a_crafted_state_of_a_multiplier_is_refused() {
    let mut session = session(&format!("{PPO}{LIMIT}"), 1).expect("a session");
    session.training.iterate().expect("finite numbers");
    let good = session.training.agent.state().expect("a state");
    let mut set = |change: &dyn Fn(&mut Multiplier)| {
        let mut kept: KeptByPpo = good.algorithm.read("ppo").expect("its own");
        change(&mut kept.4[0]);
        let algorithm = AlgorithmState::new("ppo", &kept).expect("a state");
        session.training.agent.set_state(AgentState { algorithm, ..good.clone() })
    };
    set(&|_| ()).expect("the way of crafting is exact");
    for bad in [f64::NAN, f64::INFINITY, -1.0] {
        for place in 0..3 {
            let changed = set(&|(integral, last_cost, multiplier)| match place {
                0 => *integral = bad,
                1 => *last_cost = Some(bad),
                _ => *multiplier = bad,
            });
            let error = changed.expect_err("no run can have it").to_string();
            assert!(error.contains("multiplier's controller"), "{error}");
        }
    }
}

/// What rollouts say of costs: those of each step, and sums and lengths of the episodes that ended.
#[test]
fn a_batch_has_the_cost_of_every_constraint() {
    let mut session =
        session(&format!("{PPO}{}", LIMIT.replace("heat", "noise")), 1).expect("a session");
    session.training.collector.collect(&mut session.training.agent).expect("finite numbers");
    let costs = session.training.collector.episode_costs().to_vec();
    let episodes = session.training.collector.episodes().len();
    assert_eq!((episodes, costs.len()), (8 * 10, 8 * 10 * 2));
    let batch = session.training.collector.batch(&session.training.agent).expect("finite numbers");
    let [reward, cost] = &batch.signals[..] else { panic!("two signals") };
    for (i, action) in batch.actions.iter().enumerate() {
        assert_eq!(cost.rewards[i], 0.5 * action);
        assert_eq!(reward.rewards[i] > 0.0, *action == 1.0);
    }
    assert_eq!((batch.episode_length, batch.reward_scale), (Some(10.0), 1.0));
    // All steps are of episodes that ended in the rollout.
    let sum = |numbers: &[f32]| numbers.iter().map(|&x| f64::from(x)).sum::<f64>() / 80.0;
    let near = |found: Option<f64>, expected: f64| {
        assert!(found.is_some_and(|found| (found - expected).abs() < 1e-5), "{found:?} {expected}");
    };
    near(cost.episode_sum, sum(&cost.rewards));
    near(reward.episode_sum, sum(&reward.rewards));
    let heat = costs.iter().step_by(2).sum::<f64>();
    assert_eq!(heat, 2.0 * costs.iter().skip(1).step_by(2).sum::<f64>());
}

/// The policy's advantages are those of the rewards less the multiplier times those of the cost, both as
/// generalised advantage estimation gives them, before anything is standardised.
#[test]
fn the_objective_puts_raw_advantages_together() {
    let mut batch = Batch::new(1, 3, [1, 1, 1], 2);
    let signal = |advantages: [f32; 3], episode_sum| Signal {
        advantages: advantages.to_vec(),
        returns: vec![0.0; 3],
        episode_sum,
        ..Signal::default()
    };
    batch.signals = vec![signal([1.0, 2.0, 3.0], None), signal([1.0, 0.0, -1.0], Some(1.5))];
    let constraints = [Constraint::on("heat", 1.0)];
    let mut lagrangian = Lagrangian::new(&constraints);
    lagrangian.update(&constraints, &batch);
    // e = 0.5: 0.5 + 0.025.
    let found = lagrangian.objective(&batch).advantages.clone();
    for (found, expected) in found.iter().zip([1.0 - 0.525, 2.0, 3.0 + 0.525]) {
        assert!((f64::from(*found) - expected).abs() < 1e-6, "{found} {expected}");
    }
}

fn evaluated(session: &Session, greedy: bool) -> Evaluation {
    evaluate(session.training.agent.actor(), &session.training.task, 50, 3, greedy)
        .expect("finite numbers")
}

#[test]
fn evaluations_and_recordings_have_costs_with_their_standard_errors() {
    let session = session(&format!("{PPO}{LIMIT}"), 1).expect("a session");
    let evaluation = evaluated(&session, false);
    let sums: Vec<f64> = (0..50)
        .map(|episode| {
            let recording = record(
                session.training.agent.actor(),
                &session.training.task,
                3,
                episode,
                false,
                1000,
            )
            .expect("finite");
            assert_eq!(recording.costs.len(), recording.rewards.len());
            assert_eq!(recording.end, Some(evaluation.episodes()[episode as usize]));
            recording.costs.iter().map(|costs| costs[0]).sum()
        })
        .collect();
    let mean = sums.iter().sum::<f64>() / 50.0;
    let variance = sums.iter().map(|sum| (sum - mean) * (sum - mean)).sum::<f64>() / 49.0;
    let found = evaluation.cost("heat").expect("a cost");
    assert!((found.mean - mean).abs() < 1e-12 && mean > 1.0, "{found:?} {mean}");
    let error = found.standard_error.expect("many episodes");
    assert!((error - (variance / 50.0).sqrt()).abs() < 1e-12, "{error}");
    let names: Vec<&str> = evaluation.costs().map(|cost| cost.0).collect();
    assert_eq!(names, ["heat", "noise"]);
    assert!(evaluation.cost("dust").is_none());
    // A constraint's own evaluation samples; without one it is greedy.
    assert_ne!(evaluated(&session, true), evaluation);
    let episodes = |session: &Session| {
        let own = session.evaluate().expect("finite numbers");
        let (greedy, seed) =
            (session.experiment.agent.evaluates_greedily(), session.experiment.seed);
        let same =
            evaluate(session.training.agent.actor(), &session.training.task, 100, seed, greedy);
        assert_eq!(own, same.expect("finite numbers"));
        greedy
    };
    assert!(!episodes(&session));
    assert!(episodes(&self::session(PPO, 1).expect("a session")));
}

#[test]
fn a_cost_that_is_none_ends_the_run_with_its_name() {
    let mut session =
        session(&format!("{PPO}{LIMIT}[env.parameters]\nheat = -1.0\n"), 1).expect("a session");
    let expected = "the cost `heat` of environment ";
    let error = session.training.iterate().expect_err("a negative cost").to_string();
    assert!(error.starts_with(expected) && error.contains("is -1; a cost is"), "{error}");
    let error = session.evaluate().expect_err("a negative cost").to_string();
    assert!(error.contains("the cost `heat` in an evaluation is -1"), "{error}");
    let error = record(session.training.agent.actor(), &session.training.task, 3, 0, false, 1000)
        .expect_err("the same");
    assert!(error.to_string().contains("in a recording is -1"), "{error}");
}

#[test]
fn mistakes_in_a_constraint_are_explained() {
    let error = |agent: &str| session(agent, 1).map(drop).expect_err(agent);
    let heat = |rest: &str| format!("{PPO}constraint = {{ cost = 'heat', {rest} }}\n");
    for (agent, key, expected) in [
        (heat("limit = -1"), "agent.constraint.limit", "is -1; must be a number from 0"),
        (heat("limit = 1, kp = -1"), "agent.constraint.kp", "is -1"),
        (heat("limit = 1, kd = -0.1"), "agent.constraint.kd", "is -0.1"),
        (heat("limit = 1, kpp = 1"), "agent.constraint.kpp", "did you mean `kp`?"),
        (heat("limit = 'low'"), "agent.constraint.limit", "expected a number"),
        (heat("limit = 1, multiplier = 1"), "agent.constraint.multiplier", "beside limit"),
        (heat("multiplier = 1, ki = 1"), "agent.constraint.ki", "fixed"),
        (heat("multiplier = -1"), "agent.constraint.multiplier", "is -1"),
        (format!("{PPO}constraint = {{ limit = 1 }}\n"), "agent.constraint", "no `cost`"),
        (format!("{PPO}constraint = {{ cost = 'heat' }}\n"), "agent.constraint", "no `limit`"),
        (format!("{PPO}constraint = 3\n"), "agent.constraint", "a table like { cost = "),
        (format!("{PPO}constraint = []\n"), "agent.constraint", "is empty"),
        (
            heat("limit = 1").replace("'heat'", "'dust'"),
            "agent.constraint.cost",
            "there is: heat, noise",
        ),
        (
            format!(
                "{PPO}[[agent.constraint]]\ncost = 'heat'\nlimit = 1\n[[agent.constraint]]\ncost = \
                     'noise'\nlimit = -1\n"
            ),
            "agent.constraint",
            "number 2: limit: is -1",
        ),
        (
            format!(
                "{PPO}[[agent.constraint]]\ncost = 'heat'\nlimit = 1\n[[agent.constraint]]\ncost = \
                     'heat'\nlimit = 2\n"
            ),
            "agent.constraint",
            "two on `heat`",
        ),
        (
            CPO.to_owned(),
            "agent.constraint",
            "cpo keeps a limit on a cost: give [agent.constraint]",
        ),
        (
            format!("{CPO}constraint = {{ cost = 'heat', limit = 1, kp = 1 }}\n"),
            "agent.constraint.kp",
            "CPO",
        ),
        (
            format!("{CPO}reuse_batches = 1\nconstraint = {{ cost = 'heat', limit = 1 }}\n"),
            "agent.reuse_batches",
            "belongs to TRPO",
        ),
        (
            format!("{CPO}constraint = {{ cost = 'heat', multiplier = 1 }}\n"),
            "agent.constraint.multiplier",
            "CPO",
        ),
        (
            format!(
                "{CPO}[[agent.constraint]]\ncost = 'heat'\nlimit = 1\n[[agent.constraint]]\ncost = \
                     'noise'\nlimit = 1\n"
            ),
            "agent.constraint",
            "are 2; CPO keeps one",
        ),
    ] {
        let error = error(&agent);
        assert!(
            error.contains(&format!("{key}: ")) || error.contains(&format!("{key} (")),
            "{key} {error}"
        );
        assert!(error.starts_with("x.toml") && error.contains(expected), "{expected} {error}");
    }
    let cartpole = format!("[env]\nname = 'cliff'\n[agent]\n{PPO}{LIMIT}");
    let (experiment, task, source) = parse(&cartpole).expect("the file by itself is good");
    let error = Session::begin(experiment, task, &source).map(drop).expect_err("no cost");
    assert!(error.to_string().contains("it has no cost at all"), "{error}");
}

/// The most that can be earned at a cost, as pictures show it, against what `constraints.rs` holds against
/// linear programming and the Riccati equation.
#[test]
fn the_fronts_that_are_drawn_are_exact() {
    let gusty = trainer::exact_front("gusty").expect("it is known");
    let slope = |pair: &[(f64, f64)]| (pair[1].1 - pair[0].1) / (pair[1].0 - pair[0].0);
    let mut slopes: Vec<f64> = gusty.windows(2).map(slope).collect();
    assert!(slopes.windows(2).all(|pair| pair[0] > pair[1]), "the front is concave: {slopes:?}");
    // At a price between the slopes on both sides a corner is the best there is.
    slopes.insert(0, 1e3);
    slopes.push(1e-3);
    for (corner, prices) in gusty.iter().zip(slopes.windows(2)) {
        let best = Walk::best_at((prices[0] + prices[1]) / 2.0);
        for (found, expected) in [(best.cost, corner.0), (best.performance, corner.1)] {
            assert!((found - expected).abs() < 1e-6, "{found} {corner:?}");
        }
    }
    for &(limit, earned) in trainer::exact_front("budget").expect("it is known") {
        let (best, _) = Linear::best_within(limit);
        let (found, cost) = best.evaluate();
        assert!(
            (cost - limit).abs() < 1e-5 && (found - earned).abs() < 1e-5,
            "{limit}: {found} {earned}"
        );
    }
    assert_eq!(trainer::exact_front("cartpole"), None);
}

/// A short run on `gusty`.
const GUSTY: &str = "\
total_steps = 16384
[env]
name = \"gusty\"
num_envs = 8
[network]
hidden = []
[agent]
algorithm = \"ppo\"
rollout_steps = 256
gamma = 1.0
learning_rate = 0.02
minibatch_size = 512
constraint = { cost = \"fall\", limit = 5.0 }
[eval]
episodes = 20
every_steps = 4096
";

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

fn text_at(place: &Place, path: &str) -> String {
    std::fs::read_to_string(place.path(path)).expect("a file")
}

/// The rows of `metrics.csv` without the columns that tell the time.
fn metrics(place: &Place, run: &str) -> (Vec<String>, Vec<Vec<String>>) {
    let text = text_at(place, &format!("{run}/metrics.csv"));
    let mut lines = text.lines().map(|line| line.split(',').map(str::to_owned).collect::<Vec<_>>());
    let header = lines.next().expect("a header");
    let kept: Vec<usize> = (0..header.len())
        .filter(|&i| !["time/time_elapsed", "time/fps"].contains(&&*header[i]))
        .collect();
    let keep = |line: Vec<String>| kept.iter().map(|&i| line[i].clone()).collect::<Vec<_>>();
    (keep(header), lines.map(keep).collect())
}

#[test]
fn a_run_says_everywhere_what_it_costs() {
    let place = Place::new();
    place.write("gusty.toml", GUSTY);
    for (limit, seed) in [("5.0", "1"), ("5.0", "2"), ("20.0", "1"), ("20.0", "2")] {
        let out = format!("runs/{limit}/{seed}");
        let set = format!("agent.constraint.limit={limit}");
        let arguments =
            ["run", "gusty.toml", "--quiet", "--seed", seed, "--out", &out, "--set", &set];
        place.trainer(&arguments).expect(0, &[]);
    }
    let (columns, rows) = metrics(&place, "runs/20.0/1");
    for column in
        ["rollout/ep_cost_mean", "train/multiplier", "train/cost_value_loss", "eval/mean_cost"]
    {
        let index = columns.iter().position(|name| name == column).expect(column);
        let last: f64 = rows.last().expect("rows")[index].parse().expect(column);
        assert!(last >= 0.0, "{column}: {last}");
    }
    let summary = json(&text_at(&place, "runs/20.0/1/summary.json"));
    let cost = &summary["eval"]["costs"]["fall"];
    assert_eq!((&summary["eval"]["greedy"], &cost["limit"]), (&json("false"), &json("20.0")));
    let (mean, error) = (cost["mean"].as_f64().expect("a mean"), cost["standard_error"].as_f64());
    assert!(mean > 0.0 && error.is_some_and(|error| error > 0.0), "{cost}");
    assert_eq!(cost["holds"], mean <= 20.0);

    let sampled = place.trainer(&["eval", "runs/20.0/1"]).expect(0, &[]).stdout;
    let line = format!("\n  cost        fall {mean:.3} +/- ");
    assert!(sampled.contains("sampled actions") && sampled.contains(&line), "{sampled}");
    assert!(sampled.contains("within the limit of 20"), "{sampled}");
    let greedy = place.trainer(&["eval", "runs/20.0/1", "--greedy"]).expect(0, &[]).stdout;
    assert!(greedy.contains("greedy actions") && !greedy.contains(&line), "{greedy}");
    place.trainer(&["eval", "runs/20.0/1", "--greedy", "--stochastic"]).expect(2, &["--greedy"]);
    let replayed =
        place.trainer(&["replay", "runs/20.0/1", "--episodes", "1"]).expect(0, &[]).stdout;
    assert!(replayed.contains("fall "), "{replayed}");

    let compared = place.trainer(&["compare", "runs", "-o", "table.csv"]).expect(0, &[]).stdout;
    for text in ["cost fall", " within 20", "than one of the other, whichever keeps its limit\n"] {
        assert!(compared.contains(text), "no {text:?} in {compared}");
    }
    let table = text_at(&place, "table.csv");
    let header = "cost_fall,cost_fall_low,cost_fall_high,limit_fall,within_limit_fall";
    assert!(table.lines().next().is_some_and(|line| line.ends_with(header)), "{table}");
    assert!(table.lines().any(|line| line.ends_with(",20,2")), "{table}");

    place.trainer(&["plot", "runs", "-o", "front.svg", "--cost", "fall"]).expect(0, &[]);
    let front = text_at(&place, "front.svg");
    for text in ["mean cost of an episode: fall", "the most that is possible, exactly", "ppo"] {
        assert!(front.contains(text), "no {text:?} in the picture");
    }
    let wrong = ["plot", "runs", "-o", "front.svg", "--cost", "fell"];
    place.trainer(&wrong).expect(2, &["no finished run has the cost fell, did you mean `fall`?"]);
    place.trainer(&["report", "runs"]).expect(0, &[]);
    let page = text_at(&place, "report.html");
    for text in [
        "aria-label=\"Return against cost\"",
        "<th scope=\"col\">Cost fall</th>",
        "\"costs\":[[\"fall\",[",
        "than one of the other, whichever keeps its limit.",
    ] {
        assert!(page.contains(text), "no {text:?} on the page");
    }

    // Of another task the exact answer is another.
    let set = ["--set", "env.parameters.gust_probability=0.1"];
    let run = ["run", "gusty.toml", "--quiet", "--out", "calm"];
    place.trainer(&[&run[..], &set].concat()).expect(0, &[]);
    place.trainer(&["plot", "calm", "-o", "calm.svg", "--cost", "fall"]).expect(0, &[]);
    assert!(!text_at(&place, "calm.svg").contains("exactly"));
}

#[test]
fn the_best_checkpoint_keeps_the_limit() {
    let place = Place::new();
    place.write("gusty.toml", GUSTY);
    let run = |limit: &str, out: &str| {
        let set = format!("agent.constraint.limit={limit}");
        place
            .trainer(&["run", "gusty.toml", "--quiet", "--out", out, "--set", &set])
            .expect(0, &[]);
    };
    run("0.0", "never");
    let ended = place.trainer(&["eval", "never", "--checkpoint", "best"]);
    ended.expect(2, &["there is no such checkpoint; there is: "]);
    run("8.0", "often");
    let (columns, rows) = metrics(&place, "often");
    let at = |name: &str| columns.iter().position(|column| column == name).expect(name);
    let [steps, earned, cost] =
        ["time/total_timesteps", "eval/mean_reward", "eval/mean_cost"].map(at);
    let number = |cell: &String| cell.parse::<f64>().ok();
    let evaluated = rows
        .iter()
        .filter_map(|row| Some((&row[steps], number(&row[earned])?, number(&row[cost])?)));
    let keep: Vec<_> = evaluated.clone().filter(|one| one.2 <= 8.0).collect();
    assert!(
        !keep.is_empty() && keep.len() < evaluated.count(),
        "some evaluations keep the limit: {keep:?}"
    );
    let best = keep.iter().max_by(|a, b| a.1.total_cmp(&b.1)).expect("one of them");
    let played =
        place.trainer(&["eval", "often", "--checkpoint", "best", "--json"]).expect(0, &[]).stdout;
    assert_eq!(json(&played)["mean_return"].as_f64(), Some(best.1), "{best:?}");
}

/// Whatever breaks a limit ranks below all that keep theirs, however much it earns: here an episode that is cut short
/// earns more, and no policy keeps a limit of 0.
#[test]
fn a_sweep_ranks_what_breaks_a_limit_below_what_keeps_it() {
    let place = Place::new();
    let sweep = "[sweep]\nseeds = 2\nconfirm_seeds = 1\n[sweep.grid]\n\
                 \"agent.constraint.limit\" = [0.0, 1000.0]\n\"env.max_episode_steps\" = [10, 60]\n";
    place.write("sweep.toml", format!("name = \"limits\"\n{GUSTY}{sweep}"));
    let printed = place.trainer(&["run", "sweep.toml", "--set", "total_steps=2048"]).expect(0, &[]);
    let mut reader =
        csv::Reader::from_path(place.path("runs/limits/results.csv")).expect("a table");
    let header = reader.headers().expect("a header").clone();
    let rows: Vec<_> = reader.records().map(|row| row.expect("a row")).collect();
    let cell = |trial: usize, name: &str| -> f64 {
        let column = header.iter().position(|column| column == name).expect(name);
        rows[trial - 1][column].parse().expect(name)
    };
    // Limit and longest episode of the trials: (0, 10), (0, 60), (1000, 10), (1000, 60).
    let [earned, excess] =
        ["objective", "limit_excess"].map(|name| [1, 2, 3, 4].map(|trial| cell(trial, name)));
    assert!(earned[0] > earned[3] && earned[2] > earned[3], "{earned:?}");
    assert!(0.0 < excess[0] && excess[0] < excess[1], "more steps, more falls: {excess:?}");
    assert!((-1.0..-0.9).contains(&excess[2]) && (-1.0..-0.9).contains(&excess[3]), "{excess:?}");
    let ranks: Vec<&str> = (printed.stdout.lines().skip(2).take(4))
        .map(|line| line.split_whitespace().nth(1).expect("a trial"))
        .collect();
    assert_eq!(ranks, ["3", "4", "1", "2"], "{}", printed.stdout);
    let over = format!("{:.1} % over", 100.0 * excess[1]);
    for text in ["limit", "kept", &over] {
        assert!(printed.stdout.contains(text), "no {text:?} in {}", printed.stdout);
    }
    let best: toml::Table = text_at(&place, "runs/limits/best.toml").parse().expect("TOML");
    assert_eq!(best["agent"]["constraint"]["limit"].as_float(), Some(1000.0));
    assert!(text_at(&place, "runs/limits/confirm.csv").contains("limit_excess"));

    // The best evaluation of a run is one that keeps the limit, as its best checkpoint is.
    let best_return =
        ["run", "sweep.toml", "--quiet", "--out", "best", "--set", "sweep.objective=best_return"];
    place.trainer(&[&best_return[..], &["--set", "sweep.confirm_seeds=0"]].concat()).expect(0, &[]);
    let ranked = text_at(&place, "best/best.toml");
    assert!(ranked.contains("limit = 1000.0"), "{ranked}");
}

#[test]
fn a_resumed_run_is_the_run_that_was_not_stopped() {
    let place = Place::new();
    for (algorithm, lines) in [
        ("ppo", ""),
        ("trpo", "max_kl = 0.01\ncritic_minibatch_size = 512\n"),
        ("cpo", "max_kl = 0.01\ncritic_minibatch_size = 512\n"),
    ] {
        let text = match algorithm {
            "ppo" => GUSTY.to_owned(),
            _ => GUSTY
                .replace("learning_rate = 0.02\nminibatch_size = 512\n", lines)
                .replace("\"ppo\"", &format!("\"{algorithm}\"")),
        };
        place.write("gusty.toml", text);
        let [whole, half] = ["whole", "half"].map(|name| format!("{algorithm}-{name}"));
        let run = |out: &str, steps: &str| {
            place
                .trainer(&["run", "gusty.toml", "--quiet", "--out", out, "--set", steps])
                .expect(0, &[]);
        };
        run(&whole, "total_steps=16384");
        run(&half, "total_steps=8192");
        let longer = ["resume", &half, "--quiet", "--set", "total_steps=16384"];
        place.trainer(&longer).expect(0, &[]);
        assert_eq!(metrics(&place, &half).0, metrics(&place, &whole).0);
        let rows = [&half, &whole].map(|run| metrics(&place, run).1);
        assert_eq!(rows[0], rows[1], "{algorithm}");
        // What gives the critics of a constraint their meaning stays.
        let config = text_at(&place, &format!("{half}/config.toml"));
        let other = config.replace("cost_gamma = 1.0", "cost_gamma = 0.5");
        assert_ne!(other, config);
        place.write(&format!("{half}/config.toml"), other);
        let expected = "agent.constraint.cost_gamma is 1.0 there and 0.5 here";
        place.trainer(&["resume", &half]).expect(2, &[expected]);
    }
}

#[test]
fn a_file_to_start_from_has_the_constraint_that_cpo_needs() {
    let place = Place::new();
    let error = "cartpole has no cost with its default parameters, and CPO keeps a limit on one";
    place.trainer(&["init", "cartpole", "cpo"]).expect(2, &[error]);
    place.trainer(&["init", "gusty", "cpo"]).expect(0, &[]);
    place.trainer(&["check", "cpo_gusty.toml"]).expect(0, &[]);
}
