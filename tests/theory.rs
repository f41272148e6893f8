//! The worked numbers and the identities of the theory (`docs/theory.md`), one test each: rewards,
//! returns, advantages, PPO's objectives, and the density of a squashed action.

use agents::adam::AdamState;
use agents::gae::{Trajectory, gae};
use agents::minibatch::Target;
use agents::ops::{self, Surrogate, SurrogateLoss};
use agents::policy::Policy;
use agents::ppo::adapted;
use agents::{
    Agent, AgentState, Collector, KlPenalty, Minibatch, NetworkConfig, PolicyMetrics, PpoConfig,
    Schedule, TrainingConfig, TrpoConfig,
};
use backburn_tests::textbook::{self, PolicyLoss, discounted_returns, gradient, k_step_returns};
use backburn_tests::{assert_match, numbers, rows};
use burn::tensor::{Device, Tensor};
use envs::{Environments, Reach, Rng, Space, Spec, Stream, TaskConfig, VectorEnv, stream};
use rand::RngExt;
use rand_distr::StandardNormal;

#[test]
fn reward_of_the_reaching_task() {
    let arm = Reach::default();
    assert_match(&[arm.reward(0.20, 3.0, false)], &[-0.23], 1e-12, "no grasp");
    assert_match(&[arm.reward(0.04, 1.0, true)], &[9.95], 1e-12, "grasp");
}

/// An episode of one environment that terminates with its last reward.
fn finished_episode(rewards: &[f32], gamma: f64) -> Vec<f64> {
    let steps = rewards.len();
    let mut terminated = vec![false; steps];
    terminated[steps - 1] = true;
    let trajectory = Trajectory {
        rewards,
        // A Monte-Carlo return reads no value.
        values: &vec![f32::NAN; steps],
        next_values: &vec![f32::NAN; steps],
        terminated: &terminated,
        truncated: &vec![false; steps],
        num_envs: 1,
    };
    discounted_returns(&trajectory, gamma)
}

#[test]
fn discounted_returns_of_two_episodes() {
    let returns = finished_episode(&[-1.0, -1.0, 10.0], 0.9);
    assert_match(&returns, &[6.2, 8.0, 10.0], 1e-12, "gamma 0.9");
    let returns = finished_episode(&[-0.20, -0.15, -0.08, 9.95], 0.99);
    assert_match(&returns[..1], &[9.23], 0.005, "gamma 0.99, two decimals");
    assert_match(&returns[..1], &[9.227_567_05], 1e-7, "gamma 0.99");
}

#[test]
fn a_truncated_return_keeps_the_value_of_its_last_state_and_a_terminated_one_loses_it() {
    let mut trajectory = Trajectory {
        rewards: &[1.0],
        values: &[0.5],
        next_values: &[7.0],
        terminated: &[false],
        truncated: &[true],
        num_envs: 1,
    };
    assert_match(&discounted_returns(&trajectory, 0.5), &[4.5], 1e-12, "truncated");
    trajectory.terminated = &[true];
    assert_match(&discounted_returns(&trajectory, 0.5), &[1.0], 1e-12, "terminated");
}

#[test]
fn k_steps_bootstrap_after_k_rewards() {
    let trajectory = Trajectory {
        rewards: &[1.0, 2.0, 4.0],
        values: &[0.0, 10.0, 20.0],
        next_values: &[10.0, 20.0, 30.0],
        terminated: &[false; 3],
        truncated: &[false; 3],
        num_envs: 1,
    };
    let two = k_step_returns(&trajectory, 0.5, 2);
    assert_eq!(two[0], 1.0 + 0.5 * 2.0 + 0.25 * 20.0);
    // The rollout ends: one reward, then the value.
    assert_eq!(two[2], 4.0 + 0.5 * 30.0);
}

