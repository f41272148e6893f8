//! Reach: move the gripper of a planar two-link arm to an object and grasp it.

use std::f64::consts::{PI, TAU};

use rand::RngExt;

use crate::{Action, Color, Drawing, Environment, Rng, Space, StateError, Step};

/// A two-link arm in a horizontal plane, driven by a torque at each joint.
///
/// The links are uniform rods without gravity; joint angle `q2` is relative to the first link, and
/// the base is the origin. The action is two numbers, clipped to plus or minus 1, times
/// [`Reach::MAX_TORQUE`]. With `M` the mass matrix, `b` the joint friction and
/// `h = m l^2 / 2 sin q2`:
///
/// ```text
/// M11 q1'' + M12 q2'' = torque1 - b q1' + h (2 q1' q2' + q2'^2)    M11 = 5/3 m l^2 + m l^2 cos q2
/// M12 q1'' + M22 q2'' = torque2 - b q2' - h q1'^2                  M12 = 1/3 m l^2 + 1/2 m l^2 cos q2
///                                                                  M22 = 1/3 m l^2
/// ```
///
/// integrated by the classic fourth-order Runge-Kutta method with the torque held. Reward after the
/// step: [`Reach::reward`]. A grasp (the gripper near the object, and slow) terminates the episode
/// and is its success.
///
/// Observation (10): `cos q1, sin q1, cos q2, sin q2, q1', q2'`, gripper `x, y`, object `x, y`, in
/// rad/s and m.
///
/// Source of the equations: Spong, Hutchinson and Vidyasagar, "Robot Modeling and Control" (2006),
/// section 7.4, for two equal links with `I = m l^2 / 12`.
#[derive(Clone, Debug, PartialEq)]
pub struct Reach {
    /// `q1, q2`, rad.
    angles: [f64; 2],
    /// `q1', q2'`, rad/s.
    velocities: [f64; 2],
    /// Where the object is, m.
    object: [f64; 2],
    /// Sine and cosine of each angle: the next step and the observation both need them, and they
    /// are the greater part of the time of a step.
    sin_cos: [(f64, f64); 2],
}

impl Reach {
    /// Length of each link, m.
    pub const LINK_LENGTH: f64 = 0.5;
    /// Mass of each link, kg.
    pub const LINK_MASS: f64 = 1.0;
    /// Viscous friction of each joint, N m s/rad.
    pub const JOINT_FRICTION: f64 = 0.1;
    /// Torque of an action of 1, N m.
    pub const MAX_TORQUE: f64 = 2.0;
    /// Time of an integration step, s.
    pub const TIME_STEP: f64 = 0.01;
    /// Integration steps in a control step.
    pub const SUBSTEPS: u32 = 2;
    /// A grasp needs the gripper at most this far from the object, m.
    pub const GRASP_DISTANCE: f64 = 0.05;
    /// A grasp needs the gripper at most this fast, m/s.
    pub const GRASP_SPEED: f64 = 0.5;
    /// What the reward gives for a grasp.
    pub const GRASP_BONUS: f64 = 10.0;
    /// What the reward takes for a squared action of 1.
    pub const ACTION_COST: f64 = 0.01;
    /// The object is at least this far from the base, m.
    pub const MIN_OBJECT_RADIUS: f64 = 0.2;
    /// The object is at most this far from the base, m.
    pub const MAX_OBJECT_RADIUS: f64 = 0.95;
    /// The first joint velocities are uniform in plus or minus this, rad/s; the angles are uniform.
    pub const RESET_VELOCITY: f64 = 0.1;
    /// Steps after which an episode is truncated.
    pub const MAX_EPISODE_STEPS: u32 = 200;

    /// An arm with these joint angles (rad) and velocities (rad/s), and an object at this place (m).
    #[must_use]
    pub fn new(angles: [f64; 2], velocities: [f64; 2], object: [f64; 2]) -> Reach {
        Reach { angles, velocities, object, sin_cos: angles.map(f64::sin_cos) }
    }

    /// The reward: `-distance - 0.01 |action|^2 + 10 grasped`, with the distance from the gripper
    /// to the object in m.
    #[must_use]
    pub fn reward(distance: f64, squared_action: f64, grasped: bool) -> f64 {
        let bonus = if grasped { Self::GRASP_BONUS } else { 0.0 };
        -distance - Self::ACTION_COST * squared_action + bonus
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
        let [(sin1, cos1), (sin2, cos2)] = self.sin_cos;
        let upper = [Self::LINK_LENGTH * cos1, Self::LINK_LENGTH * sin1];
        // The fore link's angle is q1 + q2.
        let fore = [upper[0] * cos2 - upper[1] * sin2, upper[1] * cos2 + upper[0] * sin2];
        (upper, fore)
    }

