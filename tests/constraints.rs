//! The theory of constrained policies on `gusty` and `budget`, whose best policies within a limit are known
//! exactly. Notation: `J` is the expected return of an episode, `C` its expected cost, `d` the limit on it,
//! `T` the expected number of steps.

use agents::conjugate_gradient::dot;
use agents::cpo::subproblem::{self, Case};
use agents::lagrangian::Controller;
use agents::{
    AgentState, Collector, Constraint, Constraints, CpoConfig, NetworkConfig, TrainingConfig,
    TrpoConfig,
};
use backburn_tests::exact::{
    ACTIONS, Linear, STATES, Table, Walk, best_within, dual_optimum, pairs, softmax_policy,
};
use backburn_tests::{assert_match, textbook};
use envs::{Cliff, Environment, Environments, Gusty, Rng, Stream, TaskConfig, VectorEnv, stream};
use rand::RngExt;

/// Limit, best return, multiplier: by linear programming with HiGHS, an implementation that is not ours.
const OPTIMA: [(f64, f64, f64); 3] =
    [(1.0, -15.887065, 0.337065), (0.5, -16.161183, 0.814911), (0.2, -16.514826, 1.754230)];

/// The policy of a solution; where it never comes, anything will do.
fn walk_of(solution: Vec<Option<[f64; ACTIONS]>>) -> Walk {
    Walk::new(solution.into_iter().map(|row| row.unwrap_or([0.25; ACTIONS])).collect())
}

fn random_table(scale: f64, rng: &mut Rng) -> Table {
    let mut number = || scale * (2.0 * rng.random::<f64>() - 1.0);
    (0..STATES).map(|_| [number(), number(), number(), number()]).collect()
}

#[test]
fn linear_programming_gives_the_best_policy_within_a_limit() {
    for (limit, performance, lambda) in OPTIMA {
        let walk = walk_of(best_within(limit));
        assert_match(&[walk.performance, walk.cost], &[performance, limit], 5e-7, limit);
        let (bound, multiplier) = dual_optimum(limit);
        assert_match(&[bound, multiplier], &[performance, lambda], 5e-7, limit);
        // Strong duality, by two different programs.
        assert_match(&[bound], &[walk.performance], 1e-9, limit);
    }
    let free = walk_of(best_within(100.0));
    assert_match(&[free.performance, free.cost], &[-15.55, 2.5], 1e-9, "without a limit");
    assert_match(&[dual_optimum(100.0).1], &[0.0], 1e-12, "without a limit");
    let none = walk_of(best_within(0.0));
    assert_match(&[none.performance, none.cost], &[-17.222, 0.0], 1e-9, "no fall at all");
    // Up to 0.05 the best policy mixes the same two ways, so that a fall has the same price.
    for limit in [0.01, 0.049] {
        assert_match(&[dual_optimum(limit).1], &[6.688], 1e-9, limit);
    }
    assert!(dual_optimum(0.051).1 < 3.0);
}

#[test]
fn the_best_policy_within_a_limit_is_random_in_one_state() {
    let solution = best_within(0.5);
    let is_random =
        |row: &Option<[f64; ACTIONS]>| row.is_some_and(|row| row.iter().all(|p| *p < 0.999));
    let random: Vec<usize> = (0..STATES).filter(|&state| is_random(&solution[state])).collect();
    assert_eq!(random, [29]);
    let row = solution[29].expect("it comes there");
    assert_match(&row, &[0.462, 0.538, 0.0, 0.0], 5e-4, "cell 29");
    // Its greedy version breaks the limit.
    let mut greedy = solution;
    greedy[29] = Some([0.0, 1.0, 0.0, 0.0]);
    assert_match(&[walk_of(greedy).cost], &[0.578], 5e-4, "always to the right");
}

/// `g(lambda) = min over policies of -J + lambda (C - d)`, the dual function of the min form.
fn dual(lambda: f64, limit: f64) -> f64 {
    Walk::best_at(lambda).lagrangian(lambda, limit)
}

