//! The Lagrangian of a constrained problem, `L(policy, lambda) = J_r - sum_k lambda_k (J_k - d_k)`: what a
//! policy is improved along, and how the multipliers `lambda` follow the costs `J` to their limits `d`.
//!
//! The policy's part of `L` is a reward less costs, so its advantage is `A_r - sum_k lambda_k A_k`: of raw
//! advantages, that is before they are standardised. So a multiplier is in reward per unit of cost, and what
//! it comes to is that of the constrained problem's dual.

use crate::batch::{Batch, Signal};
use crate::constraint::{Constraint, cost_metric};
use crate::error::AgentError;
use crate::gae::explained_variance;
use crate::metrics::Metrics;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// A multiplier and what steers it: PID control of the cost (Stooke, Achiam and Abbeel 2020).
///
/// ```
/// use agents::{Constraint, lagrangian::Controller};
///
/// let constraint = Constraint::on("fall", 0.5);
/// let mut controller = Controller::default();
/// // Half above the limit: e = 0.5, so that I = 0.05 * 0.5 and lambda = 1 * 0.5 + 0.025.
/// controller.update(&constraint, Some(0.75));
/// assert!((controller.multiplier() - 0.525).abs() < 1e-12);
/// // No episode has ended: nothing is known.
/// controller.update(&constraint, None);
/// assert!((controller.multiplier() - 0.525).abs() < 1e-12);
/// // At the limit only the integral is left, and far below it nothing.
/// controller.update(&constraint, Some(0.5));
/// assert!((controller.multiplier() - 0.025).abs() < 1e-12);
/// controller.update(&constraint, Some(0.0));
/// assert_eq!(controller.multiplier(), 0.0);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Controller {
    integral: f64,
    last_cost: Option<f64>,
    multiplier: f64,
}

impl Controller {
    /// What a unit of the cost is charged with, in units of reward.
    #[must_use]
    pub fn multiplier(&self) -> f64 {
        self.multiplier
    }

    /// Takes in the mean cost `J` of the episodes that have ended; where none has, the multiplier stays.
    ///
    /// With `e = (J - d) / d`, or `J - d` where the limit `d` is 0: `I = max(0, I + ki e)` and
    /// `lambda = max(0, kp e + I + kd max(0, rise of J))`. The integral finds the multiplier, the
    /// proportional part damps what would swing around the limit for ever without it. `e` is 1 at most: a
    /// cost can be many times its limit, and can't be less than nothing, so that an integral wound up by a
    /// policy's first steps would take most of a run to unwind.
    pub fn update(&mut self, constraint: &Constraint, cost: Option<f64>) {
        let (limit, cost) = match (constraint.multiplier, constraint.limit, cost) {
            (Some(fixed), _, _) => {
                self.multiplier = fixed;
                return;
            }
            (None, Some(limit), Some(cost)) => (limit, cost),
            _ => return,
        };
        let [kp, ki, kd] = constraint.gains();
        let error = ((cost - limit) / if limit > 0.0 { limit } else { 1.0 }).min(1.0);
        let rise = self.last_cost.map_or(0.0, |last| cost - last);
        self.integral = (self.integral + ki * error).max(0.0);
        self.multiplier = (kp * error + self.integral + kd * rise.max(0.0)).max(0.0);
        self.last_cost = Some(cost);
    }

    fn is_sound(&self) -> bool {
        let is_sound = |number: f64| number.is_finite() && number >= 0.0;
        is_sound(self.integral) && is_sound(self.multiplier) && self.last_cost.is_none_or(is_sound)
    }
}

/// The multipliers of an agent's constraints, in their order; none where it has no constraint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lagrangian {
    controllers: Vec<Controller>,
}

impl Lagrangian {
    /// All multipliers are 0.
    #[must_use]
    pub fn new(constraints: &[Constraint]) -> Lagrangian {
        Lagrangian { controllers: vec![Controller::default(); constraints.len()] }
    }

    /// Steers every multiplier by the costs of the episodes that ended in this iteration.
    pub fn update(&mut self, constraints: &[Constraint], batch: &Batch) {
        let costs = constraints.iter().zip(batch.costs());
        for (controller, (constraint, cost)) in self.controllers.iter_mut().zip(costs) {
            controller.update(constraint, cost.episode_sum);
        }
    }

    /// What the policy is to be improved along: advantages and returns of the rewards, less those of each
    /// cost times its multiplier. Where rewards are normalised the multiplier is scaled as they are.
    #[must_use]
    pub fn objective<'a>(&self, batch: &'a Batch) -> Cow<'a, Signal> {
        let mut objective = Cow::Borrowed(batch.reward());
        for (controller, cost) in self.controllers.iter().zip(batch.costs()) {
            let price = controller.multiplier / batch.reward_scale;
            let Signal { advantages, returns, .. } = objective.to_mut();
            for (sum, cost) in [(advantages, &cost.advantages), (returns, &cost.returns)] {
                for (sum, cost) in sum.iter_mut().zip(cost) {
                    *sum = (f64::from(*sum) - price * f64::from(*cost)) as f32;
                }
            }
        }
        objective
    }

    /// Adds to an update's metrics the multipliers, and how the costs' critics fare: `value_losses` are
    /// their mean squared errors.
    pub fn report(
        &self,
        constraints: &[Constraint],
        batch: &Batch,
        value_losses: &[f64],
        metrics: &mut Metrics,
    ) {
        let multipliers = self.controllers.iter().map(Controller::multiplier);
        report(constraints, batch, multipliers, value_losses, metrics);
    }

    /// Checks that a saved state fits these constraints, and that training can go on from it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self, constraints: usize) -> Result<(), AgentError> {
        AgentError::check_length("list of multipliers", constraints, self.controllers.len())?;
        let is_sound = self.controllers.iter().all(Controller::is_sound);
        AgentError::check_saved("multiplier's controller", is_sound)
    }
}

