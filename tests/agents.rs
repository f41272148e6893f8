//! What agents and collectors keep: one batch a rollout, log deviations within their bounds, and no saved
//! state that no run can have.

use agents::adam::AdamState;
use agents::{
    Agent, AgentConfig, AgentError, AgentState, AlgorithmState, Batch, Collector, CollectorState,
    KlPenalty, NetworkConfig, PpoConfig, Schedule, TrainingConfig, TrpoConfig,
};
use envs::{Environments, ObservationNormalizer, RewardNormalizer, Rng, TaskConfig, VectorEnv};
use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::Value;

const NUM_ENVS: usize = 3;

fn envs(name: &str) -> VectorEnv {
    let entry = Environments::default().get(name).unwrap();
    // Episodes that end within a rollout.
    let config = TaskConfig { max_episode_steps: Some(25), ..TaskConfig::default() };
    VectorEnv::new(&entry.task(&config).unwrap(), 1, 0, NUM_ENVS)
}

/// An agent that normalises observations, and its environments, which normalise rewards.
fn start(config: &AgentConfig, network: &NetworkConfig, name: &str) -> (Agent, Collector) {
    let envs = envs(name);
    let config = TrainingConfig {
        agent: config.clone(),
        network: network.clone(),
        num_envs: NUM_ENVS,
        normalize_observations: true,
        ..TrainingConfig::default()
    };
    let mut agent = config.agent(envs.spec()).unwrap();
    let collector = Collector::new(envs, &mut agent, true, 1).unwrap();
    (agent, collector)
}

fn small() -> NetworkConfig {
    NetworkConfig { hidden: vec![8], ..NetworkConfig::default() }
}

fn ppo(gamma: f64) -> AgentConfig {
    let minibatch_size = 32;
    AgentConfig::new(PpoConfig { rollout_steps: 64, gamma, minibatch_size, ..PpoConfig::default() })
}

/// The same environments, acted in as a batch says: what the collector saw, by other means.
struct Twin {
    envs: VectorEnv,
    observations: ObservationNormalizer,
    rewards: RewardNormalizer,
}

impl Twin {
    fn new(name: &str) -> Twin {
        let envs = envs(name);
        let mut observations = ObservationNormalizer::new(envs.observation_space().width());
        observations.update(envs.observations());
        Twin { envs, observations, rewards: RewardNormalizer::new(NUM_ENVS) }
    }

    /// Goes through a rollout; the batch must have what was seen, normalised with the statistics of
    /// the moment.
    fn check(&mut self, agent: &Agent, batch: &Batch, gamma: f64) {
        let width = self.envs.observation_space().width();
        let [rows, actions] = [width, 1].map(|width| width * NUM_ENVS);
        let mut truncations = 0;
        for (step, (seen, actions)) in
            batch.observations.chunks(rows).zip(batch.actions.chunks(actions)).enumerate()
        {
            let mut now = self.envs.observations().to_vec();
            self.observations.normalize(&mut now);
            assert_eq!(seen, now, "observations of step {step}");
            let transitions = self.envs.step(actions).to_vec();
            self.observations.update(self.envs.observations());
            let mut last = self.envs.final_observations().to_vec();
            self.observations.normalize(&mut last);
            let mut rewards: Vec<f32> = transitions.iter().map(|one| one.reward as f32).collect();
            let ended: Vec<bool> = transitions.iter().map(|one| one.ended()).collect();
            self.rewards.normalize(&mut rewards, &ended, gamma);
            let first = step * NUM_ENVS;
            let reward = batch.reward();
            assert_eq!(reward.rewards[first..first + NUM_ENVS], rewards, "rewards of step {step}");
            for env in (0..NUM_ENVS).filter(|&env| transitions[env].truncated) {
                let mut value = [0.0];
                let critic = &agent.critics()[0];
                let last = &last[env * width..(env + 1) * width];
                critic.values(last, &mut value);
                assert_eq!(reward.next_values[first + env], value[0], "the value after {step}");
                truncations += 1;
            }
        }
        assert!(truncations >= 2 * NUM_ENVS, "{truncations} episodes were truncated");
    }
}