#[test]
fn the_dual_function_is_concave_and_highest_at_the_multiplier() {
    let grid: Vec<f64> = (0..=80).map(|k| 0.1 * f64::from(k)).collect();
    for (limit, performance, lambda) in OPTIMA {
        let g: Vec<f64> = grid.iter().map(|&lambda| dual(lambda, limit)).collect();
        for (values, lambda) in g.windows(3).zip(&grid[1..]) {
            assert!(
                values[1] >= 0.5 * (values[0] + values[2]) - 1e-9,
                "d = {limit}: g dents at {lambda}: {values:?}"
            );
        }
        assert!(g[1] > g[0] && g[79] > g[80], "it rises first and falls last");
        let best = dual(dual_optimum(limit).1, limit);
        assert_match(&[best], &[-performance], 5e-7, format!("d = {limit}: g({lambda})"));
        assert!(g.iter().all(|&value| value <= best + 1e-9), "d = {limit}");
    }
}

/// For every policy within the limit and every `lambda >= 0`: `g(lambda) <= -J`.
#[test]
fn weak_duality_holds_for_random_policies() {
    let mut rng = stream(3, Stream::Sampling(0));
    let bounds: Vec<(f64, f64)> =
        (0..=40).map(|k| 0.2 * f64::from(k)).map(|lambda| (lambda, dual(lambda, 0.5))).collect();
    let safe = softmax_policy(&logits_of(&walk_of(best_within(0.0)).policy, 1e-3));
    let (mut within, mut beyond) = (0, 0);
    for case in 0..200 {
        // Between a careful policy and one that goes anywhere.
        let share = 0.3 * rng.random::<f64>();
        let wild = softmax_policy(&random_table(2.0, &mut rng));
        let mix = |(safe, wild): (&[f64; ACTIONS], &[f64; ACTIONS])| {
            std::array::from_fn(|action| (1.0 - share) * safe[action] + share * wild[action])
        };
        let walk = Walk::new(safe.iter().zip(&wild).map(mix).collect());
        for &(lambda, bound) in &bounds {
            assert!(bound <= walk.lagrangian(lambda, 0.5) + 1e-9, "case {case}, lambda {lambda}");
            if walk.cost <= 0.5 {
                assert!(bound <= -walk.performance + 1e-9, "case {case}, lambda {lambda}");
            }
        }
        if walk.cost <= 0.5 { within += 1 } else { beyond += 1 }
    }
    assert!(within >= 20 && beyond >= 20, "{within} within the limit, {beyond} beyond");
}

/// At the optimum `lambda (C - d) = 0`: a limit that is not reached has no price.
#[test]
fn complementary_slackness_holds_at_the_optimum() {
    for limit in [0.0, 0.05, 0.2, 0.5, 1.0, 2.0, 2.5, 3.0, 10.0] {
        let walk = walk_of(best_within(limit));
        let (_, lambda) = dual_optimum(limit);
        assert!((lambda * (walk.cost - limit)).abs() < 1e-9, "d = {limit}: lambda {lambda}");
        assert_eq!(lambda > 1e-9, limit < 2.5, "d = {limit}: the free optimum costs 2.5");
        // And the policy is best where falls are charged at lambda.
        let (found, best) = (walk.lagrangian(lambda, limit), dual(lambda, limit));
        assert_match(&[found], &[best], 1e-9, format!("d = {limit}"));
    }
}

/// Logits of a policy whose probabilities are at least `floor`.
fn logits_of(policy: &Table, floor: f64) -> Table {
    policy.iter().map(|row| row.map(|probability| probability.max(floor).ln())).collect()
}

/// Gradients of a softmax policy's surrogates with respect to its logits, means over the states that it
/// visits: `d(s) / T pi(a|s) A(s, a)`.
fn surrogate_gradient(walk: &Walk, advantages: &Table) -> Vec<f64> {
    let steps: f64 = walk.visits.iter().sum();
    let slope = |(state, action): (usize, usize)| {
        walk.visits[state] / steps * walk.policy[state][action] * advantages[state][action]
    };
    pairs().map(slope).collect()
}

