//! Bring a cart to rest at the origin on a budget of energy.

use crate::drawing::{Color, Drawing};
use crate::environment::{Environment, Spec, StateError, Step};
use crate::parameters::{ParameterError, Parametric};
use crate::rng::{Rng, symmetric};
use crate::space::{Action, Space};
use rand::RngExt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What can be changed of [`Budget`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BudgetParameters {
    /// Time of a step.
    #[schemars(range(min = 1e-4, max = 1.0), extend("unit" = "s"))]
    pub time_step: f64,
    /// Largest acceleration: actions are clipped to plus or minus this.
    #[schemars(range(min = 1e-6, max = 1e6), extend("unit" = "m/s^2"))]
    pub max_acceleration: f64,
    /// What the reward takes for a squared velocity of 1.
    #[schemars(range(min = 0.0, max = 1e6), extend("unit" = "s^2/m^2"))]
    pub velocity_weight: f64,
    /// How likely an episode terminates at a step.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub end_probability: f64,
    /// The first position is uniform in plus or minus this.
    #[schemars(range(min = 0.0, max = 1000.0), extend("unit" = "m"))]
    pub reset_position: f64,
    /// The first velocity is uniform in plus or minus this.
    #[schemars(range(min = 0.0, max = 1000.0), extend("unit" = "m/s"))]
    pub reset_velocity: f64,
}

impl Default for BudgetParameters {
    fn default() -> Self {
        BudgetParameters {
            time_step: 0.1,
            max_acceleration: 10.0,
            velocity_weight: 0.1,
            end_probability: 0.02,
            reset_position: 1.0,
            reset_velocity: 0.5,
        }
    }
}

/// A double integrator whose control costs energy.
///
/// State `(x, v)` in m and m/s; the action `u` is the acceleration in m/s^2, held for a step of `dt`:
///
/// ```text
/// x' = x + dt v + dt^2 u / 2,   v' = v + dt u
/// reward = -(x^2 + 0.1 v^2) of the state before the step,   cost `energy` = u^2
/// ```
///
/// The terms of the reward are `position` and `velocity`. The episode terminates at each step with a
/// probability of 0.02, whatever the state: without a discount this is the linear-quadratic problem with
/// a discount of 0.98, so that the best policy within a budget is linear, `u = -K (x, v)`, and comes from
/// a Riccati equation, which `tests/constraints.rs` solves. The observation is the state.
#[derive(Clone, Debug, PartialEq)]
#[repr(align(128))] // threads step neighbours side by side, and a shared cache line takes longer than a step
pub struct Budget {
    parameters: BudgetParameters,
    position: f64,
    velocity: f64,
    /// Terms of the last step's reward.
    terms: [f64; 2],
    /// Cost of the last step.
    energy: f64,
}

impl Budget {
    /// Steps after which an episode is truncated.
    pub const MAX_EPISODE_STEPS: u32 = 1000;

    /// At rest at the origin.
    fn with(parameters: BudgetParameters) -> Budget {
        Budget { parameters, position: 0.0, velocity: 0.0, terms: [0.0; 2], energy: 0.0 }
    }
}

impl Default for Budget {
    fn default() -> Self {
        Budget::with(BudgetParameters::default())
    }
}

impl Parametric for Budget {
    type Parameters = BudgetParameters;

    fn new(parameters: BudgetParameters) -> Result<Self, ParameterError> {
        Ok(Budget::with(parameters))
    }
}

impl Environment for Budget {
    fn spec(&self) -> Spec {
        Spec {
            observation_names: ["position [m]", "velocity [m/s]"].map(String::from).to_vec(),
            action_names: vec!["acceleration [m/s^2]".into()],
            step_seconds: Some(self.parameters.time_step),
            reward_terms: ["position", "velocity"].map(String::from).to_vec(),
            costs: vec!["energy".into()],
            ..Spec::new(
                Space::symmetric_box(2, f32::INFINITY),
                Space::symmetric_box(1, self.parameters.max_acceleration as f32),
                Self::MAX_EPISODE_STEPS,
            )
        }
    }

    fn reset(&mut self, rng: &mut Rng) {
        self.position = symmetric(rng, self.parameters.reset_position);
        self.velocity = symmetric(rng, self.parameters.reset_velocity);
    }

    fn step(&mut self, action: Action<'_>, rng: &mut Rng) -> Step {
        let BudgetParameters {
            time_step, max_acceleration, velocity_weight, end_probability, ..
        } = self.parameters;
        let Budget { position, velocity, .. } = *self;
        let acceleration = f64::from(action.values()[0]).clamp(-max_acceleration, max_acceleration);
        self.terms = [-position * position, -velocity_weight * velocity * velocity];
        self.energy = acceleration * acceleration;
        self.position += time_step * (velocity + 0.5 * time_step * acceleration);
        self.velocity += time_step * acceleration;
        let terminated = rng.random::<f64>() < end_probability;
        Step { reward: self.terms.iter().sum(), terminated, ..Step::default() }
    }

    fn observe(&self, observation: &mut [f32]) {
        observation.copy_from_slice(&[self.position as f32, self.velocity as f32]);
    }

    fn reward_terms(&self, terms: &mut [f64]) {
        terms.copy_from_slice(&self.terms);
    }

    fn costs(&self, costs: &mut [f64]) {
        costs[0] = self.energy;
    }

    fn state(&self) -> Vec<f64> {
        vec![self.position, self.velocity]
    }

    fn set_state(&mut self, state: &[f64]) -> Result<(), StateError> {
        [self.position, self.velocity] = StateError::read(state)?;
        Ok(())
    }

    fn draw(&self, action: Option<Action<'_>>) -> Option<Drawing> {
        // A cart that runs away stays at the edge of the picture.
        let side = 1.5 * self.parameters.reset_position.max(1.0);
        let x = self.position.clamp(-side, side);
        let unit = side / 10.0;
        let (low, high) = ([-side - 4.0 * unit, -unit], [side + 4.0 * unit, 2.0 * unit]);
        let mut drawing = Drawing::new(low, high, self.parameters.time_step);
        drawing.line(&[[-side, 0.0], [side, 0.0]], 0.15 * unit, Color::Quiet);
        drawing.line(&[[0.0, -0.5 * unit], [0.0, 0.5 * unit]], 0.2 * unit, Color::Danger);
        drawing.rectangle([x - unit, 0.1 * unit], [x + unit, unit], Color::Accent);
        if let Some(action) = action {
            let bound = self.parameters.max_acceleration;
            // The root: much of the range is used by few.
            let push = f64::from(action.values()[0]).clamp(-bound, bound) / bound;
            let length = 2.5 * unit * push.abs().sqrt() * push.signum();
            let from = [x + unit * push.signum(), 0.55 * unit];
            drawing.arrow(from, [from[0] + length, from[1]], 0.2 * unit, Color::Second);
        }
        Some(drawing)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::{Stream, stream};

    /// A step that does not terminate, with its terms and its cost.
    fn step_of(env: &mut Budget, action: f32) -> (f64, [f64; 2], f64) {
        env.parameters.end_probability = 0.0;
        let step = env.step(Action::Continuous(&[action]), &mut stream(0, Stream::Shuffling));
        assert_eq!(step, Step { reward: step.reward, ..Step::default() });
        let (mut terms, mut costs) = ([0.0; 2], [0.0]);
        env.reward_terms(&mut terms);
        env.costs(&mut costs);
        (step.reward, terms, costs[0])
    }

    fn assert_near(found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-12, "{found} is not {expected}");
        }
    }

    #[test]
    fn a_step_worked_by_hand() {
        // x 0.5, v -0.4, u 2: x' = 0.5 - 0.04 + 0.01, v' = -0.4 + 0.2; the reward is of before.
        let mut env = Budget::default();
        env.set_state(&[0.5, -0.4]).unwrap();
        let (reward, terms, cost) = step_of(&mut env, 2.0);
        assert_near(&env.state(), &[0.47, -0.2]);
        assert_near(&[reward, terms[0], terms[1], cost], &[-0.266, -0.25, -0.016, 4.0]);
    }

    #[test]
    fn actions_are_clipped_and_so_is_their_cost() {
        let mut env = Budget::default();
        assert_eq!(step_of(&mut env, -30.0).2, 100.0);
        assert_near(&env.state(), &[-0.05, -1.0]);
    }

    #[test]
    fn every_parameter_is_where_it_says() {
        let parameters = BudgetParameters {
            time_step: 0.5,
            max_acceleration: 1.0,
            velocity_weight: 2.0,
            end_probability: 1.0,
            reset_position: 0.1,
            reset_velocity: 0.0,
        };
        let mut rng = stream(0, Stream::Environment(0));
        let mut env = Budget::new(parameters).unwrap();
        assert_eq!(env.spec().action_space, Space::symmetric_box(1, 1.0));
        env.reset(&mut rng);
        assert!(env.position.abs() <= 0.1 && env.position != 0.0 && env.velocity == 0.0);
        assert!(env.step(Action::Continuous(&[0.0]), &mut rng).terminated);
        env.set_state(&[1.0, 3.0]).unwrap();
        let (reward, _, cost) = step_of(&mut env, -4.0);
        assert_near(&env.state(), &[1.0 + 1.5 - 0.125, 2.5]);
        assert_near(&[reward, cost], &[-19.0, 1.0]);
    }

    #[test]
    fn an_episode_has_fifty_steps_on_average() {
        let mut rng = stream(3, Stream::Environment(0));
        let mut env = Budget::default();
        let mut ends = 0_u32;
        for _ in 0..100_000 {
            ends += u32::from(env.step(Action::Continuous(&[0.0]), &mut rng).terminated);
        }
        // 2000 within 4 standard deviations of 44.
        assert!(ends.abs_diff(2000) < 177, "{ends}");
    }

    #[test]
    fn resets_inside_the_bounds_and_observes_the_state() {
        let mut rng = stream(3, Stream::Environment(0));
        let mut env = Budget::default();
        let mut largest = [0.0_f64; 2];
        for _ in 0..1000 {
            env.reset(&mut rng);
            let mut observation = [0.0; 2];
            env.observe(&mut observation);
            assert_eq!(observation, [env.position as f32, env.velocity as f32]);
            largest = [largest[0].max(env.position.abs()), largest[1].max(env.velocity.abs())];
        }
        assert!((0.99..=1.0).contains(&largest[0]) && (0.49..=0.5).contains(&largest[1]));
    }

    #[test]
    fn a_restored_cart_goes_on_bit_for_bit() {
        let mut rng = stream(5, Stream::Environment(0));
        let mut env = Budget::default();
        env.reset(&mut rng);
        env.step(Action::Continuous(&[1.5]), &mut rng);
        let (mut other, mut other_rng) = (Budget::default(), rng.clone());
        other.set_state(&env.state()).unwrap();
        for step in 0..50_u8 {
            let action = [f32::from(step) - 25.0];
            let action = Action::Continuous(&action);
            assert_eq!(env.step(action, &mut rng), other.step(action, &mut other_rng));
            assert_eq!(env, other);
        }
        assert!(env.set_state(&[0.0; 3]).is_err());
    }
}
