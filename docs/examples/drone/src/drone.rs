//! A drone in a vertical plane: two rotors, gusts of wind, a waypoint.

use envs::{
    Action, Color, Drawing, Environment, ParameterError, Parametric, Rng, Space, Spec, StateError,
    Step,
};
use rand::RngExt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::f64::consts::FRAC_PI_2;

// ANCHOR: parameters
/// What can be changed of [`Drone`]. It is not told either of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DroneParameters {
    /// Mass, with all that the drone carries.
    #[schemars(range(min = 0.3, max = 0.9), extend("unit" = "kg"))]
    pub mass: f64,
    /// Standard deviation of the wind.
    #[schemars(range(min = 0.0, max = 10.0), extend("unit" = "m/s"))]
    pub wind: f64,
}

impl Default for DroneParameters {
    fn default() -> Self {
        DroneParameters { mass: 0.5, wind: 1.5 }
    }
}

impl Parametric for Drone {
    type Parameters = DroneParameters;

    fn new(parameters: DroneParameters) -> Result<Self, ParameterError> {
        Ok(Drone { parameters, ..Drone::default() })
    }
}
// ANCHOR_END: parameters

/// Fly to the waypoint and hold it against the wind.
///
/// The waypoint is the origin, `x` to the right and `z` up in m; `tilt` in rad, 0 is level and positive
/// leans to the left. The action is how hard each rotor works, left and right, from -1 (off) over 0
/// (a drone of 0.5 kg hovers) to 1. With thrusts `left` and `right` in N, mass `m`, inertia `I`, half span `l`:
///
/// ```text
/// ax         = -(left + right) sin(tilt) / m - drag (vx - wind)
/// az         =  (left + right) cos(tilt) / m - drag vz - g
/// tilt''     =  (right - left) l / I - damping tilt'
/// ```
///
/// by semi-implicit Euler. The wind, in m/s, is a first-order random process. The reward of a step is
/// `1 - distance / 3 - 0.05 |action|^2`, above 0 as long as the drone is near. The episode terminates
/// when it tips over or is carried off, and is a success where it ends at the waypoint.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Drone {
    parameters: DroneParameters,
    /// Place from the waypoint, m.
    x: f64,
    z: f64,
    /// Lean to the left, rad.
    tilt: f64,
    /// Velocities, m/s and rad/s.
    vx: f64,
    vz: f64,
    spin: f64,
    /// Horizontal velocity of the air, m/s.
    wind: f64,
}

impl Drone {
    /// Moment of inertia, kg m^2.
    const INERTIA: f64 = 0.01;
    /// From the middle to each rotor, m.
    const HALF_SPAN: f64 = 0.2;
    /// Gravity, m/s^2.
    const GRAVITY: f64 = 9.81;
    /// Thrust of a rotor at full power, N: twice what hovering takes at 0.5 kg.
    const MAX_THRUST: f64 = 0.5 * Self::GRAVITY;
    /// Drag of the air, 1/s.
    const DRAG: f64 = 0.5;
    /// Damping of the spin, 1/s.
    const SPIN_DAMPING: f64 = 2.0;
    /// How long a gust lasts, s.
    const GUST: f64 = 1.0;
    /// Time of a step, s.
    const TIME_STEP: f64 = 0.02;
    /// The drone starts this far from the waypoint at most in each direction, m.
    const RESET_DISTANCE: f64 = 1.5;
    /// The episode terminates when it is farther away than this, m.
    const RANGE: f64 = 3.0;
    /// At the waypoint: no farther from it, m.
    const NEAR: f64 = 0.15;

    /// From the waypoint, m.
    #[must_use]
    pub fn distance(&self) -> f64 {
        self.x.hypot(self.z)
    }

    /// Thrusts of the left and the right rotor, N.
    fn thrusts(action: Action<'_>) -> [f64; 2] {
        let share = |power: f32| 0.5 * (1.0 + f64::from(power));
        [action.values()[0], action.values()[1]].map(|power| Self::MAX_THRUST * share(power))
    }