    /// Advances by one control step with an action clipped here.
    pub fn advance(&mut self, action: [f64; 2]) -> Step {
        let action = action.map(|number| number.clamp(-1.0, 1.0));
        let torques = action.map(|number| number * Self::MAX_TORQUE);
        for _ in 0..Self::SUBSTEPS {
            self.integrate(torques);
        }
        self.sin_cos[0] = self.angles[0].sin_cos();

        let [x, y] = self.gripper();
        let [x_velocity, y_velocity] = self.gripper_velocity();
        let distance = norm(x - self.object[0], y - self.object[1]);
        let speed = norm(x_velocity, y_velocity);
        let grasped = distance <= Self::GRASP_DISTANCE && speed <= Self::GRASP_SPEED;
        let squared_action = action[0] * action[0] + action[1] * action[1];
        Step {
            reward: Self::reward(distance, squared_action, grasped),
            terminated: grasped,
            truncated: false,
            success: Some(grasped),
        }
    }

    /// One step of the classic Runge-Kutta method. Leaves `sin_cos` of the second joint up to date;
    /// the dynamics don't depend on the first angle.
    fn integrate(&mut self, torques: [f64; 2]) {
        const DT: f64 = Reach::TIME_STEP;
        let (q, v1) = (self.angles, self.velocities);

        // v1..v4 and a1..a4: velocities and accelerations at the four stages.
        let a1 = accelerations(self.sin_cos[1], v1, torques);
        let v2 = add(v1, 0.5 * DT, a1);
        let a2 = accelerations((q[1] + 0.5 * DT * v1[1]).sin_cos(), v2, torques);
        let v3 = add(v1, 0.5 * DT, a2);
        let a3 = accelerations((q[1] + 0.5 * DT * v2[1]).sin_cos(), v3, torques);
        let v4 = add(v1, DT, a3);
        let a4 = accelerations((q[1] + DT * v3[1]).sin_cos(), v4, torques);

        for joint in 0..2 {
            self.angles[joint] +=
                DT / 6.0 * (v1[joint] + 2.0 * (v2[joint] + v3[joint]) + v4[joint]);
            self.velocities[joint] +=
                DT / 6.0 * (a1[joint] + 2.0 * (a2[joint] + a3[joint]) + a4[joint]);
        }
        self.sin_cos[1] = self.angles[1].sin_cos();
    }
}

/// The joint accelerations, rad/s^2: the 2x2 system of [`Reach`] in closed form.
#[inline]
fn accelerations(
    (sin2, cos2): (f64, f64),
    [rate1, rate2]: [f64; 2],
    [torque1, torque2]: [f64; 2],
) -> [f64; 2] {
    /// `m l^2`, kg m^2.
    const INERTIA: f64 = Reach::LINK_MASS * Reach::LINK_LENGTH * Reach::LINK_LENGTH;
    const M22: f64 = INERTIA / 3.0;

    let m12 = M22 + 0.5 * INERTIA * cos2;
    let m11 = INERTIA * 5.0 / 3.0 + INERTIA * cos2;
    let h = 0.5 * INERTIA * sin2;
    let right1 = torque1 - Reach::JOINT_FRICTION * rate1 + h * rate2 * (2.0 * rate1 + rate2);
    let right2 = torque2 - Reach::JOINT_FRICTION * rate2 - h * rate1 * rate1;
    let inverse_determinant = 1.0 / (m11 * M22 - m12 * m12);
    [
        (M22 * right1 - m12 * right2) * inverse_determinant,
        (m11 * right2 - m12 * right1) * inverse_determinant,
    ]
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
        Reach::new([0.0; 2], [0.0; 2], [0.0; 2])
    }
}

impl Environment for Reach {
    fn observation_space(&self) -> Space {
        let free = f32::INFINITY;
        let arm = (2.0 * Self::LINK_LENGTH) as f32;
        let ring = Self::MAX_OBJECT_RADIUS as f32;
        let high = vec![1.0, 1.0, 1.0, 1.0, free, free, arm, arm, ring, ring];
        Space::Box { low: high.iter().map(|bound: &f32| -bound).collect(), high }
    }

    fn action_space(&self) -> Space {
        Space::symmetric_box(2, 1.0)
    }

    fn max_episode_steps(&self) -> u32 {
        Self::MAX_EPISODE_STEPS
    }

    fn reset(&mut self, rng: &mut Rng) {
        let angles = [rng.random_range(-PI..PI), rng.random_range(-PI..PI)];
        let velocity = -Self::RESET_VELOCITY..Self::RESET_VELOCITY;
        let velocities = [rng.random_range(velocity.clone()), rng.random_range(velocity)];
        // Uniform by area: the square of the radius is uniform.
        let squares = Self::MIN_OBJECT_RADIUS * Self::MIN_OBJECT_RADIUS
            ..Self::MAX_OBJECT_RADIUS * Self::MAX_OBJECT_RADIUS;
        let radius = rng.random_range(squares).sqrt();
        let (sin, cos) = rng.random_range(0.0..TAU).sin_cos();
        *self = Reach::new(angles, velocities, [radius * cos, radius * sin]);
    }