/// The Fisher matrix of a softmax policy with respect to its logits, plus `damping` on the diagonal.
fn fisher(walk: &Walk, damping: f64) -> Vec<Vec<f64>> {
    let steps: f64 = walk.visits.iter().sum();
    let entry = |(state, action): (usize, usize), (other, another): (usize, usize)| {
        let row = &walk.policy[state];
        let same = f64::from(u8::from((state, action) == (other, another)));
        let covariance = match state == other {
            true => row[action] * (same - row[another]),
            false => 0.0,
        };
        walk.visits[state] / steps * covariance + damping * same
    };
    pairs().map(|one| pairs().map(|other| entry(one, other)).collect()).collect()
}

/// One exact step of constrained policy optimisation changes the exact cost by `T b'x`, up to an error that
/// is of second order in the step.
#[test]
fn an_exact_step_changes_the_cost_as_its_slope_says() {
    const MAX_KL: f64 = 0.001;
    let near_best = logits_of(&walk_of(best_within(0.1)).policy, 1e-3).concat();
    let noise = random_table(0.3, &mut stream(5, Stream::Sampling(0))).concat();
    let at = |step: &[f64], fraction: f64| {
        let logits = near_best.iter().zip(&noise).zip(step);
        let moved: Vec<f64> = logits.map(|((z, noise), x)| z + noise + fraction * x).collect();
        Walk::new(softmax_policy(&moved.as_chunks().0.to_vec()))
    };
    let old = at(&[0.0; STATES * ACTIONS], 0.0);
    let steps: f64 = old.visits.iter().sum();
    let g = surrogate_gradient(&old, &old.advantages);
    let b = surrogate_gradient(&old, &old.cost_advantages);
    let matrix = fisher(&old, 1e-4);
    let v = textbook::solve(matrix.clone(), g.clone());
    let w = textbook::solve(matrix, b.clone());
    // What a step can change the cost by; limits within that and beyond.
    let reach = steps * (2.0 * MAX_KL * dot(&b, &w)).sqrt();
    for (excess, case) in [
        (-1.5, Case::Slack),
        (-0.1, Case::Binding),
        (0.0, Case::Binding),
        (0.5, Case::Binding),
        (1.5, Case::Recovery),
    ] {
        let limit = old.cost - excess * reach;
        // Per sample, as `b` is.
        let c = (old.cost - limit) / steps;
        let step = subproblem::solve(c, MAX_KL, dot(&g, &v), dot(&g, &w), dot(&b, &w));
        let place = format!("d = {limit}, C = {}, {:?}", old.cost, step.case);
        assert_eq!(step.case, case, "{place}");

        let x = step.of(&v, &w);
        let predicted = steps * dot(&b, &x);
        if case == Case::Binding {
            assert_match(&[old.cost + predicted], &[limit], 1e-9, &place);
        }
        let error = |fraction: f64| at(&x, fraction).cost - old.cost - fraction * predicted;
        assert!(error(1.0).abs() < 0.2 * reach, "{place}: {} of {reach}", error(1.0));
        for fraction in [0.25, 0.125] {
            let ratio = error(2.0 * fraction) / error(fraction);
            assert!((3.0..5.0).contains(&ratio), "{place}: {ratio} at {fraction}");
        }
    }
}

