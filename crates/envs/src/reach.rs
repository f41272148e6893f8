//! Reach: move the gripper of a planar two-link arm to an object and grasp it.

use std::f64::consts::{PI, TAU};

use rand::RngExt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::drawing::{Color, Drawing};
use crate::environment::{Environment, Spec, StateError, Step};
use crate::parameters::{ParameterError, Parametric};
use crate::rng::Rng;
use crate::space::{Action, Space};

/// What can be changed of [`Reach`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ReachParameters {
    /// Length of the link from the base to the elbow.
    #[schemars(range(min = 1e-2, max = 100.0), extend("unit" = "m"))]
    pub link1_length: f64,
    /// Length of the link from the elbow to the gripper.
    #[schemars(range(min = 1e-2, max = 100.0), extend("unit" = "m"))]
    pub link2_length: f64,
    /// Mass of the first link.
    #[schemars(range(min = 1e-3, max = 1000.0), extend("unit" = "kg"))]
    pub link1_mass: f64,
    /// Mass of the second link.
    #[schemars(range(min = 1e-3, max = 1000.0), extend("unit" = "kg"))]
    pub link2_mass: f64,
    /// Viscous friction of each joint.
    #[schemars(range(min = 0.0, max = 1000.0), extend("unit" = "N m s/rad"))]
    pub joint_friction: f64,
    /// Torque of an action of 1.
    #[schemars(range(min = 0.0, max = 1e6), extend("unit" = "N m"))]
    pub max_torque: f64,
    /// A grasp needs the gripper at most this far from the object.
    #[schemars(range(min = 1e-6, max = 100.0), extend("unit" = "m"))]
    pub grasp_distance: f64,
    /// A grasp needs the gripper at most this fast.
    #[schemars(range(min = 1e-6, max = 1000.0), extend("unit" = "m/s"))]
    pub grasp_speed: f64,
    /// The object is at least this far from the base.
    #[schemars(range(min = 0.0, max = 100.0), extend("unit" = "m"))]
    pub min_object_radius: f64,
    /// The object is at most this far from the base.
    #[schemars(range(min = 1e-3, max = 100.0), extend("unit" = "m"))]
    pub max_object_radius: f64,
    /// What the reward takes for a distance of 1 m from the gripper to the object.
    #[schemars(range(min = 0.0, max = 1e6), extend("unit" = "1/m"))]
    pub distance_weight: f64,
    /// What the reward takes for a squared action of 1.
    #[schemars(range(min = 0.0, max = 1e6))]
    pub effort_weight: f64,
    /// What the reward gives for a grasp.
    #[schemars(range(min = 0.0, max = 1e6))]
    pub grasp_weight: f64,
    /// `x` of the middle of a zone to avoid. Where a zone is given, with all three of its numbers, there is
    /// the cost `zone`: 1 in each step that ends with the gripper in it.
    #[schemars(range(min = -1000.0, max = 1000.0), example = 0.5, extend("unit" = "m"))]
    pub zone_x: Option<f64>,
    /// `y` of the middle of the zone.
    #[schemars(range(min = -1000.0, max = 1000.0), example = 0.0, extend("unit" = "m"))]
    pub zone_y: Option<f64>,
    /// Radius of the zone.
    #[schemars(range(min = 1e-6, max = 1000.0), example = 0.2, extend("unit" = "m"))]
    pub zone_radius: Option<f64>,
    /// Where given, there is the cost `speed`: in each step the sum of what the joints are faster than
    /// this, in rad/s.
    #[schemars(range(min = 0.0, max = 1000.0), example = 2.0, extend("unit" = "rad/s"))]
    pub joint_speed_limit: Option<f64>,
}

impl ReachParameters {
    /// Middle and radius of the zone to avoid, where there is one.
    fn zone(&self) -> Option<([f64; 2], f64)> {
        Some(([self.zone_x?, self.zone_y?], self.zone_radius?))
    }
}

impl Default for ReachParameters {
    fn default() -> Self {
        ReachParameters {
            link1_length: 0.5,
            link2_length: 0.5,
            link1_mass: 1.0,
            link2_mass: 1.0,
            joint_friction: 0.1,
            max_torque: 2.0,
            grasp_distance: 0.05,
            grasp_speed: 0.5,
            min_object_radius: 0.2,
            max_object_radius: 0.95,
            distance_weight: 1.0,
            effort_weight: 0.01,
            grasp_weight: 10.0,
            zone_x: None,
            zone_y: None,
            zone_radius: None,
            joint_speed_limit: None,
        }
    }
}