#[test]
fn a_batch_has_what_was_seen_normalised_with_the_statistics_of_the_moment() {
    let (mut agent, mut collector) = start(&ppo(0.99), &small(), "pendulum");
    let mut twin = Twin::new("pendulum");
    for _ in 0..2 {
        collector.collect(&mut agent).unwrap();
        let batch = collector.batch(&agent).unwrap().clone();
        twin.check(&agent, &batch, 0.99);
        let again = collector.batch(&agent).unwrap();
        assert!(*again == batch, "asked again, it gave another batch");
        agent.update(&batch, 0.0).unwrap();
    }
}

/// After an edit of `agent.gamma` the rewards are scaled by the return of the new one.
#[test]
fn the_reward_normaliser_discounts_as_the_agent_does_now() {
    let (mut agent, mut collector) = start(&ppo(0.99), &small(), "pendulum");
    let mut twin = Twin::new("pendulum");
    collector.collect(&mut agent).unwrap();
    twin.check(&agent, &collector.batch(&agent).unwrap().clone(), 0.99);

    let (mut edited, mut its_collector) = start(&ppo(0.5), &small(), "pendulum");
    edited.set_state(agent.state().unwrap()).unwrap();
    its_collector.set_state(collector.state()).unwrap();
    its_collector.collect(&mut edited).unwrap();
    twin.check(&edited, &its_collector.batch(&edited).unwrap().clone(), 0.5);
}

/// Updates that would take the log deviations anywhere, and whether they reached a bound.
fn reaches_a_bound(config: &AgentConfig, network: &NetworkConfig) -> bool {
    let (low, high) = (network.log_std_min as f32, network.log_std_max as f32);
    let (mut agent, mut collector) = start(config, network, "pendulum");
    let mut reached = false;
    for update in 0..12 {
        collector.collect(&mut agent).unwrap();
        agent.update(collector.batch(&agent).unwrap(), 0.0).unwrap();
        for &log_std in agent.actor().log_std() {
            let inside = (low..=high).contains(&log_std);
            assert!(inside, "{log_std} after update {update} of {config:?}");
            reached |= log_std == low || log_std == high;
        }
    }
    reached
}

#[test]
fn log_deviations_stay_in_their_bounds() {
    let trpo = AgentConfig::new(TrpoConfig {
        rollout_steps: 64,
        max_kl: Schedule::constant(1e6),
        critic_minibatch_size: 32,
        ..TrpoConfig::default()
    });
    let upwards = PpoConfig {
        rollout_steps: 64,
        minibatch_size: 32,
        learning_rate: Schedule::constant(0.1),
        entropy_coef: Schedule::constant(100.0),
        ..PpoConfig::default()
    };
    let penalised = PpoConfig { kl_penalty: Some(KlPenalty::default()), ..upwards.clone() };
    let narrow = NetworkConfig { log_std_min: -0.25, log_std_max: 0.5, ..small() };
    for config in [trpo, AgentConfig::new(upwards), AgentConfig::new(penalised)] {
        assert!(reaches_a_bound(&config, &small()), "the usual bounds, {config:?}");
        assert!(reaches_a_bound(&config, &narrow), "narrow bounds, {config:?}");
    }
}

#[test]
fn bounds_of_the_log_deviations_are_checked() {
    let check = |change: fn(&mut NetworkConfig), key: &str| {
        let mut network = NetworkConfig::default();
        change(&mut network);
        let error = network.validate().expect_err(key);
        assert_eq!(error.key, key, "{error}");
    };
    NetworkConfig::default().validate().unwrap();
    NetworkConfig { log_std_init: 3.0, log_std_max: 4.0, ..small() }.validate().unwrap();
    check(|network| network.log_std_min = -21.0, "network.log_std_min");
    check(|network| network.log_std_max = 21.0, "network.log_std_max");
    check(|network| network.log_std_max = f64::NAN, "network.log_std_max");
    check(|network| network.log_std_min = 0.1, "network.log_std_min");
    check(|network| network.log_std_max = -0.1, "network.log_std_max");
    check(|network| network.log_std_init = 2.5, "network.log_std_init");
    check(
        |network| (network.log_std_min, network.log_std_init) = (-0.5, -0.6),
        "network.log_std_init",
    );
}