#[test]
fn residual_of_one_step() {
    let trajectory = Trajectory {
        rewards: &[-0.08],
        values: &[5.0],
        next_values: &[6.0],
        terminated: &[false],
        truncated: &[false],
        num_envs: 1,
    };
    assert_match(&[trajectory.residual(0, 0.99)], &[0.86], 1e-7, "the next state has its value");
    let ended = Trajectory { terminated: &[true], ..trajectory };
    assert_match(&[ended.residual(0, 0.99)], &[-5.08], 1e-7, "a terminal state is worth 0");
    let cut = Trajectory { truncated: &[true], ..trajectory };
    assert_match(&[cut.residual(0, 0.99)], &[0.86], 1e-7, "a truncated step keeps its value");
}

/// A rollout with random rewards and values, in which episodes end in both ways.
struct Rollout {
    rewards: Vec<f32>,
    values: Vec<f32>,
    next_values: Vec<f32>,
    terminated: Vec<bool>,
    truncated: Vec<bool>,
}

const NUM_ENVS: usize = 3;
const STEPS: usize = 40;
const GAMMA: f64 = 0.97;

impl Rollout {
    fn random(seed: u64) -> Rollout {
        let mut rng = stream(seed, Stream::Sampling(0));
        let size = NUM_ENVS * STEPS;
        let mut numbers =
            |size: usize| (0..size).map(|_| 4.0 * rng.random::<f32>() - 2.0).collect::<Vec<_>>();
        let (rewards, values) = (numbers(size), numbers(size));
        // The value of the next row, unless that is of another episode or behind the rollout.
        let (mut next_values, behind) = (values[NUM_ENVS..].to_vec(), numbers(NUM_ENVS));
        next_values.extend(behind);
        let terminated: Vec<bool> = (0..size).map(|_| rng.random_bool(0.06)).collect();
        let truncated: Vec<bool> = (0..size).map(|_| rng.random_bool(0.06)).collect();
        for i in 0..size {
            if truncated[i] {
                next_values[i] = 4.0 * rng.random::<f32>() - 2.0;
            }
            if terminated[i] {
                next_values[i] = 1e6; // must not be read
            }
        }
        let both = (0..size).any(|i| terminated[i] && truncated[i]);
        assert!(both || seed > 0, "the first rollout has a step that ends an episode in both ways");
        Rollout { rewards, values, next_values, terminated, truncated }
    }

    fn trajectory(&self) -> Trajectory<'_> {
        Trajectory {
            rewards: &self.rewards,
            values: &self.values,
            next_values: &self.next_values,
            terminated: &self.terminated,
            truncated: &self.truncated,
            num_envs: NUM_ENVS,
        }
    }

    /// Entry `start` and those after it, to the end of its episode or of the rollout.
    fn rest_of_episode(&self, start: usize) -> Vec<usize> {
        let mut rest = Vec::new();
        for i in (start..self.rewards.len()).step_by(NUM_ENVS) {
            rest.push(i);
            if self.terminated[i] || self.truncated[i] {
                break;
            }
        }
        rest
    }

    /// `V` of the state that entry `i` leads to.
    fn next_value(&self, i: usize) -> f64 {
        if self.terminated[i] { 0.0 } else { self.next_values[i].into() }
    }

    fn residual(&self, i: usize) -> f64 {
        f64::from(self.rewards[i]) + GAMMA * self.next_value(i) - f64::from(self.values[i])
    }

    /// Generalised advantages.
    fn gae(&self, lambda: f64) -> Vec<f64> {
        let mut advantages = vec![f32::NAN; self.rewards.len()];
        gae(&self.trajectory(), GAMMA, lambda, &mut advantages);
        advantages.into_iter().map(f64::from).collect()
    }

    /// K-step advantages.
    fn k_step(&self, k: usize) -> Vec<f64> {
        let returns = k_step_returns(&self.trajectory(), GAMMA, k);
        returns.iter().zip(&self.values).map(|(g, &v)| g - f64::from(v)).collect()
    }

    /// The same formula for each entry.
    fn each(&self, formula: impl Fn(usize) -> f64) -> Vec<f64> {
        (0..self.rewards.len()).map(formula).collect()
    }
}

/// `gae` writes f32.
const ROUNDING: f64 = 1e-6;

