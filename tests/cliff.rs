//! The theory of policy improvement on the cliff walk, with exact dynamic programming as the judge.
//!
//! The judge solves the task without its limit of 200 steps, as the agents should see it: a
//! truncated episode goes on in the value of its last state. All of it is in f64 and knows nothing
//! of the agents but the probabilities of their actions. Notation: `J` is the discounted return from
//! the start, `d` the discounted visits of a state, `A` an advantage.

use agents::gae::{Trajectory, gae};
use agents::trpo::TrustRegion;
use agents::{
    Agent, AgentState, Batch, Collector, Minibatch, NetworkConfig, Schedule, Signal,
    TrainingConfig, TrpoConfig,
};
use backburn_tests::assert_match;
use backburn_tests::textbook::solve;
use burn::tensor::Device;
use envs::{
    Cliff, CliffParameters, Environment, Environments, Rng, Stream, TaskConfig, VectorEnv, stream,
};
use rand::RngExt;
use std::sync::Arc;

/// States that an episode can be in before it ends: the cells above the cliff, and the start.
const STATES: usize = Cliff::START + 1;
const ACTIONS: usize = 4;

/// A number for each state and action.
type Table = Vec<[f64; ACTIONS]>;

/// A policy with everything about it that can be computed.
struct Solved {
    policy: Table,
    /// `V(s) = sum_a pi(a|s) (r + gamma V(s'))`
    values: Vec<f64>,
    /// `d(s) = [s is the start] + gamma sum_s' d(s') P(s|s')`
    visits: Vec<f64>,
    /// `A(s, a) = r + gamma V(s') - V(s)`
    advantages: Table,
}

impl Solved {
    fn new(policy: Table, gamma: f64) -> Solved {
        let mut transitions = vec![vec![0.0; STATES]; STATES];
        let mut rewards = vec![0.0; STATES];
        for (state, action) in pairs() {
            let (next, reward, terminated) = Cliff::default().transition(state, action);
            rewards[state] += policy[state][action] * reward;
            if !terminated {
                transitions[state][next] += policy[state][action];
            }
        }
        let system = |entry: &dyn Fn(usize, usize) -> f64| -> Vec<Vec<f64>> {
            let row = |i| {
                (0..STATES).map(|j| f64::from(u8::from(i == j)) - gamma * entry(i, j)).collect()
            };
            (0..STATES).map(row).collect()
        };
        let values = solve(system(&|i, j| transitions[i][j]), rewards);
        let mut start = vec![0.0; STATES];
        start[Cliff::START] = 1.0;
        let visits = solve(system(&|i, j| transitions[j][i]), start);
        let mut advantages = vec![[0.0; ACTIONS]; STATES];
        for (state, action) in pairs() {
            let (next, reward, terminated) = Cliff::default().transition(state, action);
            let rest = if terminated { 0.0 } else { gamma * values[next] };
            advantages[state][action] = reward + rest - values[state];
        }
        Solved { policy, values, visits, advantages }
    }

    /// `J = V(start)`
    fn performance(&self) -> f64 {
        self.values[Cliff::START]
    }

    /// `sum_a pi'(a|s) A(s, a)` for each state: what another policy gains in one step.
    fn gains(&self, other: &Table) -> Vec<f64> {
        let gain = |(other, advantages): (&[f64; ACTIONS], &[f64; ACTIONS])| {
            other.iter().zip(advantages).map(|(p, a)| p * a).sum()
        };
        other.iter().zip(&self.advantages).map(gain).collect()
    }

    /// The surrogate `L(pi') - J = sum_s d(s) sum_a pi'(a|s) A(s, a)`, with the old policy's visits.
    fn surrogate(&self, other: &Table) -> f64 {
        self.visits.iter().zip(self.gains(other)).map(|(d, gain)| d * gain).sum()
    }
}

/// Every state with every action.
fn pairs() -> impl Iterator<Item = (usize, usize)> {
    (0..STATES).flat_map(|state| (0..ACTIONS).map(move |action| (state, action)))
}