/// A two-link arm in a horizontal plane, driven by a torque at each joint.
///
/// The links are uniform rods without gravity, of length `l1`, `l2` and mass `m1`, `m2`; joint angle
/// `q2` is relative to the first link, and the base is the origin. The action is two numbers, clipped
/// to plus or minus 1, times the largest torque. With `M` the mass matrix, `b` the joint friction,
/// `c = m2 l1 l2 / 2` and `h = c sin q2`:
///
/// ```text
/// M11 q1'' + M12 q2'' = torque1 - b q1' + h (2 q1' q2' + q2'^2)
/// M12 q1'' + M22 q2'' = torque2 - b q2' - h q1'^2
///
/// M11 = (m1 l1^2 + m2 l2^2) / 3 + m2 l1^2 + 2 c cos q2
/// M12 = M22 + c cos q2
/// M22 = m2 l2^2 / 3
/// ```
///
/// integrated by the classic fourth-order Runge-Kutta method with the torque held. Reward after the
/// step: [`Reach::reward`]; its terms are `distance`, `effort` and `grasp`. A grasp (the gripper near
/// the object, and slow) terminates the episode and is its success.
///
/// Two costs can be asked for, `zone` and `speed` ([`ReachParameters::zone_radius`],
/// [`ReachParameters::joint_speed_limit`]). The observation says nothing of them.
///
/// Observation (10): `cos q1, sin q1, cos q2, sin q2, q1', q2'`, gripper `x, y`, object `x, y`, in
/// rad/s and m.
///
/// Source of the equations: Spong, Hutchinson and Vidyasagar, "Robot Modeling and Control" (2006),
/// section 7.4, for rods: the centre of mass at `l / 2`, `I = m l^2 / 12`.
#[derive(Clone, Debug, PartialEq)]
pub struct Reach {
    parameters: ReachParameters,
    dynamics: Dynamics,
    /// `q1, q2`, rad.
    angles: [f64; 2],
    /// `q1', q2'`, rad/s.
    velocities: [f64; 2],
    /// Where the object is, m.
    object: [f64; 2],
    /// Sine and cosine of each angle: the next step and the observation both need them, and they
    /// are the greater part of the time of a step.
    sin: [f64; 2],
    cos: [f64; 2],
    /// Terms of the last step's reward.
    terms: [f64; 3],
}

/// What the equations of motion need of the parameters.
#[derive(Clone, Debug, PartialEq)]
struct Dynamics {
    /// `M11` without its cosine, kg m^2.
    m11: f64,
    /// `M22`, kg m^2.
    m22: f64,
    /// `c`, kg m^2.
    coupling: f64,
    /// `b`, N m s/rad.
    friction: f64,
    /// `l2 / l1`.
    length_ratio: f64,
}

impl Dynamics {
    fn new(parameters: &ReachParameters) -> Dynamics {
        let ReachParameters { link1_length: l1, link2_length: l2, .. } = *parameters;
        let ReachParameters { link1_mass: m1, link2_mass: m2, .. } = *parameters;
        // One division: for equal links the same bits as 5/3 m l^2.
        let m11 = (m1 * l1 * l1 + m2 * l2 * l2 + 3.0 * (m2 * l1 * l1)) / 3.0;
        Dynamics {
            m11,
            m22: m2 * l2 * l2 / 3.0,
            coupling: 0.5 * (m2 * l1 * l2),
            friction: parameters.joint_friction,
            length_ratio: l2 / l1,
        }
    }

    /// The joint accelerations, rad/s^2: the 2x2 system of [`Reach`] in closed form.
    #[inline]
    fn accelerations(
        &self,
        (sin2, cos2): (f64, f64),
        [rate1, rate2]: [f64; 2],
        [torque1, torque2]: [f64; 2],
    ) -> [f64; 2] {
        let Dynamics { m22, coupling, friction, .. } = *self;
        let m12 = m22 + coupling * cos2;
        let m11 = self.m11 + 2.0 * coupling * cos2;
        let h = coupling * sin2;
        let right1 = torque1 - friction * rate1 + h * rate2 * (2.0 * rate1 + rate2);
        let right2 = torque2 - friction * rate2 - h * rate1 * rate1;
        let inverse_determinant = 1.0 / (m11 * m22 - m12 * m12);
        [
            (m22 * right1 - m12 * right2) * inverse_determinant,
            (m11 * right2 - m12 * right1) * inverse_determinant,
        ]
    }
}

impl Reach {
    /// Time of an integration step, s.
    pub const TIME_STEP: f64 = 0.01;
    /// Integration steps in a control step.
    pub const SUBSTEPS: u32 = 2;
    /// The first joint velocities are uniform in plus or minus this, rad/s; the angles are uniform.
    pub const RESET_VELOCITY: f64 = 0.1;
    /// Steps after which an episode is truncated.
    pub const MAX_EPISODE_STEPS: u32 = 200;

    /// A stretched arm at rest, the object at its base.
    fn with(parameters: ReachParameters) -> Reach {
        let arm = Reach {
            dynamics: Dynamics::new(&parameters),
            parameters,
            angles: [0.0; 2],
            velocities: [0.0; 2],
            object: [0.0; 2],
            sin: [0.0; 2],
            cos: [1.0; 2],
            terms: [0.0; 3],
        };
        arm.at([0.0; 2], [0.0; 2], [0.0; 2])
    }