    /// A point of the drone's own frame, `along` the span to the right and `up` from it, in the world.
    fn at(&self, along: f64, up: f64) -> [f64; 2] {
        let (sin, cos) = self.tilt.sin_cos();
        [self.x + along * cos - up * sin, self.z + along * sin + up * cos]
    }
}

impl Environment for Drone {
    fn spec(&self) -> Spec {
        // Position and velocities relative to the waypoint, the tilt's sine and cosine, the spin.
        let observation_space = Space::symmetric_box(7, f32::INFINITY);
        let action_space = Space::symmetric_box(2, 1.0);
        Spec { reports_success: true, ..Spec::new(observation_space, action_space, 250) }
    }

    fn reset(&mut self, rng: &mut Rng) {
        let mut uniform = |bound: f64| rng.random_range(-bound..bound);
        *self = Drone {
            parameters: self.parameters.clone(),
            x: uniform(Self::RESET_DISTANCE),
            z: uniform(Self::RESET_DISTANCE),
            tilt: uniform(0.5),
            vx: uniform(0.5),
            vz: uniform(0.5),
            spin: uniform(0.5),
            wind: self.parameters.wind * uniform(1.0),
        };
    }

    fn step(&mut self, action: Action<'_>, rng: &mut Rng) -> Step {
        let [left, right] = Self::thrusts(action);
        let (sin, cos) = self.tilt.sin_cos();
        let lift = (left + right) / self.parameters.mass;
        self.vx += (-lift * sin - Self::DRAG * (self.vx - self.wind)) * Self::TIME_STEP;
        self.vz += (lift * cos - Self::DRAG * self.vz - Self::GRAVITY) * Self::TIME_STEP;
        let torque = (right - left) * Self::HALF_SPAN;
        self.spin += (torque / Self::INERTIA - Self::SPIN_DAMPING * self.spin) * Self::TIME_STEP;
        self.x += self.vx * Self::TIME_STEP;
        self.z += self.vz * Self::TIME_STEP;
        self.tilt += self.spin * Self::TIME_STEP;
        // Uniform noise of standard deviation 1 drives the gusts.
        let noise = rng.random_range(-1.0..1.0) * 3.0_f64.sqrt();
        let share = Self::TIME_STEP / Self::GUST;
        self.wind += -share * self.wind + self.parameters.wind * (2.0 * share).sqrt() * noise;

        let effort: f64 = action.values().iter().map(|&power| f64::from(power * power)).sum();
        let distance = self.distance();
        Step {
            reward: 1.0 - distance / Self::RANGE - 0.05 * effort,
            terminated: distance > Self::RANGE || self.tilt.abs() > FRAC_PI_2,
            truncated: false,
            success: Some(distance <= Self::NEAR),
        }
    }

    fn observe(&self, observation: &mut [f32]) {
        let (sin, cos) = self.tilt.sin_cos();
        let numbers = [self.x, self.z, self.vx, self.vz, sin, cos, 0.2 * self.spin];
        for (observed, number) in observation.iter_mut().zip(numbers) {
            *observed = number as f32;
        }
    }

    fn state(&self) -> Vec<f64> {
        vec![self.x, self.z, self.tilt, self.vx, self.vz, self.spin, self.wind]
    }

    fn set_state(&mut self, state: &[f64]) -> Result<(), StateError> {
        let [x, z, tilt, vx, vz, spin, wind] = StateError::read(state)?;
        let parameters = self.parameters.clone();
        *self = Drone { parameters, x, z, tilt, vx, vz, spin, wind };
        Ok(())
    }

