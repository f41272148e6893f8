//! Cart-pole: keep a pole upright by pushing its cart left or right.

use rand::RngExt;

use crate::{Action, Color, Drawing, Environment, Rng, Space, StateError, Step};

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
/// state. The observation is the state.
///
/// Source: Barto, Sutton and Anderson, "Neuronlike adaptive elements that can solve difficult
/// learning control problems" (1983); equations of Florian, "Correct equations for the dynamics of
/// the cart-pole system" (2007), without friction.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CartPole {
    state: [f64; 4],
}

impl CartPole {
    /// Gravity, m/s^2.
    pub const GRAVITY: f64 = 9.8;
    /// Mass of the cart, kg.
    pub const CART_MASS: f64 = 1.0;
    /// Mass of the pole, kg.
    pub const POLE_MASS: f64 = 0.1;
    /// Half the length of the pole, m.
    pub const POLE_HALF_LENGTH: f64 = 0.5;
    /// Force of a push, N.
    pub const FORCE: f64 = 10.0;
    /// Time of a step, s.
    pub const TIME_STEP: f64 = 0.02;
    /// The episode terminates when the cart is farther than this from the middle, m.
    pub const MAX_POSITION: f64 = 2.4;
    /// The episode terminates when the pole leans more than this, rad (12 degrees).
    pub const MAX_ANGLE: f64 = 12.0 * 2.0 * std::f64::consts::PI / 360.0;
    /// Each number of the first state is uniform in plus or minus this.
    pub const RESET_BOUND: f64 = 0.05;
    /// Steps after which an episode is truncated.
    pub const MAX_EPISODE_STEPS: u32 = 500;
}

impl Environment for CartPole {
    fn observation_space(&self) -> Space {
        // Twice the limits, as in Gymnasium, so that a failing state is still inside.
        let position = (2.0 * Self::MAX_POSITION) as f32;
        let angle = (2.0 * Self::MAX_ANGLE) as f32;
        Space::Box {
            low: vec![-position, f32::NEG_INFINITY, -angle, f32::NEG_INFINITY],
            high: vec![position, f32::INFINITY, angle, f32::INFINITY],
        }
    }

    fn action_space(&self) -> Space {
        Space::Discrete { n: 2 }
    }

    fn max_episode_steps(&self) -> u32 {
        Self::MAX_EPISODE_STEPS
    }

    fn reset(&mut self, rng: &mut Rng) {
        for number in &mut self.state {
            *number = rng.random_range(-Self::RESET_BOUND..Self::RESET_BOUND);
        }
    }

    fn step(&mut self, action: Action<'_>, _rng: &mut Rng) -> Step {
        const TOTAL_MASS: f64 = CartPole::POLE_MASS + CartPole::CART_MASS;
        const POLE_MASS_LENGTH: f64 = CartPole::POLE_MASS * CartPole::POLE_HALF_LENGTH;

        let [x, x_dot, theta, theta_dot] = self.state;
        let force = if action.index() == 1 { Self::FORCE } else { -Self::FORCE };
        let (sin, cos) = theta.sin_cos();

        // The order of the operations is Gymnasium's: an upright pole is unstable, so that one
        // rounding error becomes a different trajectory within 500 steps.
        let temp = (force + POLE_MASS_LENGTH * (theta_dot * theta_dot) * sin) / TOTAL_MASS;
        let theta_acc = (Self::GRAVITY * sin - cos * temp)
            / (Self::POLE_HALF_LENGTH * (4.0 / 3.0 - Self::POLE_MASS * (cos * cos) / TOTAL_MASS));
        let x_acc = temp - POLE_MASS_LENGTH * theta_acc * cos / TOTAL_MASS;

        let x = x + Self::TIME_STEP * x_dot;
        let theta = theta + Self::TIME_STEP * theta_dot;
        self.state =
            [x, x_dot + Self::TIME_STEP * x_acc, theta, theta_dot + Self::TIME_STEP * theta_acc];
        Step {
            reward: 1.0,
            terminated: x.abs() > Self::MAX_POSITION || theta.abs() > Self::MAX_ANGLE,
            truncated: false,
            success: None,
        }
    }

    fn observe(&self, observation: &mut [f32]) {
        for (observed, number) in observation.iter_mut().zip(self.state) {
            *observed = number as f32;
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
        const TRACK: f64 = CartPole::MAX_POSITION;
        let [x, _, theta, _] = self.state;
        let mut drawing = Drawing::new([-2.9, -0.45], [2.9, 1.45], Self::TIME_STEP);
        drawing.line(&[[-TRACK, 0.0], [TRACK, 0.0]], 0.02, Color::Quiet);
        for end in [-TRACK, TRACK] {
            drawing.line(&[[end, -0.12], [end, 0.12]], 0.04, Color::Danger);
        }
        drawing.rectangle([x - 0.25, -0.12], [x + 0.25, 0.14], Color::Text);
        let (sin, cos) = theta.sin_cos();
        let length = 2.0 * Self::POLE_HALF_LENGTH;
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
        let mut env = CartPole { state };
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
        assert!(!at(CartPole::MAX_POSITION, 0.0));
        assert!(at(2.4000001, 0.0));
        assert!(at(-2.4000001, 0.0));
        assert!(!at(0.0, CartPole::MAX_ANGLE));
        assert!(at(0.0, 0.2094396));
        assert!(at(0.0, -0.2094396));
    }

    #[test]
    fn the_last_step_is_rewarded() {
        assert_eq!(step_from([2.4, 1.0, 0.0, 0.0], 1).1.reward, 1.0);
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