    /// This arm with other joint angles (rad) and velocities (rad/s), and the object at another place
    /// (m).
    #[must_use]
    pub fn at(mut self, angles: [f64; 2], velocities: [f64; 2], object: [f64; 2]) -> Reach {
        self.put(angles, velocities, object);
        self
    }

    fn put(&mut self, angles: [f64; 2], velocities: [f64; 2], object: [f64; 2]) {
        (self.angles, self.velocities, self.object) = (angles, velocities, object);
        let [(sin1, cos1), (sin2, cos2)] = angles.map(f64::sin_cos);
        (self.sin, self.cos) = ([sin1, sin2], [cos1, cos2]);
    }

    /// The reward: `-distance - 0.01 |action|^2 + 10 grasped` with the default weights, with the
    /// distance from the gripper to the object in m.
    #[must_use]
    pub fn reward(&self, distance: f64, squared_action: f64, grasped: bool) -> f64 {
        self.terms(distance, squared_action, grasped).iter().sum()
    }

    /// The terms of [`Reach::reward`].
    fn terms(&self, distance: f64, squared_action: f64, grasped: bool) -> [f64; 3] {
        let weights = &self.parameters;
        let grasp = if grasped { weights.grasp_weight } else { 0.0 };
        [-weights.distance_weight * distance, -weights.effort_weight * squared_action, grasp]
    }

    /// Joint angles `q1, q2`, rad; `q2` is relative to the first link. They are never wrapped.
    #[must_use]
    pub fn angles(&self) -> [f64; 2] {
        self.angles
    }

    /// Joint velocities `q1', q2'`, rad/s.
    #[must_use]
    pub fn velocities(&self) -> [f64; 2] {
        self.velocities
    }

    /// Where the object is, m.
    #[must_use]
    pub fn object(&self) -> [f64; 2] {
        self.object
    }

    /// Where the gripper is, m.
    #[must_use]
    pub fn gripper(&self) -> [f64; 2] {
        let (upper, fore) = self.links();
        [upper[0] + fore[0], upper[1] + fore[1]]
    }

    /// How the gripper moves, m/s.
    #[must_use]
    pub fn gripper_velocity(&self) -> [f64; 2] {
        let (upper, fore) = self.links();
        let upper_rate = self.velocities[0];
        let fore_rate = self.velocities[0] + self.velocities[1];
        [-upper[1] * upper_rate - fore[1] * fore_rate, upper[0] * upper_rate + fore[0] * fore_rate]
    }

    /// The two links as vectors from joint to joint, m.
    fn links(&self) -> ([f64; 2], [f64; 2]) {
        let ([sin1, sin2], [cos1, cos2]) = (self.sin, self.cos);
        let length = self.parameters.link1_length;
        let upper = [length * cos1, length * sin1];
        // The fore link's angle is q1 + q2.
        let ratio = self.dynamics.length_ratio;
        let fore = [
            ratio * (upper[0] * cos2 - upper[1] * sin2),
            ratio * (upper[1] * cos2 + upper[0] * sin2),
        ];
        (upper, fore)
    }

    /// Advances by one control step with an action clipped here.
    pub fn advance(&mut self, action: [f64; 2]) -> Step {
        let action = action.map(|number| number.clamp(-1.0, 1.0));
        let torques = action.map(|number| number * self.parameters.max_torque);
        for _ in 0..Self::SUBSTEPS {
            self.integrate(torques);
        }
        (self.sin[0], self.cos[0]) = self.angles[0].sin_cos();

        let [x, y] = self.gripper();
        let [x_velocity, y_velocity] = self.gripper_velocity();
        let distance = norm(x - self.object[0], y - self.object[1]);
        let speed = norm(x_velocity, y_velocity);
        let grasped =
            distance <= self.parameters.grasp_distance && speed <= self.parameters.grasp_speed;
        let squared_action = action[0] * action[0] + action[1] * action[1];
        self.terms = self.terms(distance, squared_action, grasped);
        Step {
            reward: self.terms[0] + self.terms[1] + self.terms[2],
            terminated: grasped,
            truncated: false,
            success: Some(grasped),
        }
    }

