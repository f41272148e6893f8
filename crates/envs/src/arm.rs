//! Arm: a robot from a URDF file moves its tip to an object and grasps it.

mod constraints;
mod control;
mod drawing;
mod dynamics;
pub mod geometry;
mod ldl;
mod mechanism;
mod object;
mod parameters;
pub mod robot;
mod sin_cos;
mod urdf;

pub use dynamics::Motors;
pub use mechanism::{Integrator, JointPhysics, Mechanism, Physics};
pub use parameters::{ArmParameters, Control, PerJoint, Region};
pub use robot::Robot;
pub use urdf::UrdfError;

use crate::drawing::Drawing;
use crate::environment::{Environment, Spec, StateError, Step};
use crate::parameters::{ParameterError, Parametric};
use crate::rng::{Rng, symmetric};
use crate::space::{Action, Space};
use geometry::{Vector, dot, norm, sub};
use std::path::Path;
use std::sync::Arc;

/// Robots that come with the project, in `configs/robots/`: a file's name and what is in it. The first is the one
/// where no file is given.
pub const ROBOTS: [(&str, &str); 4] = [
    ("panda.urdf", include_str!("arm/robots/panda.urdf")),
    ("ur5.urdf", include_str!("arm/robots/ur5.urdf")),
    ("xarm7.urdf", include_str!("arm/robots/xarm7.urdf")),
    ("so101.urdf", include_str!("arm/robots/so101.urdf")),
];

/// An arm from a URDF file, driven by a motor at each joint, whose tip reaches for an object.
///
/// An action is one number a joint, clipped to plus or minus 1; what it is, [`Control`] says. It holds for
/// [`ArmParameters::substeps`] steps of [`Mechanism::step`].
///
/// Reward after the step: the sum of its terms, `distance`, `effort` and `grasp`, and `orientation`,
/// `speed` and `smoothness` where their weights are given. A grasp (the tip near the object, and slow)
/// terminates the episode and is its success. Costs: `zone`, `speed` and `torque`, where they are asked for.
///
/// Observation: of each joint its position, or cosine and sine where it turns without limits; the
/// velocities of the joints; the tip's `x, y, z`; the object's `x, y, z`; with
/// [`Control::DeltaPosition`] of each joint how far its target is from it; and with
/// [`ArmParameters::observe_action`] the last action. In rad, m and s; joints in the order of
/// [`Mechanism::joints`].
#[derive(Clone, Debug)]
pub struct Arm {
    robot: Arc<Robot>,
    parameters: ArmParameters,
    mechanism: Mechanism,
    motors: Motors,
    /// What an action of 1 is.
    scale: Vec<f64>,
    /// Whether each joint turns without limits.
    is_free: Vec<bool>,
    tip: usize,
    home: Vec<f64>,
    /// The object's place, m.
    object: Vector,
    /// The last action, clipped.
    action: Vec<f64>,
    /// Terms of the last step's reward, and its costs.
    terms: Vec<f64>,
    costs: Vec<f64>,
}

impl Arm {
    /// Steps after which an episode is truncated.
    pub const MAX_EPISODE_STEPS: u32 = 200;

    /// A robot with these parameters, at home and at rest, the object at its base.
    ///
    /// # Errors
    /// When they do not go together, or do not fit the robot.
    pub fn with(robot: Arc<Robot>, parameters: ArmParameters) -> Result<Arm, ParameterError> {
        let tip = tip(&robot, &parameters)?;
        object::must_be_a_region(&parameters)?;
        parameters.must_go_together()?;
        let physics = control::physics(&robot, &parameters, tip)?;
        let home = control::home(&physics, &parameters)?;
        let (motors, scale) = control::motors(&robot, &physics, &home, &parameters)?;
        let mut mechanism = Mechanism::new(&robot, physics);
        if !mechanism.moves(tip) {
            let name = &robot.links[tip].name;
            let message = format!("is {name:?}; no joint moves that link");
            return Err(ParameterError::at("tip", message));
        }
        let joints = mechanism.joints().len();
        mechanism.put(&home, &vec![0.0; joints]);
        let turns = mechanism.joints().iter().map(|&link| robot.turns(link));
        let is_limited = mechanism.physics().joints.iter().map(|joint| joint.limits.is_some());
        let mut arm = Arm {
            is_free: turns.zip(is_limited).map(|(turns, limited)| turns && !limited).collect(),
            terms: vec![0.0; parameters.reward_terms().count()],
            costs: vec![0.0; parameters.costs().count()],
            action: vec![0.0; joints],
            object: [0.0; 3],
            robot,
            parameters,
            mechanism,
            motors,
            scale,
            tip,
            home,
        };
        arm.object_must_be_found()?;
        Ok(arm)
    }

    /// The robot.
    #[must_use]
    pub fn robot(&self) -> &Robot {
        &self.robot
    }

    /// The robot in motion.
    #[must_use]
    pub fn mechanism(&self) -> &Mechanism {
        &self.mechanism
    }