/// The same state with what is at a path changed. A TOML value has a place for every number, also for
/// those that are not finite.
fn changed<S>(state: &S, path: &[&str], change: impl FnOnce(&mut Value)) -> S
where
    S: Serialize + DeserializeOwned,
{
    let mut root = Value::try_from(state).unwrap();
    change(path.iter().fold(&mut root, |inside, key| match key.parse::<usize>() {
        Ok(index) => &mut inside[index],
        Err(_) => &mut inside[*key],
    }));
    root.try_into().unwrap()
}

/// The same state with another number.
fn crafted<S>(state: &S, path: &[&str], number: Value) -> S
where
    S: Serialize + DeserializeOwned,
{
    changed(state, path, |place| *place = number)
}

/// The same state with a shorter list.
fn shortened<S>(state: &S, path: &[&str]) -> S
where
    S: Serialize + DeserializeOwned,
{
    changed(state, path, |list| drop(list.as_array_mut().unwrap().pop().unwrap()))
}

fn is_refusal(error: &AgentError) -> bool {
    matches!(error, AgentError::Mismatch(_) | AgentError::Impossible(_))
}

#[test]
fn a_crafted_state_of_an_agent_is_refused() {
    let config = ppo(0.99);
    let (mut agent, mut collector) = start(&config, &small(), "pendulum");
    collector.collect(&mut agent).unwrap();
    agent.update(collector.batch(&agent).unwrap(), 0.0).unwrap();
    let good = agent.state().unwrap();
    let again: AgentState = Value::try_from(&good).unwrap().try_into().unwrap();
    assert_eq!(again, good, "the way of crafting is exact");
    let mut refuse = |path: &[&str], bad: AgentState| {
        let error = agent.set_state(bad).expect_err(&path.join("."));
        assert!(is_refusal(&error), "{path:?}: {error:?}");
        assert_eq!(agent.state().unwrap(), good, "{path:?}: the agent is as before");
    };
    let statistics = ["observation_normalizer", "statistics"];
    let at = |tail: &'static [&'static str]| [&statistics[..], tail].concat();
    for (path, numbers) in [
        (vec!["policy", "3"], [f64::NAN, f64::INFINITY]),
        (vec!["critics", "0", "params", "3"], [f64::NAN, f64::NEG_INFINITY]),
        (vec!["critics", "0", "optimizer", "m", "0"], [f64::NAN, f64::INFINITY]),
        (vec!["critics", "0", "optimizer", "v", "0"], [f64::NAN, -1.0]),
        (at(&["mean", "0"]), [f64::NAN, f64::INFINITY]),
        (at(&["variance", "1"]), [f64::NAN, -1.0]),
        (at(&["count"]), [f64::NAN, -1.0]),
    ] {
        for number in numbers {
            refuse(&path, crafted(&good, &path, number.into()));
        }
    }
    let steps = ["critics", "0", "optimizer", "steps"];
    refuse(&steps, crafted(&good, &steps, i64::MAX.into()));
    for path in [
        vec!["policy"],
        vec!["critics"],
        vec!["critics", "0", "params"],
        vec!["critics", "0", "optimizer", "m"],
        vec!["critics", "0", "optimizer", "v"],
        at(&["mean"]),
        at(&["variance"]),
    ] {
        refuse(&path, shortened(&good, &path));
    }
    // No variance at all, which used to end in a panic.
    let variance = at(&["variance"]);
    refuse(&variance, crafted(&good, &variance, Value::Array(Vec::new())));
    let without = AgentState { observation_normalizer: None, ..good.clone() };
    refuse(&["no normaliser"], without);

    // What PPO keeps: Adam of the policy, the KL coefficient, the stream of the shuffles.
    let kept: (AdamState, f64, Rng) = good.algorithm.read("ppo").unwrap();
    let mut refuse_of_ppo = |what: &str, optimizer: AdamState, kl_coef: f64| {
        let algorithm = AlgorithmState::new("ppo", &(optimizer, kl_coef, &kept.2)).unwrap();
        refuse(&[what], AgentState { algorithm, ..good.clone() });
    };
    for kl_coef in [f64::NAN, f64::INFINITY, -1.0] {
        refuse_of_ppo("kl_coef", kept.0.clone(), kl_coef);
    }
    for (m, v, steps) in
        [(f32::NAN, 0.0, 1), (0.0, f32::NAN, 1), (0.0, -1.0, 1), (0.0, 0.0, u64::MAX)]
    {
        let mut optimizer = AdamState { steps, ..kept.0.clone() };
        (optimizer.m[2], optimizer.v[2]) = (m, v);
        refuse_of_ppo("optimizer", optimizer, 0.0);
    }
    refuse_of_ppo("no moments", AdamState::new(0), 0.0);
    let other = AlgorithmState::new("trpo", &kept).unwrap();
    refuse(&["another algorithm"], AgentState { algorithm: other, ..good.clone() });
    let cut = AlgorithmState::new("ppo", &kept.0).unwrap();
    refuse(&["half a state"], AgentState { algorithm: cut, ..good.clone() });
    agent.set_state(good).unwrap();
}

