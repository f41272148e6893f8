//! Exact answers on `gusty` and `budget`: what a policy earns and costs, and the best one within a limit.
//! The tests judge by them. All of it is in f64 and knows nothing of the agents.

use crate::textbook::solve;
use envs::{Cliff, Gusty};
use rustplex::prelude::{LinearExpr, Maximize, Minimize, Model};

/// States of `gusty` that an episode can be in before it ends: the cells above the cliff, and the start.
pub const STATES: usize = Cliff::START + 1;
/// Actions of `gusty`.
pub const ACTIONS: usize = 4;
/// How likely a gust is.
const GUST: f64 = 0.2;

/// A number for each state and action of `gusty`.
pub type Table = Vec<[f64; ACTIONS]>;

/// Every state of `gusty` with every action.
pub fn pairs() -> impl Iterator<Item = (usize, usize)> {
    (0..STATES).flat_map(|state| (0..ACTIONS).map(move |action| (state, action)))
}

/// What an action of `gusty` can lead to: with its probability the next state, if the episode goes on, and
/// the cost.
fn outcomes(state: usize, action: usize) -> [(f64, Option<usize>, f64); 2] {
    [(1.0 - GUST, false), (GUST, true)].map(|(probability, gust)| {
        let (next, fell) = Gusty::transition(state, action, gust);
        (probability, (next != Cliff::GOAL).then_some(next), f64::from(u8::from(fell)))
    })
}

/// The probabilities of a policy with these logits.
#[must_use]
pub fn softmax_policy(logits: &Table) -> Table {
    let softmax = |logits: &[f64; ACTIONS]| {
        let largest = logits.iter().fold(f64::NEG_INFINITY, |largest, z| largest.max(*z));
        let weights = logits.map(|z| (z - largest).exp());
        weights.map(|weight| weight / weights.iter().sum::<f64>())
    };
    logits.iter().map(softmax).collect()
}

/// A policy on `gusty` with everything about it that can be computed, without a discount and without the
/// time limit.
#[derive(Clone, Debug)]
pub struct Walk {
    /// Probabilities of the actions.
    pub policy: Table,
    /// `J`, the expected return of an episode.
    pub performance: f64,
    /// `J_C`, its expected cost.
    pub cost: f64,
    /// `d(s)`, how often a state is visited in an episode.
    pub visits: Vec<f64>,
    /// `A(s, a)` of the reward.
    pub advantages: Table,
    /// `A(s, a)` of the cost.
    pub cost_advantages: Table,
}

impl Walk {
    /// Solves Bellman's equations of a policy, which must reach the goal.
    #[must_use]
    pub fn new(policy: Table) -> Walk {
        let mut transitions = vec![vec![0.0; STATES]; STATES];
        for (state, action) in pairs() {
            for (probability, next, _) in outcomes(state, action) {
                if let Some(next) = next {
                    transitions[state][next] += policy[state][action] * probability;
                }
            }
        }
        let system = |entry: &dyn Fn(usize, usize) -> f64| -> Vec<Vec<f64>> {
            let row = |i| (0..STATES).map(|j| f64::from(u8::from(i == j)) - entry(i, j)).collect();
            (0..STATES).map(row).collect()
        };
        let values_of = |signal: &dyn Fn(f64) -> f64| -> Vec<f64> {
            let mut mean = vec![0.0; STATES];
            for (state, action) in pairs() {
                for (probability, _, cost) in outcomes(state, action) {
                    mean[state] += policy[state][action] * probability * signal(cost);
                }
            }
            solve(system(&|i, j| transitions[i][j]), mean)
        };
        let advantages_of = |values: &[f64], signal: &dyn Fn(f64) -> f64| -> Table {
            let mut advantages = vec![[0.0; ACTIONS]; STATES];
            for (state, action) in pairs() {
                let rest = |(probability, next, cost): (f64, Option<usize>, f64)| {
                    probability * (signal(cost) + next.map_or(0.0, |next| values[next]))
                };
                let whole: f64 = outcomes(state, action).into_iter().map(rest).sum();
                advantages[state][action] = whole - values[state];
            }
            advantages
        };
        let (reward, cost) = (|_: f64| -1.0, |cost: f64| cost);
        let (values, cost_values) = (values_of(&reward), values_of(&cost));
        let mut start = vec![0.0; STATES];
        start[Cliff::START] = 1.0;
        Walk {
            performance: values[Cliff::START],
            cost: cost_values[Cliff::START],
            visits: solve(system(&|i, j| transitions[j][i]), start),
            advantages: advantages_of(&values, &reward),
            cost_advantages: advantages_of(&cost_values, &cost),
            policy,
        }
    }