fn softmax(logits: &[f64; ACTIONS]) -> [f64; ACTIONS] {
    let total: f64 = logits.iter().map(|z| z.exp()).sum();
    logits.map(|z| z.exp() / total)
}

fn softmax_policy(logits: &Table) -> Table {
    logits.iter().map(softmax).collect()
}

fn random_table(scale: f64, rng: &mut Rng) -> Table {
    let mut number = || scale * (2.0 * rng.random::<f64>() - 1.0);
    (0..STATES).map(|_| [number(), number(), number(), number()]).collect()
}

/// `a + factor * b`
fn shifted(a: &Table, factor: f64, b: &Table) -> Table {
    let row = |(a, b): (&[f64; ACTIONS], &[f64; ACTIONS])| {
        std::array::from_fn(|action| a[action] + factor * b[action])
    };
    a.iter().zip(b).map(row).collect()
}

fn one_hot(state: usize) -> [f32; Cliff::CELLS] {
    std::array::from_fn(|cell| f32::from(u8::from(cell == state)))
}

fn observations() -> Vec<f32> {
    (0..STATES).flat_map(one_hot).collect()
}

/// An agent for the cliff walk. Trust region and critic are as `config` says.
fn agent(config: TrpoConfig, hidden: &[usize]) -> Agent {
    let network = NetworkConfig { hidden: hidden.to_vec(), ..NetworkConfig::default() };
    let config = TrainingConfig { network, ..TrainingConfig::new(config) };
    config.agent(&Cliff::default().spec()).unwrap()
}

fn with_policy(mut agent: Agent, params: Vec<f32>) -> Agent {
    agent.set_state(AgentState { policy: params, ..agent.state().unwrap() }).unwrap();
    agent
}

/// Parameters of a policy without hidden layers, which is a table of logits `[cell][action]` and
/// then a bias for each action.
fn table_params(logits: &Table) -> Vec<f32> {
    let mut params: Vec<f32> = logits.iter().flatten().map(|&z| z as f32).collect();
    params.resize(Cliff::CELLS * ACTIONS + ACTIONS, 0.0);
    params
}

/// The probabilities with which an agent acts.
fn policy_of(agent: &Agent) -> Table {
    policy_at(agent, agent.actor().params())
}

/// The probabilities with which an agent would act at these parameters.
fn policy_at(agent: &Agent, params: &[f32]) -> Table {
    let network = agent.actor().policy().network();
    let mut outputs = vec![0.0; STATES * ACTIONS];
    network.forward_plain(params, &observations(), &mut outputs);
    let rows = outputs.chunks_exact(ACTIONS);
    rows.map(|row| softmax(&std::array::from_fn(|action| row[action].into()))).collect()
}

/// Parameters of a policy with these logits and one hidden layer of a unit for each cell: the layer
/// passes the one-hot observation on.
fn one_layer_params(logits: &Table) -> Vec<f32> {
    let mut params = vec![0.0; Cliff::CELLS * Cliff::CELLS + Cliff::CELLS];
    for cell in 0..Cliff::CELLS {
        params[cell * Cliff::CELLS + cell] = 20.0; // tanh(20) is 1
    }
    params.extend(table_params(logits));
    params
}

/// Goes to any side, but never into the cliff. Two in three episodes are truncated, the others end
/// at the goal.
fn wanderer() -> Table {
    let mut logits = vec![[0.0; ACTIONS]; STATES];
    for (state, action) in pairs() {
        if Cliff::default().transition(state, action).1 == CliffParameters::default().fall_reward {
            logits[state][action] = -20.0;
        }
    }
    logits
}

/// Goes up, along the upper edge and down to the goal, and strays in a step of eight.
fn near_greedy() -> Table {
    let mut logits = vec![[0.0; ACTIONS]; STATES];
    for (state, logits) in logits.iter_mut().enumerate() {
        let (row, column) = (state / Cliff::COLUMNS, state % Cliff::COLUMNS);
        let best = match (row, column) {
            (_, 11) => Cliff::DOWN,
            (0, _) => Cliff::RIGHT,
            _ => Cliff::UP,
        };
        logits[best] = 3.0;
    }
    logits
}