    /// One step of the classic Runge-Kutta method. Leaves sine and cosine of the second joint up to
    /// date;
    /// the dynamics don't depend on the first angle.
    fn integrate(&mut self, torques: [f64; 2]) {
        const DT: f64 = Reach::TIME_STEP;
        let (q, v1) = (self.angles, self.velocities);

        // v1..v4 and a1..a4: velocities and accelerations at the four stages.
        let accelerations = |sin_cos, rates| self.dynamics.accelerations(sin_cos, rates, torques);
        let a1 = accelerations((self.sin[1], self.cos[1]), v1);
        let v2 = add(v1, 0.5 * DT, a1);
        let a2 = accelerations((q[1] + 0.5 * DT * v1[1]).sin_cos(), v2);
        let v3 = add(v1, 0.5 * DT, a2);
        let a3 = accelerations((q[1] + 0.5 * DT * v2[1]).sin_cos(), v3);
        let v4 = add(v1, DT, a3);
        let a4 = accelerations((q[1] + DT * v3[1]).sin_cos(), v4);

        for joint in 0..2 {
            self.angles[joint] +=
                DT / 6.0 * (v1[joint] + 2.0 * (v2[joint] + v3[joint]) + v4[joint]);
            self.velocities[joint] +=
                DT / 6.0 * (a1[joint] + 2.0 * (a2[joint] + a3[joint]) + a4[joint]);
        }
        (self.sin[1], self.cos[1]) = self.angles[1].sin_cos();
    }
}

/// `a + factor b`.
#[inline]
fn add(a: [f64; 2], factor: f64, b: [f64; 2]) -> [f64; 2] {
    [a[0] + factor * b[0], a[1] + factor * b[1]]
}

/// Length of a vector. No number here can overflow, which is what the slower `hypot` is for.
#[inline]
fn norm(x: f64, y: f64) -> f64 {
    (x * x + y * y).sqrt()
}

impl Default for Reach {
    /// A stretched arm at rest, the object at its base.
    fn default() -> Self {
        Reach::with(ReachParameters::default())
    }
}

impl Parametric for Reach {
    type Parameters = ReachParameters;

    fn new(parameters: ReachParameters) -> Result<Self, ParameterError> {
        let ReachParameters { min_object_radius: min, max_object_radius: max, .. } = parameters;
        if min >= max {
            let message = format!("is {min}; must be below max_object_radius, which is {max}");
            return Err(ParameterError::at("min_object_radius", message));
        }
        let zone = [
            ("zone_x", parameters.zone_x),
            ("zone_y", parameters.zone_y),
            ("zone_radius", parameters.zone_radius),
        ];
        if let Some((missing, _)) = zone.iter().find(|(_, number)| number.is_none())
            && zone.iter().any(|(_, number)| number.is_some())
        {
            let message = "is missing; a zone has zone_x, zone_y and zone_radius";
            return Err(ParameterError::at(*missing, message));
        }
        Ok(Reach::with(parameters))
    }
}

impl Environment for Reach {
    fn spec(&self) -> Spec {
        let free = f32::INFINITY;
        let arm = (self.parameters.link1_length + self.parameters.link2_length) as f32;
        let ring = self.parameters.max_object_radius as f32;
        let high = vec![1.0, 1.0, 1.0, 1.0, free, free, arm, arm, ring, ring];
        let low = high.iter().map(|bound: &f32| -bound).collect();
        let zone = self.parameters.zone().map(|_| "zone".into());
        let speed = self.parameters.joint_speed_limit.map(|_| "speed".into());
        Spec {
            observation_names: [
                "cos joint1",
                "sin joint1",
                "cos joint2",
                "sin joint2",
                "velocity joint1 [rad/s]",
                "velocity joint2 [rad/s]",
                "gripper x [m]",
                "gripper y [m]",
                "object x [m]",
                "object y [m]",
            ]
            .map(String::from)
            .to_vec(),
            action_names: [1, 2]
                .map(|joint| format!("torque joint{joint} [{} N m]", self.parameters.max_torque))
                .to_vec(),
            step_seconds: Some(Self::TIME_STEP * f64::from(Self::SUBSTEPS)),
            reports_success: true,
            costs: zone.into_iter().chain(speed).collect(),
            reward_terms: ["distance", "effort", "grasp"].map(String::from).to_vec(),
            ..Spec::new(
                Space::Box { low, high },
                Space::symmetric_box(2, 1.0),
                Self::MAX_EPISODE_STEPS,
            )
        }
    }

    fn reset(&mut self, rng: &mut Rng) {
        let angles = [rng.random_range(-PI..PI), rng.random_range(-PI..PI)];
        let velocity = -Self::RESET_VELOCITY..Self::RESET_VELOCITY;
        let velocities = [rng.random_range(velocity.clone()), rng.random_range(velocity)];
        // Uniform by area: the square of the radius is uniform.
        let ReachParameters { min_object_radius: min, max_object_radius: max, .. } =
            self.parameters;
        let squares = min * min..max * max;
        let radius = rng.random_range(squares).sqrt();
        let (sin, cos) = rng.random_range(0.0..TAU).sin_cos();
        self.put(angles, velocities, [radius * cos, radius * sin]);
    }

    fn step(&mut self, action: Action<'_>, _rng: &mut Rng) -> Step {
        let values = action.values();
        self.advance([f64::from(values[0]), f64::from(values[1])])
    }