    // ANCHOR: draw
    fn draw(&self, action: Option<Action<'_>>) -> Option<Drawing> {
        let mut drawing = Drawing::new([-2.4, -1.8], [2.4, 1.8], Self::TIME_STEP);
        drawing.ring([0.0, 0.0], Self::NEAR, Color::Danger);
        drawing.disc([0.0, 0.0], 0.03, Color::Danger);
        drawing.text("wind", [-1.6, 1.6], 0.16, Color::Quiet);
        drawing.arrow([-1.6, 1.4], [-1.6 + 0.25 * self.wind, 1.4], 0.03, Color::Quiet);
        drawing.trail(self.at(0.0, 0.0), 60, 0.02, Color::Second);
        if let Some(action) = action {
            for (thrust, along) in Self::thrusts(action).into_iter().zip([-1.0, 1.0]) {
                let length = 0.35 * thrust / Self::MAX_THRUST;
                let jet = [along * Self::HALF_SPAN, -0.03];
                let ends = [self.at(jet[0], jet[1]), self.at(jet[0], jet[1] - length)];
                drawing.line(&ends, 0.06, Color::Second);
            }
        }
        let span = [self.at(-Self::HALF_SPAN, 0.0), self.at(Self::HALF_SPAN, 0.0)];
        drawing.line(&span, 0.06, Color::Accent);
        for along in [-Self::HALF_SPAN, Self::HALF_SPAN] {
            let rotor = [self.at(along - 0.14, 0.07), self.at(along + 0.14, 0.07)];
            drawing.line(&[self.at(along, 0.0), self.at(along, 0.07)], 0.03, Color::Text);
            drawing.line(&rotor, 0.03, Color::Text);
        }
        drawing.disc(self.at(0.0, 0.0), 0.08, Color::Text);
        Some(drawing)
    }
    // ANCHOR_END: draw
}

#[cfg(test)]
mod tests {
    use super::*;
    use envs::{Stream, stream};

    /// Still air and a level drone at the waypoint.
    fn fly(actions: [f32; 2], steps: usize) -> (Drone, Step) {
        let mut rng = stream(1, Stream::Environment(0));
        let mut drone = Drone::default();
        let mut last = Step::default();
        for _ in 0..steps {
            drone.wind = 0.0;
            last = drone.step(Action::Continuous(&actions), &mut rng);
        }
        (drone, last)
    }

    #[test]
    fn half_power_hovers() {
        let (drone, step) = fly([0.0, 0.0], 50);
        assert!(drone.distance() < 1e-12);
        assert_eq!((step.reward, step.success, step.terminated), (1.0, Some(true), false));
    }

    #[test]
    fn without_power_it_falls() {
        let (drone, _) = fly([-1.0, -1.0], 25);
        // Half a second: v = -(g / k)(1 - exp(-k t)), and the integration is of first order.
        let exact = -(Drone::GRAVITY / Drone::DRAG) * (1.0 - (-0.5 * Drone::DRAG).exp());
        assert!((drone.vz - exact).abs() < 0.03, "{} and {exact}", drone.vz);
    }

    #[test]
    fn the_right_rotor_leans_it_to_the_left_until_it_tips_over() {
        let (drone, _) = fly([-0.1, 0.1], 10);
        assert!(drone.tilt > 0.0 && drone.vx < 0.0);
        let (_, step) = fly([-1.0, 1.0], 20);
        assert!(step.terminated);
    }

    #[test]
    fn a_heavier_drone_sinks_at_half_power() {
        let mut rng = stream(1, Stream::Environment(0));
        let parameters = DroneParameters { mass: 0.6, wind: 0.0 };
        let mut drone = Drone::new(parameters).expect("they go together");
        drone.step(Action::Continuous(&[0.0, 0.0]), &mut rng);
        // Thrust for 0.5 kg: az = g (0.5 / 0.6 - 1).
        assert!((drone.vz + Drone::GRAVITY / 6.0 * Drone::TIME_STEP).abs() < 1e-12);
        assert_eq!(drone.wind, 0.0);
    }

    #[test]
    fn wind_has_its_standard_deviation_and_its_state_comes_back() {
        let mut rng = stream(7, Stream::Environment(0));
        let mut drone = Drone::default();
        let mut squares = 0.0;
        const STEPS: usize = 200_000;
        for _ in 0..STEPS {
            drone.step(Action::Continuous(&[0.0, 0.0]), &mut rng);
            squares += drone.wind * drone.wind;
        }
        let deviation = (squares / STEPS as f64).sqrt();
        assert!((deviation - drone.parameters.wind).abs() < 0.1, "{deviation}");
        let mut copy = Drone::default();
        assert!(copy.set_state(&drone.state()).is_ok());
        assert_eq!(copy, drone);
    }
}
