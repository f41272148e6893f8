//! What actions do: from parameters to motors, and from an action to their targets.

use super::parameters::{ArmParameters, Control, PerJoint, must_be_one_a_joint};
use super::robot::{Joint, Robot};
use super::{Arm, Mechanism, Motors, Physics};
use crate::parameters::ParameterError;
use std::f64::consts::PI;

/// Time constant of a servo whose gains are not given, s.
const TIME_CONSTANT: f64 = 0.05;

/// What holds at the joints of this robot.
pub(super) fn physics(
    robot: &Robot,
    parameters: &ArmParameters,
    tip: usize,
) -> Result<Physics, ParameterError> {
    let mut physics = Physics::of(robot, parameters.time_step, parameters.integrator);
    physics.gravity = [0.0, 0.0, -parameters.gravity];
    physics.mass_scale = parameters.link_mass_scale;
    physics.payload = Some((tip, parameters.payload));
    let count = physics.joints.len();
    let armature = parameters.armature.each("armature", count)?;
    let given = |key: &str, numbers: &Option<PerJoint>| {
        numbers.as_ref().map(|numbers| numbers.each(key, count)).transpose()
    };
    let (damping, friction) =
        (given("damping", &parameters.damping)?, given("friction", &parameters.friction)?);
    for (index, joint) in physics.joints.iter_mut().enumerate() {
        joint.armature = armature[index];
        joint.damping = damping.as_ref().map_or(joint.damping, |damping| damping[index]);
        joint.friction = friction.as_ref().map_or(joint.friction, |friction| friction[index]);
    }
    Ok(physics)
}

/// Where the joints are when an episode begins.
pub(super) fn home(
    physics: &Physics,
    parameters: &ArmParameters,
) -> Result<Vec<f64>, ParameterError> {
    let middle = |limits: Option<[f64; 2]>| limits.map_or(0.0, |[low, high]| 0.5 * (low + high));
    let Some(home) = &parameters.home else {
        return Ok(physics.joints.iter().map(|joint| middle(joint.limits)).collect());
    };
    must_be_one_a_joint("home", home, physics.joints.len())?;
    for (index, (at, joint)) in home.iter().zip(&physics.joints).enumerate() {
        if let Some([low, high]) = joint.limits.filter(|[low, high]| at < low || at > high) {
            let message = format!("has {at} for joint {}; must be from {low} to {high}", index + 1);
            return Err(ParameterError::at("home", message));
        }
    }
    Ok(home.clone())
}

/// What each joint has to move at home: of the arm as its file has it, for which servos are made.
fn nominal_inertias(robot: &Robot, physics: &Physics, home: &[f64]) -> Vec<f64> {
    let nominal = Physics { mass_scale: 1.0, payload: None, ..physics.clone() };
    let mut nominal = Mechanism::new(robot, nominal);
    nominal.put(home, &vec![0.0; home.len()]);
    nominal.mass_matrix().into_iter().step_by(home.len() + 1).collect()
}

/// The motors, with all that does not depend on an action, and what an action of 1 is: N m, rad in a step
/// of control, or rad/s, or what these are of joints that slide.
pub(super) fn motors(
    robot: &Robot,
    physics: &Physics,
    home: &[f64],
    parameters: &ArmParameters,
) -> Result<(Motors, Vec<f64>), ParameterError> {
    let count = home.len();
    let joints: Vec<&Joint> = robot.motors().collect();
    let known = |key: &str, given: &Option<PerJoint>, what: &str, of: fn(&Joint) -> Option<f64>| {
        if let Some(given) = given {
            return given.each(key, count);
        }
        let of = |joint: &&Joint| {
            of(joint).filter(|&number| number > 0.0).ok_or_else(|| {
                let message = format!(
                    "is missing; the robot's file has no {what} above 0 for the joint {:?}",
                    joint.name
                );
                ParameterError::at(key, message)
            })
        };
        joints.iter().map(of).collect()
    };
    let mut inertias = Vec::new();
    let mut gain = |key: &str, given: &Option<PerJoint>, factor: f64| {
        if let Some(given) = given {
            return given.each(key, count);
        }
        if inertias.is_empty() {
            inertias = nominal_inertias(robot, physics, home);
        }
        Ok(inertias.iter().map(|inertia| factor * inertia).collect())
    };

    let mut motors = Motors::idle(count);
    let strengths = known("max_force", &parameters.max_force, "effort", |joint| joint.effort)?;
    motors.limit = strengths.iter().map(|force| parameters.motor_strength * force).collect();
    motors.carry_weight = parameters.gravity_compensation;
    if matches!(parameters.control, Control::Position | Control::DeltaPosition) {
        motors.kp = gain("kp", &parameters.kp, TIME_CONSTANT.powi(-2))?;
    }
    if parameters.control != Control::Torque {
        motors.kv = gain("kv", &parameters.kv, 2.0 / TIME_CONSTANT)?;
    }
    motors.position.copy_from_slice(home);
    let speeds = || known("max_speed", &parameters.max_speed, "velocity", |joint| joint.speed);
    let seconds = f64::from(parameters.substeps) * parameters.time_step;
    let scale = match parameters.control {
        Control::Torque => motors.limit.clone(),
        Control::Position => {
            let half = |[low, high]: [f64; 2]| 0.5 * (high - low);
            physics.joints.iter().map(|joint| joint.limits.map_or(PI, half)).collect()
        }
        Control::DeltaPosition => speeds()?.iter().map(|speed| seconds * speed).collect(),
        Control::Velocity => speeds()?,
    };
    Ok((motors, scale))
}

impl Arm {
    /// Gives the motors what the action asks for.
    pub(super) fn command(&mut self) {
        let control = self.parameters.control;
        let physics = &self.mechanism.physics().joints;
        for (joint, (&action, &scale)) in self.action.iter().zip(&self.scale).enumerate() {
            let limits = physics[joint].limits;
            match control {
                Control::Torque => self.motors.force[joint] = scale * action,
                Control::Velocity => self.motors.velocity[joint] = scale * action,
                Control::Position => {
                    let middle = limits.map_or(0.0, |[low, high]| 0.5 * (low + high));
                    self.motors.position[joint] = middle + scale * action;
                }
                Control::DeltaPosition => {
                    let [low, high] = limits.unwrap_or([f64::NEG_INFINITY, f64::INFINITY]);
                    let target = &mut self.motors.position[joint];
                    *target = (*target + scale * action).clamp(low, high);
                }
            }
        }
    }

    /// What each number of an action is, with its unit.
    pub(super) fn action_names(&self) -> Vec<String> {
        let one = |(joint, name): (usize, &str)| {
            let turns = self.robot.turns(self.mechanism.joints()[joint]);
            let (force, way) = if turns { ("N m", "rad") } else { ("N", "m") };
            let scale = self.scale[joint];
            let middle = match self.mechanism.physics().joints[joint].limits {
                Some([low, high]) => 0.5 * (low + high),
                None => 0.0,
            };
            match self.parameters.control {
                Control::Torque => format!("torque {name} [{scale} {force}]"),
                Control::Position => format!("target {name} - {middle} [{scale} {way}]"),
                Control::DeltaPosition => format!("change of target {name} [{scale} {way}]"),
                Control::Velocity => format!("velocity {name} [{scale} {way}/s]"),
            }
        };
        self.joint_names().enumerate().map(one).collect()
    }
}