/// Exact natural gradient ascent on the Lagrangian, its multiplier steered with this proportional gain:
/// cost and multiplier in the last 300 of 2000 steps.
fn steered(kp: f64) -> Vec<(f64, f64)> {
    let constraint = Constraint { kp: Some(kp), ..Constraint::on("fall", 0.5) };
    let mut controller = Controller::default();
    let mut logits: Table = vec![[0.0; ACTIONS]; STATES];
    let step = |_| {
        let walk = Walk::new(softmax_policy(&logits));
        controller.update(&constraint, Some(walk.cost));
        let lambda = controller.multiplier();
        // The natural gradient of a table is its advantages (Kakade 2001).
        for (state, action) in pairs() {
            let (reward, cost) = (walk.advantages[state], walk.cost_advantages[state]);
            logits[state][action] += reward[action] - lambda * cost[action];
        }
        // An action that has become impossible takes for ever to come back.
        for row in &mut logits {
            let largest = row.iter().fold(f64::NEG_INFINITY, |largest, z| largest.max(*z));
            row.iter_mut().for_each(|z| *z = z.max(largest - 12.0));
        }
        (walk.cost, lambda)
    };
    (0..2000).map(step).skip(1700).collect()
}

#[test]
fn the_controller_finds_the_multiplier_of_the_dual() {
    let (_, _, lambda) = OPTIMA[1];
    for (cost, multiplier) in steered(Constraint::KP) {
        assert!((multiplier - lambda).abs() < 1e-3, "{multiplier} is not {lambda}");
        assert!((cost - 0.5).abs() < 1e-3, "{cost}");
    }
    // Without its proportional part it goes around the multiplier for ever.
    let around = steered(0.0);
    let most = around.iter().fold(0.0_f64, |most, (_, multiplier)| most.max(*multiplier));
    let least = around.iter().fold(9.0_f64, |least, (_, multiplier)| least.min(*multiplier));
    assert!(least < lambda - 0.1 && most > lambda + 0.1, "from {least} to {most}");
}

/// An update of CPO on a batch of 2^17 steps takes the exact cost towards the limit, from above and from below it:
/// what the linear model and the samples leave is up to half of the way, and a `c` that is not divided by `T` goes
/// twice as far.
#[test]
fn an_update_of_cpo_ends_at_the_limit() {
    let near_best = logits_of(&walk_of(best_within(0.1)).policy, 1e-3).concat();
    let noise = random_table(0.3, &mut stream(5, Stream::Sampling(0))).concat();
    let logits: Vec<f32> = near_best.iter().zip(&noise).map(|(z, n)| (z + n) as f32).collect();
    let walk_at = |params: &[f32]| {
        let rows = params[..STATES * ACTIONS].as_chunks().0.iter();
        Walk::new(softmax_policy(&rows.map(|row| row.map(f64::from)).collect()))
    };
    let old = walk_at(&logits);
    for shift in [0.02, -0.02] {
        let limit = old.cost - shift;
        let config = CpoConfig {
            trpo: TrpoConfig {
                rollout_steps: 2048,
                gamma: 1.0,
                gae_lambda: 1.0,
                damping: 1e-4,
                cg_iterations: 100,
                cg_tolerance: 1e-16,
                constraint: Some(Constraints::new(vec![Constraint::on("fall", limit)])),
                ..TrpoConfig::default()
            },
        };
        let network = NetworkConfig { hidden: Vec::new(), ..NetworkConfig::default() };
        let config = TrainingConfig { network, ..TrainingConfig::new(config) };
        let mut agent = config.agent(&Gusty::default().spec()).expect("an agent");
        let mut policy = logits.clone();
        policy.resize(Cliff::CELLS * ACTIONS + ACTIONS, 0.0);
        agent.set_state(AgentState { policy, ..agent.state().expect("a state") }).expect("it fits");
        let entry = Environments::default().get("gusty").expect("it is built in");
        let envs = VectorEnv::new(&entry.task(&TaskConfig::default()).expect("a task"), 1, 0, 64);
        let mut collector = Collector::new(envs, &mut agent, false, 1).expect("a collector");
        collector.collect(&mut agent).expect("a rollout");
        agent.update(collector.batch(&agent).expect("a batch"), 0.0).expect("an update");
        let params = agent.actor().params();
        // The biases belong to every state.
        let (table, bias) = params.split_at(Cliff::CELLS * ACTIONS);
        let moved: Vec<f32> =
            table.iter().zip(bias.iter().cycle()).map(|(z, bias)| z + bias).collect();
        let new = walk_at(&moved);
        println!(
            "C {} to {} with d = {limit}; J {} to {}",
            old.cost, new.cost, old.performance, new.performance
        );
        assert!(
            (new.cost - limit).abs() < 0.6 * shift.abs(),
            "from {} to {} with a limit of {limit}",
            old.cost,
            new.cost
        );
    }
}