/// A [`CollectorState`] as a checkpoint has it, where names don't count: environments (state, stream, length,
/// return and costs of each), observations, reward normaliser (mean, variance, count; returns), stream.
type Written = (Vec<Member>, Vec<f32>, Option<(Statistics, Vec<f64>)>, Vec<Rng>);
type Member = (Vec<f64>, Rng, u32, f64, Vec<f64>);
type Statistics = (Vec<f64>, Vec<f64>, f64);

#[test]
fn a_crafted_state_of_a_collector_is_refused() {
    let (mut agent, mut collector) = start(&ppo(0.99), &small(), "pendulum");
    collector.collect(&mut agent).unwrap();
    let good = collector.state();
    let crafted = |change: &dyn Fn(&mut Written)| -> CollectorState {
        let mut written = postcard::from_bytes(&postcard::to_stdvec(&good).unwrap()).unwrap();
        change(&mut written);
        postcard::from_bytes(&postcard::to_stdvec(&written).unwrap()).unwrap()
    };
    assert_eq!(crafted(&|_| ()), good, "the way of crafting is exact");
    let mut refuse = |what: &str, change: &dyn Fn(&mut Written)| {
        let error = collector.set_state(crafted(change)).expect_err(what);
        assert!(is_refusal(&error), "{what}: {error:?}");
    };
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        refuse("observation", &|state| state.1[4] = bad as f32);
        refuse("environment", &|state| state.0[1].0[0] = bad);
        refuse("return of an episode", &|state| state.0[1].3 = bad);
        refuse("discounted return", &|state| normalizer(state).1[1] = bad);
        refuse("mean", &|state| normalizer(state).0.0[0] = bad);
    }
    for bad in [f64::NAN, f64::INFINITY, -1.0] {
        refuse("variance", &|state| normalizer(state).0.1[0] = bad);
        refuse("count", &|state| normalizer(state).0.2 = bad);
    }
    refuse("length of an episode", &|state| state.0[1].2 = u32::MAX);
    refuse("a cost that there is not", &|state| state.0[1].4.push(0.0));
    refuse("fewer observations", &|state| state.1.truncate(2));
    refuse("fewer streams", &|state| state.3.truncate(2));
    refuse("fewer environments", &|state| state.0.truncate(2));
    refuse("a shorter environment", &|state| state.0[1].0.truncate(1));
    refuse("no mean", &|state| normalizer(state).0.0.clear());
    refuse("no variance", &|state| normalizer(state).0.1.clear());
    refuse("two variances", &|state| normalizer(state).0.1.push(1.0));
    refuse("neither", &|state| normalizer(state).0 = (Vec::new(), Vec::new(), 1.0));
    refuse("fewer discounted returns", &|state| normalizer(state).1.truncate(2));
    refuse("no normaliser", &|state| state.2 = None);
    collector.set_state(good.clone()).unwrap();
    assert_eq!(collector.state(), good);
}

fn normalizer(state: &mut Written) -> &mut (Statistics, Vec<f64>) {
    state.2.as_mut().unwrap()
}