    fn observe(&self, observation: &mut [f32]) {
        let ([sin1, sin2], [cos1, cos2]) = (self.sin, self.cos);
        let [rate1, rate2] = self.velocities;
        let [x, y] = self.gripper();
        let [object_x, object_y] = self.object;
        let numbers = [cos1, sin1, cos2, sin2, rate1, rate2, x, y, object_x, object_y];
        observation.copy_from_slice(&numbers.map(|number| number as f32));
    }

    fn reward_terms(&self, terms: &mut [f64]) {
        terms.copy_from_slice(&self.terms);
    }

    fn costs(&self, costs: &mut [f64]) {
        let [x, y] = self.gripper();
        let zone = self.parameters.zone().map(|([zone_x, zone_y], radius)| {
            f64::from(u8::from(norm(x - zone_x, y - zone_y) <= radius))
        });
        let speed = self
            .parameters
            .joint_speed_limit
            .map(|limit| self.velocities.iter().map(|rate| (rate.abs() - limit).max(0.0)).sum());
        for (cost, number) in costs.iter_mut().zip(zone.into_iter().chain(speed)) {
            *cost = number;
        }
    }

    fn state(&self) -> Vec<f64> {
        [self.angles, self.velocities, self.object].concat()
    }

    fn set_state(&mut self, state: &[f64]) -> Result<(), StateError> {
        let [q1, q2, rate1, rate2, x, y] = StateError::read(state)?;
        self.put([q1, q2], [rate1, rate2], [x, y]);
        Ok(())
    }