#[test]
fn the_riccati_equation_gives_the_best_policy_within_a_budget() {
    for (limit, performance, multiplier, gains) in [
        (0.5, -6.978307, 8.903919, [0.25141, 0.62690]),
        (2.0, -3.499110, 0.681778, [0.98225, 1.35798]),
        (4.0, -2.737831, 0.220377, [1.73223, 1.87250]),
    ] {
        let (best, lambda) = Linear::best_within(limit);
        let (found, cost) = best.evaluate();
        assert_match(&[found, cost, lambda], &[performance, limit, multiplier], 5e-7, limit);
        assert_match(&best.gains, &gains, 5e-6, limit);
        // No other linear policy earns more within the limit, whatever its noise.
        for (position, velocity, deviation) in [
            (0.02, 0.0, 0.0),
            (-0.02, 0.0, 0.0),
            (0.0, 0.05, 0.0),
            (0.0, -0.05, 0.0),
            (0.0, 0.0, 0.1),
        ] {
            let other = Linear {
                gains: [best.gains[0] + position, best.gains[1] + velocity],
                bias: 0.0,
                deviation,
            };
            let (performance, cost) = other.evaluate();
            assert!(performance - lambda * cost < found - lambda * limit, "{other:?}");
        }
    }
}

/// The noise of a Gaussian alone costs `50 sigma^2` over an episode, and a push without end far more.
#[test]
fn noise_costs_energy() {
    let quiet = Linear { gains: [0.0, 0.0], bias: 0.0, deviation: 0.3 };
    assert_match(&[quiet.evaluate().1], &[50.0 * 0.09], 1e-9, "noise");
    let push = Linear { bias: 0.2, deviation: 0.0, ..quiet };
    assert_match(&[push.evaluate().1], &[50.0 * 0.04], 1e-9, "a push");
}

/// Walks of the environment itself, against the exact cost and return.
#[test]
fn episodes_of_gusty_earn_and_cost_what_the_judge_says() {
    use envs::Action;
    let logits = logits_of(&walk_of(best_within(0.5)).policy, 0.01);
    let exact = Walk::new(softmax_policy(&logits));
    let mut rng = stream(7, Stream::Environment(0));
    let mut env = Gusty::default();
    const EPISODES: u32 = 20_000;
    let (mut returns, mut costs, mut squares, mut one) = (0.0, 0.0, 0.0, [0.0]);
    for _ in 0..EPISODES {
        env.reset(&mut rng);
        let mut cost = 0.0;
        loop {
            let row = exact.policy[env.state()[0] as usize];
            let mut draw = rng.random::<f64>();
            let mut action = 0;
            while action < ACTIONS - 1 && draw >= row[action] {
                draw -= row[action];
                action += 1;
            }
            let step = env.step(Action::Discrete(action), &mut rng);
            env.costs(&mut one);
            returns += step.reward;
            cost += one[0];
            if step.terminated {
                break;
            }
        }
        costs += cost;
        squares += cost * cost;
    }
    let (episodes, mean) = (f64::from(EPISODES), costs / f64::from(EPISODES));
    let error = ((squares / episodes - mean * mean) / episodes).sqrt();
    assert!((mean - exact.cost).abs() < 4.0 * error, "{mean} is not {}", exact.cost);
    assert!((returns / episodes - exact.performance).abs() < 0.1, "{}", exact.performance);
    assert_eq!(env.state(), [Cliff::GOAL as f64]);
}
