//! Cart-pole: keep a pole upright by pushing its cart left or right.

use crate::drawing::{Color, Drawing};
use crate::environment::{Environment, Spec, StateError, Step};
use crate::parameters::{ParameterError, Parametric};
use crate::rng::Rng;
use crate::rng::symmetric;
use crate::space::{Action, Space};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What can be changed of [`CartPole`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CartPoleParameters {
    /// Gravity.
    #[schemars(range(min = 0.0, max = 1000.0), extend("unit" = "m/s^2"))]
    pub gravity: f64,
    /// Mass of the cart.
    #[schemars(range(min = 1e-3, max = 1000.0), extend("unit" = "kg"))]
    pub cart_mass: f64,
    /// Mass of the pole.
    #[schemars(range(min = 1e-3, max = 1000.0), extend("unit" = "kg"))]
    pub pole_mass: f64,
    /// Half the length of the pole.
    #[schemars(range(min = 1e-3, max = 100.0), extend("unit" = "m"))]
    pub pole_half_length: f64,
    /// Force of a push.
    #[schemars(range(min = 0.0, max = 1e5), extend("unit" = "N"))]
    pub force: f64,
    /// The episode terminates when the cart is farther than this from the middle.
    #[schemars(range(min = 1e-3, max = 1000.0), extend("unit" = "m"))]
    pub max_position: f64,
    /// The episode terminates when the pole leans more than this; the default is 12 degrees.
    #[schemars(range(min = 1e-3, max = 3.0), extend("unit" = "rad"))]
    pub max_angle: f64,
    /// Each number of the first state is uniform in plus or minus this, in its own unit.
    #[schemars(range(min = 0.0, max = 3.0))]
    pub reset_bound: f64,
    /// Time of a step.
    #[schemars(range(min = 1e-4, max = 1.0), extend("unit" = "s"))]
    pub time_step: f64,
    /// Where given, there is the cost `track`: 1 in each step that ends farther than this from the middle.
    #[schemars(range(min = 0.0, max = 1000.0), example = 0.5, extend("unit" = "m"))]
    pub track_limit: Option<f64>,
}

impl Default for CartPoleParameters {
    fn default() -> Self {
        CartPoleParameters {
            gravity: 9.8,
            cart_mass: 1.0,
            pole_mass: 0.1,
            pole_half_length: 0.5,
            force: 10.0,
            max_position: 2.4,
            max_angle: 12.0 * 2.0 * std::f64::consts::PI / 360.0,
            reset_bound: 0.05,
            time_step: 0.02,
            track_limit: None,
        }
    }
}

/// Gymnasium's CartPole-v1, to the last bit.
///
/// State `(x, x_dot, theta, theta_dot)` in m, m/s, rad, rad/s; `theta = 0` is upright. Action 0
/// pushes left, 1 pushes right. With total mass `M`, pole mass `m`, half-length `l`, force `F`:
///
/// ```text
/// temp      = (F + m l theta_dot^2 sin theta) / M
/// theta_acc = (g sin theta - cos theta temp) / (l (4/3 - m cos^2 theta / M))
/// x_acc     = temp - m l theta_acc cos theta / M
/// ```
///
/// integrated by explicit Euler: positions advance with the old velocities. Every step earns 1, the
/// last included. Terminated when the cart leaves the track or the pole leans too far in the new
/// state. The observation is the state. A narrower track can be asked for, whose end ends nothing but
/// costs ([`CartPoleParameters::track_limit`]).
///
/// Source: Barto, Sutton and Anderson, "Neuronlike adaptive elements that can solve difficult
/// learning control problems" (1983); equations of Florian, "Correct equations for the dynamics of
/// the cart-pole system" (2007), without friction.
#[derive(Clone, Debug, PartialEq)]
#[repr(align(128))] // threads step neighbours side by side, and a shared cache line takes longer than a step
pub struct CartPole {
    parameters: CartPoleParameters,
    /// `M`, kg.
    total_mass: f64,
    /// `m l`, kg m.
    pole_mass_length: f64,
    state: [f64; 4],
}

impl CartPole {
    /// Steps after which an episode is truncated.
    pub const MAX_EPISODE_STEPS: u32 = 500;

    /// Upright, at rest, in the middle.
    fn with(parameters: CartPoleParameters) -> CartPole {
        CartPole {
            total_mass: parameters.pole_mass + parameters.cart_mass,
            pole_mass_length: parameters.pole_mass * parameters.pole_half_length,
            parameters,
            state: [0.0; 4],
        }
    }
}

impl Default for CartPole {
    fn default() -> Self {
        CartPole::with(CartPoleParameters::default())
    }
}

impl Parametric for CartPole {
    type Parameters = CartPoleParameters;

    fn new(parameters: CartPoleParameters) -> Result<Self, ParameterError> {
        Ok(CartPole::with(parameters))
    }
}

impl Environment for CartPole {
    fn spec(&self) -> Spec {
        // Twice the limits, as in Gymnasium, so that a failing state is still inside.
        let position = (2.0 * self.parameters.max_position) as f32;
        let angle = (2.0 * self.parameters.max_angle) as f32;
        let observation_space = Space::Box {
            low: vec![-position, f32::NEG_INFINITY, -angle, f32::NEG_INFINITY],
            high: vec![position, f32::INFINITY, angle, f32::INFINITY],
        };
        Spec {
            observation_names: [
                "cart position [m]",
                "cart velocity [m/s]",
                "pole angle [rad]",
                "pole angular velocity [rad/s]",
            ]
            .map(String::from)
            .to_vec(),
            action_names: ["push left", "push right"].map(String::from).to_vec(),
            step_seconds: Some(self.parameters.time_step),
            costs: self.parameters.track_limit.map(|_| "track".into()).into_iter().collect(),
            ..Spec::new(observation_space, Space::Discrete { n: 2 }, Self::MAX_EPISODE_STEPS)
        }
    }

    fn reset(&mut self, rng: &mut Rng) {
        for number in &mut self.state {
            *number = symmetric(rng, self.parameters.reset_bound);
        }
    }

    fn step(&mut self, action: Action<'_>, _rng: &mut Rng) -> Step {
        let CartPole { total_mass, pole_mass_length, ref parameters, .. } = *self;
        let &CartPoleParameters { gravity, pole_mass, pole_half_length, time_step, .. } =
            parameters;
        let [x, x_dot, theta, theta_dot] = self.state;
        let force = if action.index() == 1 { parameters.force } else { -parameters.force };
        let (sin, cos) = theta.sin_cos();

        // The order of the operations is Gymnasium's: an upright pole is unstable, so that one
        // rounding error becomes a different trajectory within 500 steps.
        let temp = (force + pole_mass_length * (theta_dot * theta_dot) * sin) / total_mass;
        let theta_acc = (gravity * sin - cos * temp)
            / (pole_half_length * (4.0 / 3.0 - pole_mass * (cos * cos) / total_mass));
        let x_acc = temp - pole_mass_length * theta_acc * cos / total_mass;

        let x = x + time_step * x_dot;
        let theta = theta + time_step * theta_dot;
        let terminated = x.abs() > parameters.max_position || theta.abs() > parameters.max_angle;
        self.state = [x, x_dot + time_step * x_acc, theta, theta_dot + time_step * theta_acc];
        Step { reward: 1.0, terminated, ..Step::default() }
    }

    fn observe(&self, observation: &mut [f32]) {
        for (observed, number) in observation.iter_mut().zip(self.state) {
            *observed = number as f32;
        }
    }

    fn costs(&self, costs: &mut [f64]) {
        if let Some(limit) = self.parameters.track_limit {
            costs[0] = f64::from(u8::from(self.state[0].abs() > limit));
        }
    }

    fn state(&self) -> Vec<f64> {
        self.state.to_vec()
    }

    fn set_state(&mut self, state: &[f64]) -> Result<(), StateError> {
        self.state = StateError::read(state)?;
        Ok(())
    }

    fn draw(&self, action: Option<Action<'_>>) -> Option<Drawing> {
        let track = self.parameters.max_position;
        let length = 2.0 * self.parameters.pole_half_length;
        let [x, _, theta, _] = self.state;
        let side = track + 0.5;
        let mut drawing =
            Drawing::new([-side, -0.45], [side, length + 0.45], self.parameters.time_step);
        drawing.line(&[[-track, 0.0], [track, 0.0]], 0.02, Color::Quiet);
        for end in [-track, track] {
            drawing.line(&[[end, -0.12], [end, 0.12]], 0.04, Color::Danger);
        }
        if let Some(limit) = self.parameters.track_limit.filter(|&limit| limit < track) {
            for end in [-limit, limit] {
                drawing.line(&[[end, -0.08], [end, 0.08]], 0.02, Color::Danger);
            }
        }
        drawing.rectangle([x - 0.25, -0.12], [x + 0.25, 0.14], Color::Text);
        let (sin, cos) = theta.sin_cos();
        drawing.line(&[[x, 0.14], [x + length * sin, 0.14 + length * cos]], 0.09, Color::Accent);
        drawing.disc([x, 0.14], 0.05, Color::Soft);
        if let Some(push) = action {
            let way = if push.index() == 1 { 1.0 } else { -1.0 };
            drawing.arrow([x + way * 0.32, 0.01], [x + way * 0.62, 0.01], 0.04, Color::Second);
        }
        Some(drawing)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::{Stream, stream};

    fn step_from(state: [f64; 4], action: usize) -> (Vec<f64>, Step) {
        let mut env = CartPole { state, ..CartPole::default() };
        let step = env.step(Action::Discrete(action), &mut stream(0, Stream::Environment(0)));
        (env.state(), step)
    }

    #[test]
    fn one_push_from_rest() {
        // Upright and at rest: temp = 10 / 1.1, theta_acc = -temp / (0.5 (4/3 - 0.1 / 1.1)),
        // x_acc = temp - 0.05 theta_acc / 1.1. Positions use the old velocities: they stay.
        let (state, step) = step_from([0.0; 4], 1);
        let temp = 10.0 / 1.1;
        let theta_acc = -temp / (0.5 * (4.0 / 3.0 - 0.1 / 1.1));
        let expected = [0.0, 0.02 * (temp - 0.05 * theta_acc / 1.1), 0.0, 0.02 * theta_acc];
        for (found, expected) in state.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-15, "{found} is not {expected}");
        }
        assert_eq!(step, Step { reward: 1.0, ..Step::default() });

        let (mirrored, _) = step_from([0.0; 4], 0);
        assert_eq!(mirrored, state.iter().map(|number| -number).collect::<Vec<_>>());
    }

    #[test]
    fn terminates_beyond_the_limits_only() {
        let at = |x, theta| step_from([x, 0.0, theta, 0.0], 0).1.terminated;
        assert!(!at(2.4, 0.0));
        assert!(at(2.4000001, 0.0));
        assert!(at(-2.4000001, 0.0));
        assert!(!at(0.0, CartPoleParameters::default().max_angle));
        assert!(at(0.0, 0.2094396));
        assert!(at(0.0, -0.2094396));
    }

    #[test]
    fn every_parameter_is_where_the_equations_have_it() {
        // g 5, M = 2 + 0.5, l 0.8, F 3: one push from a pole at 0.1 rad that turns at 0.7 rad/s.
        let parameters = CartPoleParameters {
            gravity: 5.0,
            cart_mass: 2.0,
            pole_mass: 0.5,
            pole_half_length: 0.8,
            force: 3.0,
            max_position: 1.0,
            max_angle: 0.2,
            reset_bound: 0.01,
            time_step: 0.1,
            track_limit: None,
        };
        let mut rng = stream(0, Stream::Environment(0));
        let mut env = CartPole::new(parameters).unwrap();
        env.reset(&mut rng);
        assert!(env.state.iter().all(|number| number.abs() <= 0.01));
        env.state = [0.95, 0.4, 0.1, 0.7];
        let step = env.step(Action::Discrete(0), &mut rng);
        let (sin, cos) = 0.1_f64.sin_cos();
        let temp = (-3.0 + 0.4 * 0.49 * sin) / 2.5;
        let theta_acc = (5.0 * sin - cos * temp) / (0.8 * (4.0 / 3.0 - 0.2 * cos * cos));
        let x_acc = temp - 0.4 * theta_acc * cos / 2.5;
        let expected = [0.99, 0.4 + 0.1 * x_acc, 0.17, 0.7 + 0.1 * theta_acc];
        for (found, expected) in env.state.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-14, "{found} is not {expected}");
        }
        assert!(!step.terminated);
        assert!(env.step(Action::Discrete(0), &mut rng).terminated, "0.17 + 0.1 * 0.7 is over 0.2");
        let Space::Box { high, .. } = env.spec().observation_space else { panic!("a box") };
        assert_eq!([high[0], high[2]], [2.0, 0.4]);
    }

    #[test]
    fn the_last_step_is_rewarded() {
        assert_eq!(step_from([2.4, 1.0, 0.0, 0.0], 1).1.reward, 1.0);
    }

    #[test]
    fn a_narrow_track_costs_and_ends_nothing() {
        let cost_at = |x: f64| {
            let parameters =
                CartPoleParameters { track_limit: Some(0.5), ..CartPoleParameters::default() };
            let mut env = CartPole { state: [x, 0.0, 0.0, 0.0], ..CartPole::with(parameters) };
            assert_eq!(env.spec().costs, ["track"]);
            let step = env.step(Action::Discrete(0), &mut stream(0, Stream::Environment(0)));
            assert_eq!(step, Step { reward: 1.0, ..Step::default() });
            let mut costs = [7.0];
            env.costs(&mut costs);
            costs[0]
        };
        assert_eq!([-0.6, -0.5, 0.0, 0.5, 0.6].map(cost_at), [1.0, 0.0, 0.0, 0.0, 1.0]);
        assert!(CartPole::default().spec().costs.is_empty());
    }

    #[test]
    fn resets_inside_the_bounds_and_observes_the_state() {
        let mut rng = stream(3, Stream::Environment(0));
        let mut env = CartPole::default();
        for _ in 0..100 {
            env.reset(&mut rng);
            let state = env.state();
            assert!(state.iter().all(|number| number.abs() <= 0.05 && *number != 0.0));
            let mut observation = [0.0; 4];
            env.observe(&mut observation);
            assert_eq!(observation.to_vec(), state.iter().map(|n| *n as f32).collect::<Vec<_>>());
        }
    }

    #[test]
    fn state_of_another_length_is_refused() {
        let mut env = CartPole::default();
        assert_eq!(env.set_state(&[1.0, 2.0, 3.0, 4.0]), Ok(()));
        let error = env.set_state(&[0.0; 3]).unwrap_err();
        assert_eq!(error, StateError::Length { expected: 4, found: 3 });
        assert_eq!(env.state(), [1.0, 2.0, 3.0, 4.0]);
    }
}