/// What a critic has learned, and how often it saw each state.
struct Learned {
    values: Vec<f64>,
    visits: Vec<usize>,
    terminated: usize,
    truncated: usize,
}

/// Fits a critic to what a policy does, by the agent's own iterations, in which the policy stays as
/// it is.
fn fit_critic(hidden: &[usize], policy: Vec<f32>, learning_rate: f64) -> Learned {
    const ITERATIONS: usize = 400;
    let config = TrpoConfig {
        rollout_steps: 128,
        gamma: GAMMA,
        gae_lambda: 0.6,
        critic_learning_rate: Schedule { start: learning_rate, end: 0.0 },
        critic_epochs: 2,
        critic_minibatch_size: 512,
        ..TrpoConfig::default()
    };
    let mut agent = with_policy(agent(config, hidden), policy.clone());
    let entry = Environments::default().get("cliff").unwrap();
    let envs = VectorEnv::new(&entry.task(&TaskConfig::default()).unwrap(), 1, 0, 16);
    let mut collector = Collector::new(envs, &mut agent, false, 1).unwrap();
    let (mut visits, mut terminated, mut truncated) = (vec![0; STATES], 0, 0);
    for iteration in 0..ITERATIONS {
        collector.collect(&mut agent).unwrap();
        let batch = collector.batch(&agent).unwrap();
        for row in batch.observations.chunks_exact(Cliff::CELLS) {
            visits[row.iter().position(|&x| x == 1.0).unwrap()] += 1;
        }
        terminated += batch.terminated.iter().filter(|&&ended| ended).count();
        truncated += batch.truncated.iter().filter(|&&ended| ended).count();
        agent.update_critics(batch, iteration as f64 / ITERATIONS as f64).unwrap();
    }
    assert_eq!(agent.actor().params(), policy, "the policy moved");
    let mut values = vec![0.0; STATES];
    agent.critics()[0].values(&observations(), &mut values);
    let values = values.into_iter().map(f64::from).collect();
    Learned { values, visits, terminated, truncated }
}

/// Compares a critic with the exact values in the states of at least 1% of the steps. The worst may
/// be off by `worst`, their mean square (by visits) by the square of `typical`.
fn check_critic(learned: &Learned, exact: &[f64], typical: f64, worst: f64) {
    let steps: usize = learned.visits.iter().sum();
    let (mut seen, mut square) = (0, 0.0);
    let states = learned.values.iter().zip(exact).zip(&learned.visits).enumerate();
    for (state, ((found, expected), &visits)) in states.filter(|(_, (_, v))| 100 * **v >= steps) {
        let error = (found - expected).abs();
        assert!(
            error <= worst,
            "cell {state}: the critic has {found:.2}, the policy's value is {expected:.2}; \
             {} episodes were truncated, {} terminated",
            learned.truncated,
            learned.terminated
        );
        seen += visits;
        square += visits as f64 * error * error;
    }
    let error = (square / seen as f64).sqrt();
    assert!(error <= typical, "the critic is off by {error:.2} (root mean square)");
}

/// Discount of the critics' task.
const GAMMA: f64 = 0.99;

fn exact_values(logits: &Table) -> Vec<f64> {
    Solved::new(softmax_policy(logits), GAMMA).values
}

/// The values of the wanderer reach from -90 to -34. They would be -65 at the start if a truncated
/// step were taken for a terminated one, and nearly -90 everywhere if a terminated one were not.
#[test]
fn a_tabular_critic_learns_the_values_of_a_policy_that_is_mostly_truncated() {
    let learned = fit_critic(&[], table_params(&wanderer()), 4.0);
    assert!(learned.truncated > 2000 && learned.terminated > 500);
    check_critic(&learned, &exact_values(&wanderer()), 2.0, 4.0);
}