    fn step(&mut self, action: Action<'_>, _rng: &mut Rng) -> Step {
        let values = action.values();
        self.advance([f64::from(values[0]), f64::from(values[1])])
    }

    fn observe(&self, observation: &mut [f32]) {
        let [(sin1, cos1), (sin2, cos2)] = self.sin_cos;
        let [rate1, rate2] = self.velocities;
        let [x, y] = self.gripper();
        let [object_x, object_y] = self.object;
        let numbers = [cos1, sin1, cos2, sin2, rate1, rate2, x, y, object_x, object_y];
        observation.copy_from_slice(&numbers.map(|number| number as f32));
    }

    fn state(&self) -> Vec<f64> {
        [self.angles, self.velocities, self.object].concat()
    }

    fn set_state(&mut self, state: &[f64]) -> Result<(), StateError> {
        let [q1, q2, rate1, rate2, x, y] = StateError::read(state)?;
        *self = Reach::new([q1, q2], [rate1, rate2], [x, y]);
        Ok(())
    }

    fn draw(&self, _action: Option<Action<'_>>) -> Option<Drawing> {
        let (elbow, gripper) = (self.links().0, self.gripper());
        let seconds = Self::TIME_STEP * f64::from(Self::SUBSTEPS);
        let mut drawing = Drawing::new([-1.1, -1.1], [1.1, 1.1], seconds);
        drawing.ring([0.0, 0.0], 2.0 * Self::LINK_LENGTH, Color::Quiet);
        drawing.trail(gripper, 60, 0.012, Color::Second);
        drawing.ring(self.object, Self::GRASP_DISTANCE, Color::Danger);
        drawing.disc(self.object, 0.025, Color::Danger);
        drawing.line(&[[0.0, 0.0], elbow, gripper], 0.06, Color::Accent);
        drawing.disc([0.0, 0.0], 0.04, Color::Text);
        drawing.disc(elbow, 0.04, Color::Text);
        drawing.disc(gripper, 0.025, Color::Text);
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
        assert!((Reach::reward(0.20, 3.0, false) + 0.23).abs() < 1e-15);
        assert!((Reach::reward(0.04, 1.0, true) - 9.95).abs() < 1e-15);
    }

    #[test]
    fn accelerations_worked_by_hand() {
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
        let arm = Reach::new([PI / 2.0, PI / 2.0], [2.0, 1.0], [0.0; 2]);
        assert_near(arm.gripper(), [-0.5, 0.5], 1e-15);
        // The elbow moves by -0.5 * 2 along x, the fore arm turns at 3 rad/s: (-1, -1.5).
        assert_near(arm.gripper_velocity(), [-1.0, -1.5], 1e-15);
    }

    #[test]
    fn kinetic_energy_changes_only_by_friction_and_torque() {
        // dE/dt = torque . q' - b |q'|^2: over one small step by the trapezoidal rule.
        let energy = |arm: &Reach| {
            let [rate1, rate2] = arm.velocities;
            let cos = arm.angles[1].cos();
            let (m11, m12) = (5.0 / 12.0 + 0.25 * cos, 1.0 / 12.0 + 0.125 * cos);
            0.5 * (m11 * rate1 * rate1 + 2.0 * m12 * rate1 * rate2 + rate2 * rate2 / 12.0)
        };
        let torques = [0.7, -0.4];
        let power = |arm: &Reach| {
            let [rate1, rate2] = arm.velocities;
            torques[0] * rate1 + torques[1] * rate2 - 0.1 * (rate1 * rate1 + rate2 * rate2)
        };
        let mut arm = Reach::new([0.3, 1.1], [1.5, -0.8], [0.0; 2]);
        let (energy_before, power_before) = (energy(&arm), power(&arm));
        arm.integrate(torques);
        let work = 0.5 * Reach::TIME_STEP * (power_before + power(&arm));
        assert!((energy(&arm) - energy_before - work).abs() < 1e-5);
    }

    #[test]
    fn a_grasp_needs_a_near_and_slow_gripper() {
        let step_at = |object, rate| Reach::new([0.0; 2], [rate, 0.0], object).advance([0.0; 2]);
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
        let mut clipped = Reach::new([0.4, -1.0], [0.3, 0.2], [0.5, 0.5]);
        let mut beyond = clipped.clone();
        assert_eq!(clipped.advance([1.0, -1.0]), beyond.advance([1.5, -30.0]));
        assert_eq!(clipped, beyond);
    }

    #[test]
    fn observation_has_the_documented_order() {
        let arm = Reach::new([PI / 2.0, PI / 2.0], [0.25, -0.5], [0.125, -0.75]);
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
        assert_eq!(restored, arm);
        assert_eq!(restored.advance([0.1, 0.2]), arm.advance([0.1, 0.2]));
        assert_eq!(restored, arm);
    }
}