#[test]
fn gae_at_lambda_0_is_the_residual() {
    for seed in 0..5 {
        let rollout = Rollout::random(seed);
        let expected = rollout.each(|i| rollout.residual(i));
        assert_match(&rollout.gae(0.0), &expected, ROUNDING, format!("rollout {seed}"));
    }
}

#[test]
fn gae_at_lambda_1_is_the_return_minus_the_value() {
    for seed in 0..5 {
        let rollout = Rollout::random(seed);
        let monte_carlo = rollout.each(|start| {
            let rest = rollout.rest_of_episode(start);
            let mut total = 0.0;
            for (k, &i) in rest.iter().enumerate() {
                total += GAMMA.powi(k as i32) * f64::from(rollout.rewards[i]);
            }
            total + GAMMA.powi(rest.len() as i32) * rollout.next_value(rest[rest.len() - 1])
        });
        let place = |what| format!("rollout {seed}: {what}");
        let returns = discounted_returns(&rollout.trajectory(), GAMMA);
        assert_match(&returns, &monte_carlo, 1e-12, place("discounted_returns"));
        let expected = rollout.each(|i| monte_carlo[i] - f64::from(rollout.values[i]));
        assert_match(&rollout.gae(1.0), &expected, ROUNDING, place("gae"));
    }
}

#[test]
fn k_step_advantages_are_sums_of_discounted_residuals() {
    for seed in 0..5 {
        let rollout = Rollout::random(seed);
        for k in [1, 2, 3, 7, STEPS] {
            let expected = rollout.each(|start| {
                let residuals = rollout.rest_of_episode(start).into_iter().take(k).enumerate();
                residuals.map(|(l, i)| GAMMA.powi(l as i32) * rollout.residual(i)).sum()
            });
            assert_match(&rollout.k_step(k), &expected, 1e-12, format!("rollout {seed}, k {k}"));
        }
    }
}

#[test]
fn gae_is_the_weighted_mean_of_the_k_step_advantages() {
    for seed in 0..5 {
        let rollout = Rollout::random(seed);
        for lambda in [0.3_f64, 0.9, 0.95] {
            // From k = STEPS on they are all the same, and share the weight that is left.
            let mut expected = rollout.each(|_| 0.0);
            for k in 1..=STEPS {
                let share = if k < STEPS { 1.0 - lambda } else { 1.0 };
                let weight = share * lambda.powi(k as i32 - 1);
                expected.iter_mut().zip(rollout.k_step(k)).for_each(|(e, a)| *e += weight * a);
            }
            let place = format!("rollout {seed}, lambda {lambda}");
            assert_match(&rollout.gae(lambda), &expected, ROUNDING, place);
        }
    }
}

fn column(values: &[f32]) -> Tensor<2> {
    rows(values, 1, &Device::flex())
}

/// A minibatch of one observed number, 0, for each action; what is not given is 0.
fn minibatch(policy: &Policy, actions: &[f32], outputs: Tensor<2>) -> Minibatch {
    let zeros = || column(&vec![0.0; actions.len() / policy.action_width()]);
    Minibatch {
        observations: zeros(),
        actions: rows(actions, policy.action_width(), &Device::flex()),
        log_probs: zeros(),
        outputs,
        advantages: zeros(),
        targets: vec![Target { returns: zeros(), values: zeros() }],
    }
}