#[test]
fn an_mlp_critic_learns_the_values_of_a_policy_that_is_mostly_truncated() {
    let learned = fit_critic(&[Cliff::CELLS], one_layer_params(&wanderer()), 0.03);
    assert!(learned.truncated > 2000 && learned.terminated > 500);
    check_critic(&learned, &exact_values(&wanderer()), 2.0, 4.0);
}

/// The values of the near-greedy policy reach from -25 to -2.
#[test]
fn a_tabular_critic_learns_the_values_of_a_policy_that_reaches_the_goal() {
    let learned = fit_critic(&[], table_params(&near_greedy()), 1.0);
    check_critic(&learned, &exact_values(&near_greedy()), 0.5, 1.5);
}

#[test]
fn an_mlp_critic_learns_the_values_of_a_policy_that_reaches_the_goal() {
    let learned = fit_critic(&[Cliff::CELLS], one_layer_params(&near_greedy()), 0.01);
    check_critic(&learned, &exact_values(&near_greedy()), 0.5, 1.5);
}

/// Largest magnitude.
fn largest(numbers: &[f64]) -> f64 {
    numbers.iter().fold(0.0, |largest, x| x.abs().max(largest))
}

/// `J(pi') = J(pi) + sum_s d_pi'(s) sum_a pi'(a|s) A_pi(s, a)` (Kakade and Langford 2002, lemma 6.1;
/// Schulman et al. 2015, equation 1).
#[test]
fn the_performance_difference_lemma() {
    let mut rng = stream(1, Stream::Sampling(0));
    for gamma in [0.5, 0.9, 0.99] {
        for case in 0..20 {
            let mut policy = || Solved::new(softmax_policy(&random_table(2.0, &mut rng)), gamma);
            let (old, new) = (policy(), policy());
            let gained: f64 =
                new.visits.iter().zip(old.gains(&new.policy)).map(|(d, g)| d * g).sum();
            let (found, expected) = (old.performance() + gained, new.performance());
            assert!(
                (found - expected).abs() <= 1e-9,
                "gamma {gamma}, case {case}: {found} by the lemma, {expected} by the values"
            );
        }
    }
}

/// The advantages that the agents compute, fed with exact values, are the exact ones, so that the
/// lemma holds for them too. Each state and action is a rollout of one step.
#[test]
fn the_lemma_holds_for_the_advantages_that_agents_compute() {
    let mut rng = stream(2, Stream::Sampling(0));
    for lambda in [0.0, 0.95] {
        let mut policy = || Solved::new(softmax_policy(&random_table(2.0, &mut rng)), GAMMA);
        let (old, new) = (policy(), policy());
        let steps: Vec<_> = pairs().map(|(s, a)| (s, Cliff::default().transition(s, a))).collect();
        let terminated: Vec<bool> = steps.iter().map(|(_, (_, _, ended))| *ended).collect();
        // At the goal stands what must not be read.
        let value = |cell: usize| old.values.get(cell).map_or(1e9, |&value| value as f32);
        let trajectory = Trajectory {
            rewards: &steps.iter().map(|(_, (_, reward, _))| *reward as f32).collect::<Vec<_>>(),
            values: &steps.iter().map(|(state, _)| value(*state)).collect::<Vec<_>>(),
            next_values: &steps.iter().map(|(_, (next, ..))| value(*next)).collect::<Vec<_>>(),
            truncated: &terminated.iter().map(|ended| !ended).collect::<Vec<_>>(),
            terminated: &terminated,
            num_envs: steps.len(),
        };
        let mut advantages = vec![0.0; steps.len()];
        gae(&trajectory, GAMMA, lambda, &mut advantages);
        let gained: f64 = pairs()
            .zip(&advantages)
            .map(|((s, a), &advantage)| new.visits[s] * new.policy[s][a] * f64::from(advantage))
            .sum();
        let found = old.performance() + gained;
        assert_match(&[found], &[new.performance()], 1e-5, format!("J, lambda {lambda}"));
    }
}