    fn draw(&self, _action: Option<Action<'_>>) -> Option<Drawing> {
        let (elbow, gripper) = (self.links().0, self.gripper());
        let seconds = Self::TIME_STEP * f64::from(Self::SUBSTEPS);
        let ReachParameters { link1_length, link2_length, max_object_radius, .. } = self.parameters;
        let arm = link1_length + link2_length;
        // Things are drawn in proportion: 1 for an arm of 1 m.
        let size = arm.max(max_object_radius);
        let side = 1.1 * size;
        let mut drawing = Drawing::new([-side, -side], [side, side], seconds);
        if let Some((middle, radius)) = self.parameters.zone() {
            drawing.disc(middle, radius, Color::Soft);
            drawing.ring(middle, radius, Color::Danger);
        }
        drawing.ring([0.0, 0.0], arm, Color::Quiet);
        drawing.trail(gripper, 60, 0.012 * size, Color::Second);
        drawing.ring(self.object, self.parameters.grasp_distance, Color::Danger);
        drawing.disc(self.object, 0.025 * size, Color::Danger);
        drawing.line(&[[0.0, 0.0], elbow, gripper], 0.06 * size, Color::Accent);
        drawing.disc([0.0, 0.0], 0.04 * size, Color::Text);
        drawing.disc(elbow, 0.04 * size, Color::Text);
        drawing.disc(gripper, 0.025 * size, Color::Text);
        Some(drawing)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::{Stream, stream};

    fn assert_near(found: [f64; 2], expected: [f64; 2], tolerance: f64) {
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() <= tolerance, "{found} is not {expected}");
        }
    }

    #[test]
    fn reward_worked_by_hand() {
        assert!((Reach::default().reward(0.20, 3.0, false) + 0.23).abs() < 1e-15);
        assert!((Reach::default().reward(0.04, 1.0, true) - 9.95).abs() < 1e-15);
    }

    #[test]
    fn accelerations_worked_by_hand() {
        let accelerations = |sin_cos, rates, torques| {
            Reach::default().dynamics.accelerations(sin_cos, rates, torques)
        };
        // m l^2 = 1/4. Bent at a right angle, at rest: M = [5/12, 1/12; 1/12, 1/12], and torques
        // (2, 0) give det = 1/36, q'' = 36 (2/12, -2/12) = (6, -6).
        assert_near(accelerations((1.0, 0.0), [0.0; 2], [2.0, 0.0]), [6.0, -6.0], 1e-13);
        // The same, moving at (1, 2): h = 1/8, right side (-0.1 + 1/8 * 2 * 4, -0.2 - 1/8)
        // = (0.9, -0.325); q'' = 36 ((0.9 + 0.325) / 12, (-0.325 * 5 - 0.9) / 12) = (3.675, -7.575).
        assert_near(accelerations((1.0, 0.0), [1.0, 2.0], [0.0; 2]), [3.675, -7.575], 1e-13);
        // Stretched: M = [2/3, 5/24; 5/24, 1/12], det = 7/576, torques (0, 1):
        // q'' = 576/7 (-5/24, 2/3) = (-120/7, 384/7).
        let stretched = accelerations((0.0, 1.0), [0.0; 2], [0.0, 1.0]);
        assert_near(stretched, [-120.0 / 7.0, 384.0 / 7.0], 1e-12);
    }

    #[test]
    fn gripper_worked_by_hand() {
        // Upper arm along y, fore arm back along -x: the gripper at (-0.5, 0.5).
        let arm = Reach::default().at([PI / 2.0, PI / 2.0], [2.0, 1.0], [0.0; 2]);
        assert_near(arm.gripper(), [-0.5, 0.5], 1e-15);
        // The elbow moves by -0.5 * 2 along x, the fore arm turns at 3 rad/s: (-1, -1.5).
        assert_near(arm.gripper_velocity(), [-1.0, -1.5], 1e-15);
    }

    /// An arm of unlike links, whose numbers are easy to tell apart.
    fn unlike() -> ReachParameters {
        ReachParameters {
            link1_length: 0.7,
            link2_length: 0.4,
            link1_mass: 1.5,
            link2_mass: 0.6,
            joint_friction: 0.3,
            ..ReachParameters::default()
        }
    }

    /// Kinetic energy of the rods by what every piece of them does, not by the mass matrix: half of
    /// mass times squared velocity over thin slices.
    fn energy(arm: &Reach) -> f64 {
        const SLICES: u32 = 2000;
        let ReachParameters { link1_length, link2_length, link1_mass, link2_mass, .. } =
            arm.parameters;
        let [q1, q2] = arm.angles;
        let [rate1, rate2] = arm.velocities;
        let mut energy = 0.0;
        for slice in 0..SLICES {
            let share = (f64::from(slice) + 0.5) / f64::from(SLICES);
            let upper = share * link1_length * rate1;
            // The elbow moves across the first link, the slice of the second across the second.
            let (elbow, along) = (link1_length * rate1, share * link2_length * (rate1 + rate2));
            let x = -elbow * q1.sin() - along * (q1 + q2).sin();
            let y = elbow * q1.cos() + along * (q1 + q2).cos();
            energy += 0.5 * (link1_mass * upper * upper + link2_mass * (x * x + y * y));
        }
        energy / f64::from(SLICES)
    }

    #[test]
    fn kinetic_energy_changes_only_by_friction_and_torque() {
        // dE/dt = torque . q' - b |q'|^2: over one small step by the trapezoidal rule.
        let torques = [0.7, -0.4];
        for parameters in [ReachParameters::default(), unlike()] {
            let power = |arm: &Reach| {
                let [rate1, rate2] = arm.velocities;
                let lost = arm.parameters.joint_friction * (rate1 * rate1 + rate2 * rate2);
                torques[0] * rate1 + torques[1] * rate2 - lost
            };
            let mut arm = Reach::new(parameters).unwrap().at([0.3, 1.1], [1.5, -0.8], [0.0; 2]);
            let (energy_before, power_before) = (energy(&arm), power(&arm));
            arm.integrate(torques);
            let work = 0.5 * Reach::TIME_STEP * (power_before + power(&arm));
            assert!((energy(&arm) - energy_before - work).abs() < 1e-5);
        }
    }

    #[test]
    fn without_friction_and_torque_an_arm_keeps_its_energy_and_its_angular_momentum() {
        let free = ReachParameters { joint_friction: 0.0, ..unlike() };
        let mut arm = Reach::new(free).unwrap().at([0.3, 1.1], [2.5, -4.0], [0.0; 2]);
        // About the base, the derivative of the energy by q1': linear in the rates.
        let momentum = |arm: &Reach| {
            let faster = |by: f64| {
                let [rate1, rate2] = arm.velocities;
                energy(&arm.clone().at(arm.angles, [rate1 + by, rate2], [0.0; 2]))
            };
            faster(0.5) - faster(-0.5)
        };
        let (energy_before, momentum_before) = (energy(&arm), momentum(&arm));
        for _ in 0..1000 {
            arm.integrate([0.0; 2]);
        }
        assert!((arm.angles[0] - 0.3).abs() > 1.0, "it has moved");
        assert!((energy(&arm) / energy_before - 1.0).abs() < 1e-6);
        assert!((momentum(&arm) / momentum_before - 1.0).abs() < 1e-6);
    }

    #[test]
    fn equal_links_are_the_closed_form_of_equal_links() {
        // Spong's equations for m1 = m2 = m, l1 = l2 = l, as they stand in the book.
        let (m, l) = (1.7, 0.35);
        let parameters = ReachParameters {
            link1_length: l,
            link2_length: l,
            link1_mass: m,
            link2_mass: m,
            ..ReachParameters::default()
        };
        let dynamics = Dynamics::new(&parameters);
        let inertia = m * l * l;
        for (q2, [rate1, rate2], [torque1, torque2]) in
            [(0.4, [0.5, -2.0], [1.0, 0.3]), (-2.0, [3.0, 1.0], [-0.7, 2.0])]
        {
            let (sin, cos) = f64::sin_cos(q2);
            let [a1, a2] = dynamics.accelerations((sin, cos), [rate1, rate2], [torque1, torque2]);
            let m11 = inertia * (5.0 / 3.0 + cos);
            let (m12, m22) = (inertia * (1.0 / 3.0 + 0.5 * cos), inertia / 3.0);
            let h = 0.5 * inertia * sin;
            let right = [
                torque1 - 0.1 * rate1 + h * (2.0 * rate1 * rate2 + rate2 * rate2),
                torque2 - 0.1 * rate2 - h * rate1 * rate1,
            ];
            assert_near([m11 * a1 + m12 * a2, m12 * a1 + m22 * a2], right, 1e-12);
        }
    }

    #[test]
    fn unlike_links_worked_by_hand() {
        // l1 0.7, l2 0.4, m1 1.5, m2 0.6, bent at a right angle, at rest, torques (1, 0):
        // M11 = (1.5 0.49 + 0.6 0.16) / 3 + 0.6 0.49 = 0.277 + 0.294, M12 = M22 = 0.6 0.16 / 3 = 0.032,
        // det = 0.571 0.032 - 0.032^2 = 0.032 0.539: q'' = (1 / 0.539, -1 / 0.539).
        let arm = Reach::new(unlike()).unwrap();
        let found = arm.dynamics.accelerations((1.0, 0.0), [0.0; 2], [1.0, 0.0]);
        assert_near(found, [1.0 / 0.539, -1.0 / 0.539], 1e-12);
        // The gripper at (-0.4, 0.7), and how it moves: the elbow by -0.7 * 2 along x, the fore arm
        // turns at 3 rad/s.
        let arm = arm.at([PI / 2.0, PI / 2.0], [2.0, 1.0], [0.0; 2]);
        assert_near(arm.gripper(), [-0.4, 0.7], 1e-15);
        assert_near(arm.gripper_velocity(), [-1.4, -1.2], 1e-15);
    }

    #[test]
    fn every_parameter_of_the_task_is_where_it_says() {
        let parameters = ReachParameters {
            max_torque: 3.0,
            grasp_distance: 0.2,
            grasp_speed: 0.05,
            min_object_radius: 0.4,
            max_object_radius: 0.5,
            distance_weight: 2.0,
            effort_weight: 0.5,
            grasp_weight: 7.0,
            ..unlike()
        };
        let mut arm = Reach::new(parameters).unwrap();
        assert!((arm.reward(0.3, 1.5, true) - (-0.6 - 0.75 + 7.0)).abs() < 1e-15);
        let step = arm.clone().at([0.0; 2], [0.0; 2], [1.0, 0.0]).advance([0.0; 2]);
        assert!(step.terminated && (step.reward - 6.8).abs() < 1e-12);
        assert!(!arm.clone().at([0.0; 2], [0.1, 0.0], [1.1, 0.0]).advance([0.0; 2]).terminated);
        let mut weak = Reach::new(unlike()).unwrap();
        arm.advance([0.2, -0.4]);
        weak.advance([0.3, -0.6]);
        assert_near(arm.angles, weak.angles, 1e-16);
        let mut rng = stream(1, Stream::Environment(0));
        for _ in 0..200 {
            arm.reset(&mut rng);
            assert!((0.4..0.5).contains(&norm(arm.object[0], arm.object[1])));
        }
        let mut terms = [0.0; 3];
        let reward = arm.advance([1.0, 0.5]).reward;
        arm.reward_terms(&mut terms);
        assert!(
            (terms[1] + 0.625).abs() < 1e-15 && (terms.iter().sum::<f64>() - reward).abs() < 1e-15
        );
        let Space::Box { high, .. } = arm.spec().observation_space else { panic!("a box") };
        assert_eq!(high[6..], [1.1, 1.1, 0.5, 0.5]);
    }

    #[test]
    fn radii_that_do_not_go_together_are_refused() {
        let parameters = ReachParameters { min_object_radius: 0.95, ..ReachParameters::default() };
        let error = Reach::new(parameters).unwrap_err();
        let message = "is 0.95; must be below max_object_radius, which is 0.95";
        assert_eq!(error, ParameterError::at("min_object_radius", message));
    }

    /// The costs after a step of almost no motion.
    fn costs_at(parameters: ReachParameters, angles: [f64; 2], velocities: [f64; 2]) -> Vec<f64> {
        let mut arm = Reach::new(parameters).unwrap().at(angles, velocities, [0.0; 2]);
        arm.advance([0.0; 2]);
        let mut costs = vec![7.0; arm.spec().costs.len()];
        arm.costs(&mut costs);
        costs
    }

    #[test]
    fn the_zone_costs_while_the_gripper_is_in_it() {
        // A gripper at (1, 0) or, bent at a right angle, at (0.5, 0.5).
        let zone = ReachParameters {
            zone_x: Some(0.8),
            zone_y: Some(0.1),
            zone_radius: Some(0.25),
            ..ReachParameters::default()
        };
        assert_eq!(Reach::with(zone.clone()).spec().costs, ["zone"]);
        assert_eq!(costs_at(zone.clone(), [0.0, 0.0], [0.0; 2]), [1.0]);
        assert_eq!(costs_at(zone.clone(), [0.0, PI / 2.0], [0.0; 2]), [0.0]);
        assert!(Reach::default().spec().costs.is_empty());
        for (missing, parameters) in [
            ("zone_x", ReachParameters { zone_x: None, ..zone.clone() }),
            ("zone_y", ReachParameters { zone_y: None, ..zone.clone() }),
            ("zone_radius", ReachParameters { zone_radius: None, ..zone }),
        ] {
            let error = Reach::new(parameters).unwrap_err();
            let message = "is missing; a zone has zone_x, zone_y and zone_radius";
            assert_eq!(error, ParameterError::at(missing, message));
        }
    }

    #[test]
    fn a_joint_costs_what_it_is_faster_than_the_limit() {
        // Two free joints that turn as one don't slow down: q1' 2, q2' 0 of a stretched arm.
        let fast = ReachParameters {
            joint_friction: 0.0,
            joint_speed_limit: Some(0.5),
            ..ReachParameters::default()
        };
        let costs = costs_at(fast.clone(), [0.0; 2], [2.0, 0.0]);
        assert!(costs.len() == 1 && (costs[0] - 1.5).abs() < 0.02, "{costs:?}");
        let costs = costs_at(fast.clone(), [0.0; 2], [-2.0, 1.0]);
        assert!((costs[0] - 2.0).abs() < 0.1, "each joint, whichever its way: {costs:?}");
        assert_eq!(costs_at(fast.clone(), [0.0; 2], [0.4, -0.4]), [0.0]);
        let both = ReachParameters {
            zone_x: Some(5.0),
            zone_y: Some(5.0),
            zone_radius: Some(1.0),
            ..fast
        };
        assert_eq!(Reach::with(both.clone()).spec().costs, ["zone", "speed"]);
        let costs = costs_at(both, [0.0; 2], [2.0, 0.0]);
        assert!(costs[0] == 0.0 && costs[1] > 1.0, "{costs:?}");
    }

    #[test]
    fn a_grasp_needs_a_near_and_slow_gripper() {
        let step_at =
            |object, rate| Reach::default().at([0.0; 2], [rate, 0.0], object).advance([0.0; 2]);
        let near = step_at([0.96, 0.0], 0.0);
        assert_eq!((near.terminated, near.success), (true, Some(true)));
        assert!((near.reward - 9.96).abs() < 1e-12);
        let far = step_at([0.94, 0.0], 0.0);
        assert_eq!((far.terminated, far.success), (false, Some(false)));
        assert!((far.reward + 0.06).abs() < 1e-12);
        // 0.6 rad/s of a stretched arm of 1 m is 0.6 m/s.
        assert!(!step_at([0.99, 0.0], 0.6).terminated);
    }

    #[test]
    fn actions_are_clipped() {
        let mut clipped = Reach::default().at([0.4, -1.0], [0.3, 0.2], [0.5, 0.5]);
        let mut beyond = clipped.clone();
        assert_eq!(clipped.advance([1.0, -1.0]), beyond.advance([1.5, -30.0]));
        assert_eq!(clipped, beyond);
    }

    #[test]
    fn observation_has_the_documented_order() {
        let arm = Reach::default().at([PI / 2.0, PI / 2.0], [0.25, -0.5], [0.125, -0.75]);
        let mut observation = [0.0; 10];
        arm.observe(&mut observation);
        let expected = [0.0, 1.0, 0.0, 1.0, 0.25, -0.5, -0.5, 0.5, 0.125, -0.75];
        for (found, expected) in observation.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-7, "{observation:?}");
        }
    }

    #[test]
    fn resets_put_the_object_on_the_ring_uniformly_by_area() {
        let mut rng = stream(11, Stream::Environment(0));
        let mut arm = Reach::default();
        let mut inside = 0;
        let middle = ((0.2_f64.powi(2) + 0.95_f64.powi(2)) / 2.0).sqrt();
        for _ in 0..4000 {
            arm.reset(&mut rng);
            let radius = norm(arm.object[0], arm.object[1]);
            assert!((0.2 - 1e-12..=0.95 + 1e-12).contains(&radius));
            assert!(arm.angles.iter().all(|angle| angle.abs() <= PI));
            assert!(arm.velocities.iter().all(|rate| rate.abs() <= 0.1));
            inside += u32::from(radius < middle);
        }
        // Half of the area is inside of `middle`: 2000 +- 4 standard deviations of 32.
        assert!(inside.abs_diff(2000) < 128, "{inside}");
    }

    #[test]
    fn a_restored_arm_goes_on_bit_for_bit() {
        let mut rng = stream(2, Stream::Environment(0));
        let mut arm = Reach::default();
        arm.reset(&mut rng);
        arm.advance([0.3, -0.9]);
        let mut restored = Reach::default();
        restored.set_state(&arm.state()).unwrap();
        assert_eq!(restored.state(), arm.state());
        assert_eq!(restored.advance([0.1, 0.2]), arm.advance([0.1, 0.2]));
        assert_eq!(restored, arm);
    }
}