/// The loss of a single sample with two choices, where the choice that was made had probability 0.2
/// when it was made, and has another now: the library's with its gradient, and the textbook's.
fn loss_of_a_choice(
    now: f32,
    advantage: f32,
    surrogate: Surrogate,
) -> ((SurrogateLoss, Vec<f64>), (PolicyLoss, Vec<f64>)) {
    let network = NetworkConfig { hidden: Vec::new(), ..NetworkConfig::default() };
    let observation_space = Space::symmetric_box(1, 1.0);
    let policy = Policy::new(&observation_space, &Space::Discrete { n: 2 }, &network).unwrap();
    // The observation is 0, so that the biases are the logits.
    let params =
        |p: f32| Tensor::<1>::from_floats([0.0, 0.0, p.ln(), (1.0 - p).ln()], &Device::flex());
    let (now, old) = (params(now), params(0.2));
    let outputs = policy.outputs(&old, column(&[0.0]));
    let minibatch = Minibatch {
        log_probs: column(&[0.2_f32.ln()]),
        advantages: column(&[advantage]),
        ..minibatch(&policy, &[0.0], outputs.clone())
    };
    let forward = policy.forward(&now, &minibatch.observations);
    let found = policy.loss(&forward, &old, &minibatch, surrogate, 0.0);
    let found_gradient = numbers(policy.backward(&forward, found.clone()));

    let leaf = now.autodiff().require_grad();
    let new = policy.distribution(&leaf, minibatch.observations.clone());
    let old = policy.distribution_of(outputs, &old);
    let loss = textbook::policy_loss(&new, &old, &minibatch, surrogate, 0.0, None);
    let expected = numbers(gradient(&leaf, loss.loss.clone()));
    ((found, found_gradient), (loss, expected))
}

fn metrics(loss: &SurrogateLoss) -> PolicyMetrics {
    PolicyMetrics::read(loss.metrics.clone()).unwrap()
}

#[test]
fn the_clip_takes_the_smaller_objective() {
    let check = |now: f32, advantage: f32, expected: f64, clipped: bool| {
        let ((found, found_gradient), (loss, gradient)) =
            loss_of_a_choice(now, advantage, Surrogate::Clipped { range: 0.2 });
        let place = |what| format!("{what} at ratio {}, advantage {advantage}", now / 0.2);
        assert_match(&numbers(loss.objective), &[expected], 1e-6, place("objective"));
        assert_match(&numbers(loss.loss.inner()), &[-expected], 1e-6, place("loss"));
        assert_match(&numbers(loss.clip_fraction), &[1.0], 0.0, place("clip fraction"));
        assert_match(&[metrics(&found).policy_loss], &[-expected], 1e-6, place("policy loss"));
        assert_match(&[metrics(&found).clip_fraction], &[1.0], 0.0, place("clip fraction"));
        // Where the clipped side counts there is no incentive left; elsewhere the ratio's derivative
        // by its logit is ratio (1 - p).
        let slope = if clipped { 0.0 } else { -expected * (1.0 - f64::from(now)) };
        let expected = [0.0, 0.0, slope, -slope];
        assert_match(&gradient, &expected, 1e-6, place("gradient by autodiff"));
        assert_match(&found_gradient, &expected, 1e-6, place("gradient"));
    };
    check(0.30, 2.0, 2.4, true);
    check(0.05, -2.0, -1.6, true);
    // The other way round the change is a mistake, which must stay correctable.
    check(0.30, -2.0, -3.0, false);
    check(0.05, 2.0, 0.5, false);
}

#[test]
fn the_kl_penalty_is_subtracted_from_the_objective() {
    let ((found, _), (loss, _)) = loss_of_a_choice(0.3, 2.0, Surrogate::Penalized { coef: 5.0 });
    let found = metrics(&found);
    let kl = 0.2 * (0.2_f64 / 0.3).ln() + 0.8 * (0.8_f64 / 0.7).ln();
    assert_match(&[numbers(loss.kl)[0], found.kl], &[kl; 2], 1e-6, "KL(old, new)");
    let objective = [numbers(loss.objective)[0], -found.policy_loss];
    assert_match(&objective, &[3.0 - 5.0 * kl; 2], 1e-5, "objective");
    let ratio: f64 = 1.5;
    let approx_kl = [numbers(loss.approx_kl)[0], found.approx_kl];
    assert_match(&approx_kl, &[ratio - 1.0 - ratio.ln(); 2], 1e-6, "approximate KL");
}