/// Exact gradient of `J` by the logits: `d(s) pi(a|s) A(s, a)` (the policy gradient theorem).
fn policy_gradient(solved: &Solved) -> Table {
    let row = |s: usize| {
        std::array::from_fn(|a| solved.visits[s] * solved.policy[s][a] * solved.advantages[s][a])
    };
    (0..STATES).map(row).collect()
}

/// Surrogate and true return have the same value and the same gradient at the old policy, and part
/// in the second order (Schulman et al. 2015, equation 4).
#[test]
fn the_surrogate_touches_the_return_with_equal_gradient() {
    let mut rng = stream(3, Stream::Sampling(0));
    for gamma in [0.9, 0.99] {
        let logits = random_table(1.0, &mut rng);
        let old = Solved::new(softmax_policy(&logits), gamma);
        let gain = |moved: &Table| {
            let policy = softmax_policy(moved);
            (
                Solved::new(policy.clone(), gamma).performance() - old.performance(),
                old.surrogate(&policy),
            )
        };
        assert!(old.surrogate(&old.policy).abs() <= 1e-9, "gamma {gamma}: they touch");

        let exact = policy_gradient(&old).concat();
        let tolerance = 1e-6 * largest(&exact);
        for (index, (state, action)) in pairs().enumerate() {
            const STEP: f64 = 1e-4;
            let mut unit = vec![[0.0; ACTIONS]; STATES];
            unit[state][action] = STEP;
            let (ahead, behind) =
                (gain(&shifted(&logits, 1.0, &unit)), gain(&shifted(&logits, -1.0, &unit)));
            for (what, slope) in [
                ("return", (ahead.0 - behind.0) / (2.0 * STEP)),
                ("surrogate", (ahead.1 - behind.1) / (2.0 * STEP)),
            ] {
                assert!(
                    (slope - exact[index]).abs() <= tolerance,
                    "gamma {gamma}, cell {state}, action {action}: the {what} has slope {slope}, \
                     the policy gradient is {}",
                    exact[index]
                );
            }
        }

        let direction = random_table(1.0, &mut rng);
        let apart = |size: f64| {
            let (gained, surrogate) = gain(&shifted(&logits, size, &direction));
            gained - surrogate
        };
        let ratio = apart(2e-3) / apart(1e-3);
        assert!((ratio - 4.0).abs() < 0.1, "gamma {gamma}: twice the step, {ratio} times as far");
    }
}

/// A batch of every state with every action, weighted so that the mean of the weighted advantages is
/// the exact surrogate: what a rollout without end would give.
fn exact_batch(agent: &Agent, solved: &Solved) -> Batch {
    let size = STATES * ACTIONS;
    let weights = policy_gradient(solved).concat();
    let observations: Vec<f32> = pairs().flat_map(|(state, _)| one_hot(state)).collect();
    let mut outputs = vec![0.0; size * ACTIONS];
    agent.actor().outputs(&observations, &mut outputs);
    Batch {
        num_envs: 1,
        outputs,
        observations,
        actions: pairs().map(|(_, action)| action as f32).collect(),
        log_probs: pairs().map(|(s, a)| solved.policy[s][a].ln() as f32).collect(),
        terminated: vec![false; size],
        truncated: vec![false; size],
        signals: vec![Signal {
            advantages: weights.iter().map(|weight| (size as f64 * weight) as f32).collect(),
            rewards: vec![0.0; size],
            values: vec![0.0; size],
            next_values: vec![0.0; size],
            returns: vec![0.0; size],
            episode_sum: None,
        }],
        reward_scale: 1.0,
        episode_length: None,
    }
}

fn upload(batch: &Batch) -> Minibatch {
    Minibatch::upload(batch, &batch.reward().advantages, &Device::flex())
}