/// Adds what is reported of every constraint, however it is kept.
pub(crate) fn report(
    constraints: &[Constraint],
    batch: &Batch,
    multipliers: impl Iterator<Item = f64>,
    value_losses: &[f64],
    metrics: &mut Metrics,
) {
    let of_costs = constraints.iter().zip(batch.costs()).zip(multipliers).zip(value_losses);
    for (((constraint, signal), multiplier), loss) in of_costs {
        let explained = explained_variance(&signal.values, &signal.returns);
        for (name, number) in [
            ("train/multiplier", multiplier),
            ("train/cost_value_loss", *loss),
            ("train/cost_explained_variance", explained),
        ] {
            metrics.push(cost_metric(name, &constraint.cost, constraints.len()), number);
        }
    }
}

/// The mean loss of each critic of costs, from what its gradients report in so many minibatches: rows of a loss and the
/// sum of the gradient's squares.
///
/// # Errors
/// When one is not finite.
pub(crate) fn mean_losses(reports: &[f32], minibatches: usize) -> Result<Vec<f64>, AgentError> {
    let mean = |rows: &[f32]| {
        let losses = rows.iter().step_by(2).map(|&loss| f64::from(loss));
        let mean = losses.sum::<f64>() / minibatches as f64;
        AgentError::check_finite("cost's value loss", mean)?;
        Ok(mean)
    };
    reports.chunks_exact(2 * minibatches).map(mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steered(constraint: &Constraint, costs: &[f64]) -> Vec<f64> {
        let mut controller = Controller::default();
        let one = |cost: &f64| {
            controller.update(constraint, Some(*cost));
            controller.multiplier()
        };
        costs.iter().map(one).collect()
    }

    fn assert_near(found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-12, "{found} is not {expected}");
        }
    }

    #[test]
    fn each_gain_does_its_own() {
        let gains = |kp, ki, kd| Constraint {
            kp: Some(kp),
            ki: Some(ki),
            kd: Some(kd),
            ..Constraint::on("fall", 2.0)
        };
        // e: 1, 0.5, -0.5, 1.
        let costs = [4.0, 3.0, 1.0, 4.0];
        assert_near(&steered(&gains(1.0, 0.0, 0.0), &costs), &[1.0, 0.5, 0.0, 1.0]);
        assert_near(&steered(&gains(0.0, 1.0, 0.0), &costs), &[1.0, 1.5, 1.0, 2.0]);
        assert_near(&steered(&gains(0.0, 0.0, 1.0), &costs), &[0.0, 0.0, 0.0, 3.0]);
        // An integral of 0 remembers nothing of what was below the limit.
        assert_near(&steered(&gains(0.0, 1.0, 0.0), &[0.0, 0.0, 3.0]), &[0.0, 0.0, 0.5]);
    }

    #[test]
    fn a_limit_of_zero_has_no_unit_to_count_in() {
        let constraint = Constraint::on("fall", 0.0);
        assert_near(&steered(&constraint, &[0.8, 0.0]), &[0.84, 0.04]);
    }

    #[test]
    fn a_cost_far_above_its_limit_does_not_wind_up_the_integral() {
        let constraint = Constraint::on("fall", 0.5);
        let found = steered(&constraint, &[28.0, 28.0, 0.5]);
        assert_near(&found, &[1.05, 1.1, 0.1]);
    }

    #[test]
    fn a_fixed_multiplier_is_what_it_is() {
        let fixed =
            Constraint { limit: None, multiplier: Some(0.3), ..Constraint::on("fall", 0.0) };
        let mut controller = Controller::default();
        controller.update(&fixed, None);
        assert_eq!(controller.multiplier(), 0.3);
        controller.update(&fixed, Some(100.0));
        assert_eq!(controller.multiplier(), 0.3);
    }

    #[test]
    fn the_objective_is_rewards_less_priced_costs_in_the_rewards_unit() {
        let mut batch = Batch::new(1, 2, [1, 1, 1], 3);
        batch.signals[0].advantages = vec![1.0, -2.0];
        batch.signals[0].returns = vec![4.0, 5.0];
        batch.signals[1].advantages = vec![0.5, 1.0];
        batch.signals[1].returns = vec![1.0, 0.0];
        batch.signals[2].advantages = vec![0.0, 4.0];
        batch.signals[1].episode_sum = Some(2.0);
        batch.reward_scale = 2.0;
        let none = Lagrangian::new(&[]);
        assert!(
            matches!(none.objective(&batch), Cow::Borrowed(signal) if signal == batch.reward())
        );
        let price = Constraint { limit: None, multiplier: Some(3.0), ..Constraint::on("b", 0.0) };
        let constraints = [Constraint::on("a", 1.0), price];
        let mut lagrangian = Lagrangian::new(&constraints);
        lagrangian.update(&constraints, &batch);
        // e = 1: 1.05 and 3, in normalised rewards 0.525 and 1.5.
        let objective = lagrangian.objective(&batch);
        let widened = |numbers: &[f32]| numbers.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
        let near = |found: &[f32], expected: [f64; 2]| {
            widened(found)
                .iter()
                .zip(expected)
                .all(|(found, expected)| (found - expected).abs() < 1e-6)
        };
        assert!(near(&objective.advantages, [1.0 - 0.2625, -2.0 - 0.525 - 6.0]), "{objective:?}");
        assert!(near(&objective.returns, [4.0 - 0.525, 5.0]), "{objective:?}");
        lagrangian.check(2).expect("its own");
        lagrangian.check(1).expect_err("a constraint too many");
    }
}