    /// The best policy where each fall is charged: `min over policies of -J + lambda J_C`, by policy
    /// iteration.
    #[must_use]
    pub fn best_at(lambda: f64) -> Walk {
        let mut walk = Walk::new(vec![[0.25; ACTIONS]; STATES]);
        loop {
            let gains = |state: usize| -> [f64; ACTIONS] {
                let (reward, cost) = (walk.advantages[state], walk.cost_advantages[state]);
                std::array::from_fn(|action| reward[action] - lambda * cost[action])
            };
            // An action is kept unless another is better by more than rounding, so that this ends.
            let best = |state: usize| {
                let gains = gains(state);
                let best = (0..ACTIONS).max_by(|&i, &j| gains[i].total_cmp(&gains[j])).unwrap_or(0);
                let mean: f64 = gains.iter().zip(&walk.policy[state]).map(|(g, p)| g * p).sum();
                let mut row = walk.policy[state];
                if gains[best] > mean + 1e-10 || row.iter().all(|p| *p < 1.0) {
                    row = [0.0; ACTIONS];
                    row[best] = 1.0;
                }
                row
            };
            let policy: Table = (0..STATES).map(best).collect();
            if policy == walk.policy {
                return walk;
            }
            walk = Walk::new(policy);
        }
    }

    /// `-J + lambda (J_C - d)`, the Lagrangian of the problem in its min form.
    #[must_use]
    pub fn lagrangian(&self, lambda: f64, limit: f64) -> f64 {
        lambda * (self.cost - limit) - self.performance
    }
}

/// The best policy on `gusty` whose falls stay within `limit`, by linear programming over the visits of
/// states and actions: its probabilities (`None` in a state that it doesn't visit).
///
/// # Panics
/// When the solver finds no optimum.
#[must_use]
pub fn best_within(limit: f64) -> Vec<Option<[f64; ACTIONS]>> {
    let mut model = Model::new();
    let visits: Vec<_> = pairs().map(|_| model.add_variable().non_negative().real()).collect();
    let (mut returns, mut cost) = (LinearExpr::new(), LinearExpr::new());
    let mut flows: Vec<_> = (0..STATES).map(|_| LinearExpr::new()).collect();
    for ((state, action), &visits) in pairs().zip(&visits) {
        returns += -1.0 * visits;
        flows[state] += 1.0 * visits;
        for (probability, next, price) in outcomes(state, action) {
            if let Some(next) = next {
                flows[next] -= probability * visits;
            }
            cost += probability * price * visits;
        }
    }
    model.set_objective(Maximize, returns);
    for (state, flow) in flows.into_iter().enumerate() {
        model.add_constraint(flow).eq(if state == Cliff::START { 1.0 } else { 0.0 });
    }
    model.add_constraint(cost).le(limit);
    let Ok(solution) = model.solve() else { panic!("the solver failed at a limit of {limit}") };
    assert!(solution.status().is_optimal(), "{}", solution.status());
    let policy = |visits: &[_]| {
        let visits: [f64; ACTIONS] = std::array::from_fn(|action| solution[visits[action]]);
        let sum: f64 = visits.iter().sum();
        (sum > 1e-9).then(|| visits.map(|one| one / sum))
    };
    visits.chunks_exact(ACTIONS).map(policy).collect()
}

/// The dual of [`best_within`]: the values of the start and of the constraint, `(J*, lambda*)`. No state may
/// be worth less than what any of its actions leads to, with falls charged at `lambda`; and
/// `V(start) + lambda d` is as small as that allows.
///
/// # Panics
/// When the solver finds no optimum.
#[must_use]
pub fn dual_optimum(limit: f64) -> (f64, f64) {
    let mut model = Model::new();
    let values: Vec<_> = (0..STATES).map(|_| model.add_variable().real()).collect();
    let lambda = model.add_variable().non_negative().real();
    let mut bound = LinearExpr::new();
    bound += 1.0 * values[Cliff::START];
    bound += limit * lambda;
    model.set_objective(Minimize, bound);
    for (state, action) in pairs() {
        let mut excess = LinearExpr::new();
        excess += 1.0 * values[state];
        for (probability, next, price) in outcomes(state, action) {
            if let Some(next) = next {
                excess -= probability * values[next];
            }
            excess += probability * price * lambda;
        }
        model.add_constraint(excess).ge(-1.0);
    }
    let Ok(solution) = model.solve() else { panic!("the solver failed at a limit of {limit}") };
    assert!(solution.status().is_optimal(), "{}", solution.status());
    (solution[values[Cliff::START]] + limit * solution[lambda], solution[lambda])
}

/// A linear Gaussian policy on `budget`: `u = bias - gains (x, v) + deviation noise`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Linear {
    /// `K`, of position and velocity.
    pub gains: [f64; 2],
    /// What is done at rest at the origin.
    pub bias: f64,
    /// Standard deviation.
    pub deviation: f64,
}