/// An agent with a random policy, far from uniform.
fn random_agent(config: TrpoConfig, hidden: &[usize], rng: &mut Rng) -> Agent {
    let agent = agent(config, hidden);
    let params = agent.actor().params().iter().map(|p| p + rng.random::<f32>() - 0.5).collect();
    with_policy(agent, params)
}

#[test]
fn the_sampled_surrogate_has_the_exact_gradient() {
    let mut rng = stream(4, Stream::Sampling(0));
    for (hidden, gamma) in [(&[] as &[usize], 0.99), (&[16], 0.9), (&[8, 8], 0.99)] {
        let agent = random_agent(TrpoConfig::default(), hidden, &mut rng);
        let params = agent.actor().params().to_vec();
        let old = Solved::new(policy_of(&agent), gamma);
        let batch = exact_batch(&agent, &old);
        let minibatch = upload(&batch);
        let region = TrustRegion::new(
            agent.actor().policy(),
            &params,
            &minibatch,
            0.0,
            0.0,
            &Arc::default(),
        );
        let (surrogate, gradient) = region.gradient().unwrap();
        let scale = largest(&policy_gradient(&old).concat());
        let place = |what: &str| format!("hidden {hidden:?}: {what}");
        assert!(surrogate.abs() <= 1e-5 * scale, "{}", place("the surrogate is 0"));

        if hidden.is_empty() {
            let mut exact = vec![0.0; params.len()];
            for ((s, a), weight) in pairs().zip(policy_gradient(&old).concat()) {
                exact[s * ACTIONS + a] = weight / scale;
                exact[Cliff::CELLS * ACTIONS + a] += weight / scale;
            }
            let found: Vec<f64> = gradient.iter().map(|g| g / scale).collect();
            assert_match(&found, &exact, 1e-5, place("gradient over its largest"));
        }

        // Along any direction the true return has the slope that the gradient says.
        let norm = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
        let uphill: Vec<f64> = gradient.iter().map(|g| g / norm).collect();
        let random: Vec<f64> = params.iter().map(|_| rng.random::<f64>() - 0.5).collect();
        for (what, direction) in [("uphill", uphill), ("at random", random)] {
            const STEP: f64 = 3e-3;
            let performance = |size: f64| {
                let moved = agents::trpo::moved(&params, &direction, size);
                let policy = policy_at(&agent, &moved);
                Solved::new(policy, gamma).performance()
            };
            let slope = (performance(STEP) - performance(-STEP)) / (2.0 * STEP);
            let expected: f64 = gradient.iter().zip(&direction).map(|(g, d)| g * d).sum();
            assert!(
                (slope - expected).abs() <= 2e-3 * norm,
                "{}: the return has slope {slope}, the gradient says {expected}",
                place(what)
            );
        }

        // Away from the old policy the sampled surrogate is the exact one.
        let moved: Vec<f32> =
            params.iter().map(|p| p + 0.4 * (rng.random::<f32>() - 0.5)).collect();
        let policy = policy_at(&agent, &moved);
        let found = region.at(&moved).unwrap().surrogate;
        let expected = old.surrogate(&policy);
        assert!(
            (found - expected).abs() <= 1e-5 * scale.max(expected.abs()),
            "{}: sampled {found}, exact {expected}",
            place("surrogate elsewhere")
        );
    }
}

/// With exact advantages a small trust-region step gains what the surrogate promises.
#[test]
fn a_trust_region_step_improves_the_true_return() {
    let mut rng = stream(5, Stream::Sampling(0));
    for hidden in [&[] as &[usize], &[16]] {
        let config = TrpoConfig {
            max_kl: Schedule::constant(1e-6),
            normalize_advantages: false,
            ..TrpoConfig::default()
        };
        let mut agent = random_agent(config, hidden, &mut rng);
        let old = Solved::new(policy_of(&agent), 0.9);
        let metrics = agent.update(&exact_batch(&agent, &old), 0.0).unwrap();
        let get = |name: &str| metrics.get(name).unwrap_or_else(|| panic!("{name}: {metrics:?}"));
        let is_accepted = get("train/accepted") == 1.0;
        assert!(is_accepted && get("train/kl") <= 1e-6, "hidden {hidden:?}: {metrics:?}");
        let gained = Solved::new(policy_of(&agent), 0.9).performance() - old.performance();
        let promised = -get("train/policy_loss");
        assert!(
            gained > 0.0 && (gained / promised - 1.0).abs() < 0.1,
            "hidden {hidden:?}: the return gained {gained}, the surrogate {promised}"
        );
    }
}