#[test]
fn the_kl_coefficient_follows_the_target() {
    let found = [0.0151, 0.0149, 0.01, 0.0067, 0.0066].map(|kl| adapted(3.0, kl, 0.01));
    assert_eq!(found, [6.0, 3.0, 3.0, 3.0, 1.5], "borders at 1.5 times the target, and 1/1.5");
}

/// Updates of PPO with a KL penalty, of so many epochs of minibatches of this size. The coefficient is
/// steered by the exact KL of the whole batch after the last step, as the textbook computes it.
fn coefs_under_a_penalty(epochs: usize, minibatch_size: usize, rate: f64) -> Vec<f64> {
    let penalty = KlPenalty { target: 0.01, initial_coef: 4.0 };
    let config = TrainingConfig::new(PpoConfig {
        rollout_steps: 64,
        epochs,
        minibatch_size,
        learning_rate: Schedule::constant(rate),
        kl_penalty: Some(penalty),
        ..PpoConfig::default()
    });
    let network = NetworkConfig { hidden: vec![8], ..NetworkConfig::default() };
    let entry = Environments::default().get("cartpole").unwrap();
    let envs = VectorEnv::new(&entry.task(&TaskConfig::default()).unwrap(), 1, 0, 2);
    let mut agent = TrainingConfig { network, ..config }.agent(envs.spec()).unwrap();
    let mut collector = Collector::new(envs, &mut agent, false, 1).unwrap();
    let mut coefs = vec![penalty.initial_coef];
    for iteration in 0..4 {
        collector.collect(&mut agent).unwrap();
        let batch = collector.batch(&agent).unwrap().clone();
        let policy_at = |agent: &Agent| {
            let params = Tensor::<1>::from_floats(agent.actor().params(), &Device::flex());
            let observations = rows(&batch.observations, 4, &Device::flex());
            agent.actor().policy().distribution(&params, observations)
        };
        let old = policy_at(&agent);
        let metrics = agent.update(&batch, 0.0).unwrap();
        let get = |name: &str| metrics.get(name).unwrap_or_else(|| panic!("{name}: {metrics:?}"));
        let kl = get("train/kl_after_update");
        let place = format!("iteration {iteration}, {epochs} epochs of {minibatch_size}");
        let expected = numbers(old.kl(&policy_at(&agent)).mean());
        assert_match(&[kl], &expected, 1e-7, format!("KL after the update, {place}"));
        let coef = coefs[iteration];
        assert_eq!(get("train/kl_coef"), coef, "in force in {place}");
        if epochs == 1 && minibatch_size == batch.len() {
            assert!(
                get("train/kl").abs() < 1e-7,
                "before the only step nothing has moved, {place}"
            );
        }
        let next = adapted(coef, kl, penalty.target);
        let state: (AdamState, f64, Rng) = agent.state().unwrap().algorithm.read("ppo").unwrap();
        assert_eq!(state.1, next, "after {place}, KL {kl}");
        coefs.push(next);
    }
    coefs
}

#[test]
fn ppo_adapts_the_kl_coefficient_after_each_update() {
    let coefs = coefs_under_a_penalty(10, 64, 3e-4);
    assert!(coefs.iter().any(|coef| *coef != coefs[0]), "no update was far from the target");
}

/// The KL of a minibatch before its own step would be 0 here, and halve the coefficient for ever.
#[test]
fn a_single_step_steers_the_kl_coefficient_by_where_it_led_to() {
    let coefs = coefs_under_a_penalty(1, 128, 0.1);
    assert_eq!(coefs[..2], [4.0, 8.0], "the first step went far: {coefs:?}");
}