/// What `budget` discounts by: the probability that an episode goes on.
const GOES_ON: f64 = 0.98;
const STEP: f64 = 0.1;

/// `a b`
fn product(a: &[[f64; 3]; 3], b: &[[f64; 3]; 3]) -> [[f64; 3]; 3] {
    std::array::from_fn(|i| std::array::from_fn(|j| (0..3).map(|k| a[i][k] * b[k][j]).sum()))
}

fn transposed(a: &[[f64; 3]; 3]) -> [[f64; 3]; 3] {
    std::array::from_fn(|i| std::array::from_fn(|j| a[j][i]))
}

impl Linear {
    /// Without bias and noise.
    #[must_use]
    pub fn plain(gains: [f64; 2]) -> Linear {
        Linear { gains, bias: 0.0, deviation: 0.0 }
    }

    /// Expected return and cost of an episode, `(J, J_C)`. The bounds of the action and the limit of 1000
    /// steps, which 2e-9 of all episodes reach, are left out of account.
    ///
    /// The second moments of `z = (x, v, 1)`, summed over an episode, solve
    /// `S = S_0 + 0.98 (M S M' + sigma^2 b b' / 0.02)` with `M` the closed loop.
    #[must_use]
    pub fn evaluate(&self) -> (f64, f64) {
        let push = [0.5 * STEP * STEP, STEP, 0.0];
        let gains = [-self.gains[0], -self.gains[1], self.bias];
        let drift = [[1.0, STEP, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
        let closed: [[f64; 3]; 3] =
            std::array::from_fn(|i| std::array::from_fn(|j| drift[i][j] + push[i] * gains[j]));
        let variance = self.deviation * self.deviation;
        let mut first = [[0.0; 3]; 3];
        (first[0][0], first[1][1], first[2][2]) = (1.0 / 3.0, 0.25 / 3.0, 1.0);
        let mut moments = first;
        for _ in 0..3000 {
            let moved = product(&product(&closed, &moments), &transposed(&closed));
            moments = std::array::from_fn(|i| {
                std::array::from_fn(|j| {
                    let noise = variance * push[i] * push[j] / (1.0 - GOES_ON);
                    first[i][j] + GOES_ON * (moved[i][j] + noise)
                })
            });
        }
        let energy: f64 = (0..3)
            .flat_map(|i| (0..3).map(move |j| (i, j)))
            .map(|(i, j)| gains[i] * moments[i][j] * gains[j])
            .sum();
        let performance = -(moments[0][0] + 0.1 * moments[1][1]);
        (performance, energy + variance / (1.0 - GOES_ON))
    }

    /// The best policy where energy is charged at `lambda`, by the Riccati equation.
    #[must_use]
    pub fn best_at(lambda: f64) -> Linear {
        let (a, b) = ([[1.0, STEP], [0.0, 1.0]], [0.5 * STEP * STEP, STEP]);
        let mut p = [[0.0; 2]; 2];
        let mut gains = [0.0; 2];
        for _ in 0..5000 {
            // K = 0.98 (lambda + 0.98 b'P b)^-1 b'P A and P = Q + 0.98 A'P (A - b K)
            let bp: [f64; 2] = std::array::from_fn(|j| b[0] * p[0][j] + b[1] * p[1][j]);
            let curvature = lambda + GOES_ON * (bp[0] * b[0] + bp[1] * b[1]);
            gains =
                std::array::from_fn(|j| GOES_ON * (bp[0] * a[0][j] + bp[1] * a[1][j]) / curvature);
            let closed: [[f64; 2]; 2] =
                std::array::from_fn(|i| std::array::from_fn(|j| a[i][j] - b[i] * gains[j]));
            let ap: [[f64; 2]; 2] = std::array::from_fn(|i| {
                std::array::from_fn(|j| a[0][i] * p[0][j] + a[1][i] * p[1][j])
            });
            let q = [[1.0, 0.0], [0.0, 0.1]];
            p = std::array::from_fn(|i| {
                std::array::from_fn(|j| {
                    q[i][j] + GOES_ON * (ap[i][0] * closed[0][j] + ap[i][1] * closed[1][j])
                })
            });
        }
        Linear::plain(gains)
    }

    /// The best policy whose energy stays within `limit`, with its multiplier: the more energy is charged
    /// for, the less is spent.
    #[must_use]
    pub fn best_within(limit: f64) -> (Linear, f64) {
        let (mut low, mut high) = (1e-3_f64, 1e3_f64);
        for _ in 0..60 {
            let middle = (low * high).sqrt();
            let spends_more = Linear::best_at(middle).evaluate().1 > limit;
            if spends_more { low = middle } else { high = middle }
        }
        (Linear::best_at(high), high)
    }
}