    /// The index of the link that reaches.
    #[must_use]
    pub fn tip(&self) -> usize {
        self.tip
    }

    /// Where the object is, m.
    #[must_use]
    pub fn object(&self) -> Vector {
        self.object
    }

    /// Names of the joints with a motor, in order.
    fn joint_names(&self) -> impl Iterator<Item = &str> {
        let joint = |&link: &usize| self.robot.links[link].joint.as_ref();
        self.mechanism.joints().iter().filter_map(joint).map(|joint| joint.name.as_str())
    }

    /// Names of what is observed, each with its unit, and the bounds of their sizes.
    fn observations(&self) -> (Vec<String>, Vec<f32>) {
        let mut all = Vec::new();
        let mut add = |name: String, bound: f32| all.push((name, bound));
        let free = f32::INFINITY;
        let units: Vec<&str> = self
            .mechanism
            .joints()
            .iter()
            .map(|&link| if self.robot.turns(link) { "rad" } else { "m" })
            .collect();
        for ((joint, &is_free), unit) in self.joint_names().zip(&self.is_free).zip(&units) {
            if is_free {
                add(format!("cos {joint}"), 1.0);
                add(format!("sin {joint}"), 1.0);
            } else {
                add(format!("{joint} [{unit}]"), free);
            }
        }
        for (joint, unit) in self.joint_names().zip(&units) {
            add(format!("velocity {joint} [{unit}/s]"), free);
        }
        for what in ["tip", "object"] {
            for axis in ["x", "y", "z"] {
                add(format!("{what} {axis} [m]"), free);
            }
        }
        if self.parameters.control == Control::DeltaPosition {
            for (joint, unit) in self.joint_names().zip(&units) {
                add(format!("target {joint} - {joint} [{unit}]"), free);
            }
        }
        if self.parameters.observe_action {
            self.joint_names().for_each(|joint| add(format!("last action {joint}"), 1.0));
        }
        all.into_iter().unzip()
    }

    /// Advances by one step of control with an action, one number a joint, clipped here.
    ///
    /// # Panics
    /// When there are not as many numbers as joints.
    pub fn advance(&mut self, action: impl ExactSizeIterator<Item = f64>) -> Step {
        assert_eq!(action.len(), self.action.len(), "one number a joint");
        let (mut effort, mut change) = (0.0, 0.0);
        for (last, number) in self.action.iter_mut().zip(action) {
            let number = number.clamp(-1.0, 1.0);
            effort += number * number;
            change += (number - *last) * (number - *last);
            *last = number;
        }
        self.command();
        for _ in 0..self.parameters.substeps {
            self.mechanism.step(&self.motors);
        }

        let tip = self.mechanism.pose(self.tip);
        let distance = norm(sub(tip.position, self.object));
        let speed = norm(self.mechanism.velocity(self.tip));
        let weights = &self.parameters;
        let grasped = distance <= weights.grasp_distance && speed <= weights.grasp_speed;
        let grasp = if grasped { weights.grasp_weight } else { 0.0 };
        let terms = [-weights.distance_weight * distance, -weights.effort_weight * effort, grasp];
        self.terms[..3].copy_from_slice(&terms);
        let more = &mut self.terms[3..];
        let mut count = 0;
        if let Some(weight) = weights.orientation_weight {
            let direction = weights.tip_direction;
            let cosine = dot(tip.rotation.0[2], direction) / norm(direction);
            more[count] = -weight * cosine.clamp(-1.0, 1.0).acos();
            count += 1;
        }
        if let Some(weight) = weights.speed_weight {
            let squares: f64 = self.mechanism.velocities().iter().map(|speed| speed * speed).sum();
            more[count] = -weight * squares;
            count += 1;
        }
        if let Some(weight) = weights.smoothness_weight {
            more[count] = -weight * change;
        }

        let mut count = 0;
        if let Some((center, radius)) = weights.zone() {
            self.costs[0] = f64::from(u8::from(norm(sub(tip.position, center)) <= radius));
            count += 1;
        }
        if let Some(limit) = weights.joint_speed_limit {
            let faster = |speed: &f64| (speed.abs() - limit).max(0.0);
            self.costs[count] = self.mechanism.velocities().iter().map(faster).sum();
            count += 1;
        }
        if let Some(limit) = weights.joint_torque_limit {
            let torques = self.mechanism.torques().iter().zip(&self.motors.limit);
            // A motor without strength gives nothing.
            let shares =
                torques.filter(|(_, most)| **most > 0.0).map(|(torque, most)| torque.abs() / most);
            self.costs[count] = shares.map(|share| (share - limit).max(0.0)).sum();
        }
        Step {
            reward: self.terms.iter().sum(),
            terminated: grasped,
            truncated: false,
            success: Some(grasped),
        }
    }
}