/// The first step moves the policy far, which the second minibatch sees before its own step.
#[test]
fn an_early_stop_leaves_out_the_step_of_the_minibatch_that_it_looked_at() {
    let updated = |epochs, target_kl| {
        let config = TrainingConfig::new(PpoConfig {
            rollout_steps: 64,
            epochs,
            minibatch_size: 128,
            learning_rate: Schedule::constant(0.1),
            target_kl,
            ..PpoConfig::default()
        });
        let entry = Environments::default().get("cartpole").unwrap();
        let envs = VectorEnv::new(&entry.task(&TaskConfig::default()).unwrap(), 1, 0, 2);
        let mut agent = config.agent(envs.spec()).unwrap();
        let mut collector = Collector::new(envs, &mut agent, false, 1).unwrap();
        collector.collect(&mut agent).unwrap();
        let batch = collector.batch(&agent).unwrap().clone();
        let metrics = agent.update(&batch, 0.0).unwrap();
        let state = agent.state().unwrap();
        (metrics.get("train/epochs").unwrap(), state.policy, state.critics)
    };
    let (epochs, policy, critics) = updated(10, Some(0.01));
    assert_eq!(epochs, 2.0, "stopped in the second epoch");
    assert!((1.0, policy, critics) == updated(1, None), "one step was made");
}

#[test]
fn the_value_loss_is_a_mean_square_and_may_be_clipped() {
    // V = 1 everywhere, and was 0; the returns are 0 and 3.
    let (values, returns, old) = (column(&[1.0, 1.0]), column(&[0.0, 3.0]), column(&[0.0, 0.0]));
    let check = |range, expected: f64, what: &str| {
        let found = ops::value_loss(values.clone(), &returns, &old, range, 1.0);
        assert_match(&numbers(found.loss), &[expected], 1e-6, what);
        let judge = textbook::value_loss(values.clone(), &returns, &old, range);
        assert_match(&numbers(judge), &[expected], 1e-6, format!("textbook, {what}"));
    };
    check(None, (1.0 + 4.0) / 2.0, "mean square");
    // Clipped to 0.5 the errors are 0.25 and 6.25: the larger one of each sample counts.
    check(Some(0.5), (1.0 + 6.25) / 2.0, "clipped");
}

/// An agent whose policy reads one number and has these parameters.
fn agent_with(params: &[f32], actions: &Space, network: &NetworkConfig) -> Agent {
    let network = network.clone();
    let config = TrainingConfig { network, ..TrainingConfig::new(TrpoConfig::default()) };
    let spec = Spec::new(Space::symmetric_box(1, 1.0), actions.clone(), 1);
    let mut agent = config.agent(&spec).unwrap();
    let state = AgentState { policy: params.to_vec(), ..agent.state().unwrap() };
    agent.set_state(state).unwrap();
    agent
}

/// A Gaussian policy over two numbers, squashed into a box that is neither centred nor cubic. The
/// mean is `MEAN` at observation 0.
fn squashed() -> Agent {
    let network = NetworkConfig { hidden: Vec::new(), squash: true, ..NetworkConfig::default() };
    let actions = Space::Box { low: BOX.map(|b| b.0).to_vec(), high: BOX.map(|b| b.1).to_vec() };
    let params = [[0.7, -0.2], MEAN, STD.map(f32::ln)].concat();
    agent_with(&params, &actions, &network)
}

const BOX: [(f32, f32); 2] = [(-1.0, 2.0), (0.5, 1.5)];
const MEAN: [f32; 2] = [0.3, -0.5];
const STD: [f32; 2] = [0.7, 0.4];

/// The library's estimate of the entropy from these samples (before squashing): the mean of
/// `-ln p(squashed sample)`.
fn squashed_entropy(agent: &Agent, samples: &[[f32; 2]]) -> f64 {
    let policy = agent.actor().policy();
    let params = Tensor::<1>::from_floats(agent.actor().params(), &Device::flex());
    let forward = policy.forward(&params, &column(&vec![0.0; samples.len()]));
    let minibatch = minibatch(policy, &samples.concat(), forward.outputs());
    metrics(&policy.loss(&forward, &params, &minibatch, Surrogate::Plain, 0.0)).entropy
}

/// Where squashing takes a sample, in dimension `k`.
fn squash(x: f64, k: usize) -> f64 {
    let (low, high) = (f64::from(BOX[k].0), f64::from(BOX[k].1));
    low + (high - low) * 0.5 * (x.tanh() + 1.0)
}