/// A conservative policy iteration `(1 - alpha) pi + alpha pi*`, with `pi*` greedy in the advantages
/// of `pi`, improves by at least
///
/// ```text
/// alpha G - 2 alpha^2 gamma epsilon / ((1 - gamma) (1 - gamma (1 - alpha)))
/// G = sum_s d(s) g(s),   epsilon = max_s |g(s)|,   g(s) = sum_a pi*(a|s) A(s, a)
/// ```
///
/// This is theorem 4.1 of Kakade and Langford, "Approximately Optimal Approximate Reinforcement
/// Learning" (2002), times `1 / (1 - gamma)`, because their returns and visits are normalised. It
/// implies equation 6 of Schulman et al. (2015), where `(1 - gamma)^2` stands below. `alpha G` is the
/// surrogate of the mixture, which the agents compute too.
#[test]
fn a_conservative_mixture_improves_as_its_bound_says() {
    let mut rng = stream(6, Stream::Sampling(0));
    for gamma in [0.8, 0.9, 0.99] {
        let agent = random_agent(TrpoConfig::default(), &[], &mut rng);
        let old = Solved::new(policy_of(&agent), gamma);
        let batch = exact_batch(&agent, &old);
        let minibatch = upload(&batch);
        let region = TrustRegion::new(
            agent.actor().policy(),
            agent.actor().params(),
            &minibatch,
            0.0,
            0.0,
            &Arc::default(),
        );

        let greedy: Table = old
            .advantages
            .iter()
            .map(|row| {
                let best = (0..ACTIONS).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap();
                std::array::from_fn(|action| f64::from(u8::from(action == best)))
            })
            .collect();
        let gains = old.gains(&greedy);
        let (gain, epsilon) = (old.surrogate(&greedy), largest(&gains));
        let mut promised = 0;
        for alpha in [1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.03, 0.1, 0.3, 0.6, 0.9] {
            let place = format!("gamma {gamma}, alpha {alpha}");
            let mixture: Table = old
                .policy
                .iter()
                .zip(&greedy)
                .map(|(old, greedy)| {
                    std::array::from_fn(|a| (1.0 - alpha) * old[a] + alpha * greedy[a])
                })
                .collect();
            let improvement = Solved::new(mixture.clone(), gamma).performance() - old.performance();
            let penalty = 2.0 * alpha * alpha * gamma * epsilon
                / ((1.0 - gamma) * (1.0 - gamma * (1.0 - alpha)));
            let bound = alpha * gain - penalty;
            assert!(
                improvement >= bound - 1e-9,
                "{place}: improved by {improvement}, the bound says {bound}"
            );
            if bound > 0.0 {
                promised += 1;
                assert!(improvement > 0.0, "{place}: {improvement}");
            }
            if alpha <= 1e-5 {
                let ratio = improvement / (alpha * gain);
                assert!((ratio - 1.0).abs() < 0.01, "{place}: {ratio} times the surrogate");
            }

            let logits: Table = mixture.iter().map(|row| row.map(f64::ln)).collect();
            let found = region.at(&table_params(&logits)).unwrap().surrogate;
            let tolerance = 1e-4 * alpha * gain + 1e-6 * largest(&policy_gradient(&old).concat());
            assert!(
                (found - alpha * gain).abs() <= tolerance,
                "{place}: the agents' surrogate is {found}, the exact one {}",
                alpha * gain
            );
        }
        assert!(promised >= 2, "gamma {gamma}: the bound promises nothing");
    }
}