/// The link that reaches.
fn tip(robot: &Robot, parameters: &ArmParameters) -> Result<usize, ParameterError> {
    let Some(name) = &parameters.tip else { return Ok(robot.default_tip()) };
    robot.link(name).ok_or_else(|| {
        let known: Vec<&str> = robot.links.iter().map(|link| link.name.as_str()).collect();
        let file = parameters.urdf.as_deref().unwrap_or("the robot");
        let known = known.join(", ");
        let message = format!("is {name:?}, a link that {file} does not have; there is: {known}");
        ParameterError::at("tip", message)
    })
}

impl Parametric for Arm {
    type Parameters = ArmParameters;

    fn new(parameters: ArmParameters) -> Result<Self, ParameterError> {
        let robot = match &parameters.urdf {
            Some(path) => Robot::read(Path::new(path)),
            None => Robot::parse(ROBOTS[0].1, ROBOTS[0].0),
        };
        let robot =
            robot.map_err(|error| ParameterError::at("urdf", format!("can't be used: {error}")))?;
        Arm::with(Arc::new(robot), parameters)
    }

    fn set_parameters(&mut self, parameters: ArmParameters) -> Result<(), ParameterError> {
        *self = match parameters.urdf == self.parameters.urdf {
            true => Arm::with(Arc::clone(&self.robot), parameters)?,
            false => Arm::new(parameters)?,
        };
        Ok(())
    }
}

impl Environment for Arm {
    fn spec(&self) -> Spec {
        let weights = &self.parameters;
        let (observation_names, high) = self.observations();
        let low = high.iter().map(|bound| -bound).collect();
        Spec {
            reports_success: true,
            reward_terms: weights.reward_terms().map(String::from).collect(),
            costs: weights.costs().map(String::from).collect(),
            observation_names,
            action_names: self.action_names(),
            step_seconds: Some(f64::from(weights.substeps) * weights.time_step),
            ..Spec::new(
                Space::Box { low, high },
                Space::symmetric_box(self.action.len(), 1.0),
                Self::MAX_EPISODE_STEPS,
            )
        }
    }

    fn reset(&mut self, rng: &mut Rng) {
        self.draw_object(rng);
        let noise = self.parameters.reset_noise;
        let physics = &self.mechanism.physics().joints;
        for ((target, home), joint) in self.motors.position.iter_mut().zip(&self.home).zip(physics)
        {
            let [low, high] = joint.limits.unwrap_or([f64::NEG_INFINITY, f64::INFINITY]);
            *target = (home + symmetric(rng, noise)).clamp(low, high);
        }
        self.action.fill(0.0);
        self.mechanism.put(&self.motors.position, &self.action);
        self.terms.fill(0.0);
        self.costs.fill(0.0);
    }

    fn step(&mut self, action: Action<'_>, _rng: &mut Rng) -> Step {
        self.advance(action.values().iter().map(|&number| f64::from(number)))
    }

    fn observe(&self, observation: &mut [f32]) {
        let mut rest = observation.iter_mut();
        let mut write = |number: f64| {
            if let Some(place) = rest.next() {
                *place = number as f32;
            }
        };
        let positions = self.mechanism.positions();
        for (&position, &is_free) in positions.iter().zip(&self.is_free) {
            if is_free {
                write(position.cos());
                write(position.sin());
            } else {
                write(position);
            }
        }
        self.mechanism.velocities().iter().copied().for_each(&mut write);
        self.mechanism.pose(self.tip).position.into_iter().for_each(&mut write);
        self.object.into_iter().for_each(&mut write);
        if self.parameters.control == Control::DeltaPosition {
            let ways = self.motors.position.iter().zip(positions).map(|(target, at)| target - at);
            ways.for_each(&mut write);
        }
        if self.parameters.observe_action {
            self.action.iter().copied().for_each(&mut write);
        }
    }

    fn reward_terms(&self, terms: &mut [f64]) {
        terms.copy_from_slice(&self.terms);
    }

    fn costs(&self, costs: &mut [f64]) {
        costs.copy_from_slice(&self.costs);
    }

    /// Positions, velocities, targets and last actions of the joints, and the object.
    fn state(&self) -> Vec<f64> {
        [
            self.mechanism.positions(),
            self.mechanism.velocities(),
            &self.motors.position,
            &self.action,
            &self.object,
        ]
        .concat()
    }

    fn set_state(&mut self, state: &[f64]) -> Result<(), StateError> {
        let joints = self.action.len();
        let expected = 4 * joints + 3;
        if state.len() != expected {
            return Err(StateError::Length { expected, found: state.len() });
        }
        if let Some(index) = state.iter().position(|number| !number.is_finite()) {
            let found = state[index];
            return Err(StateError::Value { index, found, expected: "a finite number" });
        }
        let mut parts = state.chunks(joints);
        let mut next = || parts.next().unwrap_or_default();
        self.mechanism.put(next(), next());
        self.motors.position.copy_from_slice(next());
        self.action.copy_from_slice(next());
        self.object.copy_from_slice(&state[4 * joints..]);
        Ok(())
    }

    fn draw(&self, _action: Option<Action<'_>>) -> Option<Drawing> {
        Some(self.picture())
    }
}