/// Logarithm of the Gaussian's density before squashing, in dimension `k`.
fn log_normal(x: f64, k: usize) -> f64 {
    let (mean, std) = (f64::from(MEAN[k]), f64::from(STD[k]));
    -0.5 * ((x - mean) / std).powi(2) - std.ln() - 0.5 * std::f64::consts::TAU.ln()
}

#[test]
fn a_squashed_density_follows_the_change_of_variables() {
    let agent = squashed();
    for x in [[0.3_f32, -0.5], [1.7, 0.4], [-2.2, -1.9], [0.0, 0.9]] {
        let mut action = x;
        agent.actor().squash(&mut action);
        let log_density: f64 = (0..2)
            .map(|k| {
                let x = f64::from(x[k]);
                assert_match(&[action[k].into()], &[squash(x, k)], 1e-6, "the squashed action");
                let slope = (squash(x + 1e-5, k) - squash(x - 1e-5, k)) / 2e-5;
                log_normal(x, k) - slope.ln()
            })
            .sum();
        let found = -squashed_entropy(&agent, &[x]);
        assert_match(&[found], &[log_density], 1e-5, format!("log-density at {x:?}"));
    }
}

#[test]
fn a_squashed_density_integrates_to_one() {
    let agent = squashed();
    // Midpoints of a fine grid over the box of actions; far out the density is below 1e-6.
    const CELLS: usize = 60;
    let midpoint = |i: usize| 2.0 * (i as f64 + 0.5) / CELLS as f64 - 1.0;
    let area: f64 = BOX.iter().map(|b| f64::from(b.1 - b.0) / CELLS as f64).product();
    let mut total = 0.0;
    for i in 0..CELLS {
        for j in 0..CELLS {
            let sample = [midpoint(i).atanh() as f32, midpoint(j).atanh() as f32];
            total += area * (-squashed_entropy(&agent, &[sample])).exp();
        }
    }
    assert_match(&[total], &[1.0], 1e-3, "the integral over the box");
}

#[test]
fn a_squashed_entropy_is_estimated_without_bias() {
    let agent = squashed();
    // The exact entropy: E[-ln p(x) + ln slope(x)] by quadrature, dimension by dimension.
    let exact: f64 = (0..2)
        .map(|k| {
            let (mean, std) = (f64::from(MEAN[k]), f64::from(STD[k]));
            let points = (-8000..8000).map(|i| mean + std * (f64::from(i) + 0.5) * 1e-3);
            let terms = points.map(|x| {
                let half = f64::from(BOX[k].1 - BOX[k].0) / 2.0;
                let log_slope = half.ln() - 2.0 * x.cosh().ln();
                log_normal(x, k).exp() * (log_slope - log_normal(x, k)) * std * 1e-3
            });
            terms.sum::<f64>()
        })
        .sum();
    let mut rng = stream(1, Stream::Sampling(0));
    let samples: Vec<[f32; 2]> = (0..100_000)
        .map(|_| {
            let mut sample = [0.0; 2];
            agent.actor().sample(&MEAN, &mut rng, &mut sample);
            sample
        })
        .collect();
    // One sample's estimate deviates by about 1, so 100,000 of them by 0.003.
    assert_match(&[squashed_entropy(&agent, &samples)], &[exact], 0.012, "entropy");
}

/// The noise is held and the samples move along: so the library's estimate has the slope that its
/// gradient says.
#[test]
fn the_entropy_bonus_of_a_squashed_policy_has_its_true_gradient() {
    let config = NetworkConfig { hidden: Vec::new(), squash: true, ..NetworkConfig::default() };
    let policy =
        Policy::new(&Space::symmetric_box(1, 1.0), &Space::symmetric_box(1, 2.0), &config).unwrap();
    let mut rng = stream(1, Stream::Sampling(0));
    let noise: Vec<f32> = (0..1000).map(|_| rng.sample(StandardNormal)).collect();
    // Entropy and its gradient where weight, bias and log standard deviation are these.
    let entropy = |params: [f32; 3]| {
        let samples: Vec<f32> =
            noise.iter().map(|noise| params[0] + params[1] + params[2].exp() * noise).collect();
        let params = Tensor::<1>::from_floats(params, &Device::flex());
        let forward = policy.forward(&params, &column(&[1.0; 1000]));
        let minibatch = minibatch(&policy, &samples, forward.outputs());
        // Without advantages the loss is the entropy's negative.
        let loss = policy.loss(&forward, &params, &minibatch, Surrogate::Plain, 1.0);
        let value = metrics(&loss).entropy;
        (value, numbers(policy.backward(&forward, loss).neg()))
    };
    let params = [0.3, 0.2, -0.4];
    let (_, gradient) = entropy(params);
    for i in 0..3 {
        let at = |step: f32| {
            let mut moved = params;
            moved[i] += step;
            entropy(moved).0
        };
        let slope = (at(0.01) - at(-0.01)) / 0.02;
        assert!((gradient[i] - slope).abs() < 1e-3, "{i}: {} and {slope}", gradient[i]);
    }
    assert!(gradient[2] > 0.1, "a wider Gaussian has more entropy here: {gradient:?}");
}

/// Draws actions at observation 0.4, and checks the log-probability that the actor gives with each
/// against the one that an update computes.
fn draws(agent: &Agent, count: usize, rng: &mut Rng) -> Vec<Vec<f32>> {
    let actor = agent.actor();
    let policy = actor.policy();
    let mut outputs = vec![0.0; policy.output_width()];
    actor.outputs(&[0.4], &mut outputs);
    let mut actions = vec![vec![0.0; policy.action_width()]; count];
    let log_probs: Vec<f64> =
        actions.iter_mut().map(|action| actor.sample(&outputs, rng, action).into()).collect();
    let params = Tensor::<1>::from_floats(actor.params(), &Device::flex());
    let distribution = policy.distribution(&params, column(&vec![0.4; count]));
    let expected =
        distribution.log_prob(&rows(&actions.concat(), policy.action_width(), &Device::flex()));
    assert_match(&log_probs, &numbers(expected), 1e-5, "log-probability of a drawn action");
    actions
}

#[test]
fn actions_are_drawn_from_the_distribution_that_is_learned() {
    let mut rng = stream(1, Stream::Sampling(0));
    let network = NetworkConfig { hidden: Vec::new(), ..NetworkConfig::default() };
    const COUNT: usize = 40_000;

    let logits = [1.2, -0.9, 0.8_f64];
    let params = [0.5, -1.0, 2.0, 1.0, -0.5, 0.0];
    let agent = agent_with(&params, &Space::Discrete { n: 3 }, &network);
    let choices = draws(&agent, COUNT, &mut rng);
    let total: f64 = logits.iter().map(|z| z.exp()).sum();
    for (choice, logit) in logits.iter().enumerate() {
        let count = choices.iter().filter(|action| action[0] == choice as f32).count();
        let frequency = count as f64 / COUNT as f64;
        // Four standard deviations of a frequency are at most 0.01.
        assert_match(&[frequency], &[logit.exp() / total], 0.01, format!("choice {choice}"));
    }

    let params = [0.5, -1.0, 0.1, 0.3, -0.7, 0.2];
    let agent = agent_with(&params, &Space::symmetric_box(2, 1.0), &network);
    let samples = draws(&agent, COUNT, &mut rng);
    for (k, (mean, log_std)) in [(0.3, -0.7_f64), (-0.1, 0.2)].into_iter().enumerate() {
        let column = || samples.iter().map(|action| f64::from(action[k]));
        let found = column().sum::<f64>() / COUNT as f64;
        let variance = column().map(|x| (x - found).powi(2)).sum::<f64>() / COUNT as f64;
        // Four standard deviations of the mean are 0.02 sigma, of sigma itself 0.014 sigma.
        assert_match(&[found], &[mean], 0.025, format!("mean of number {k}"));
        assert_match(&[variance.sqrt() / log_std.exp()], &[1.0], 0.015, format!("sigma of {k}"));
    }
}
