//! What can be changed of an arm and its task.

use super::geometry::{Vector, norm};
use super::mechanism::Integrator;
use crate::parameters::ParameterError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What can be changed of [`Arm`](super::Arm).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ArmParameters {
    /// The robot's URDF file. A path in a configuration begins at the configuration's directory, on the
    /// command line at the working directory. Where it is not given, the robot is the Panda that comes with Backburn.
    #[schemars(extend("file" = true), example = &"robots/panda.urdf")]
    pub urdf: Option<String>,
    /// The link whose origin is to reach the object. Where it is not given, the last link of the longest chain.
    #[schemars(example = &"panda_hand")]
    pub tip: Option<String>,
    /// What an action is.
    pub control: Control,
    /// Whether the motors carry the weight of the arm, as its file has it, beside what the action asks for.
    pub gravity_compensation: bool,
    /// Torque of a servo by the distance from its target. Where it is not given, a joint by itself has a time
    /// constant of 0.05 s.
    #[schemars(example = 400.0, extend("unit" = "N m/rad"))]
    pub kp: Option<PerJoint>,
    /// Torque of a servo by the difference from its target's speed. Where it is not given, each joint by itself
    /// is critically damped.
    #[schemars(example = 40.0, extend("unit" = "N m s/rad"))]
    pub kv: Option<PerJoint>,
    /// Largest torque of a motor, the one of an action of 1 with `control = "torque"`. Where it is not given, the
    /// file's effort.
    #[schemars(example = 10.0, extend("unit" = "N m"))]
    pub max_force: Option<PerJoint>,
    /// Speed of an action of 1 with the controls that move a target. Where it is not given, the file's velocity.
    #[schemars(example = 1.0, extend("unit" = "rad/s"))]
    pub max_speed: Option<PerJoint>,
    /// Factor of the largest torques.
    #[schemars(range(min = 0.0, max = 100.0))]
    pub motor_strength: f64,
    /// Inertia of each motor, as seen at its joint.
    #[schemars(extend("unit" = "kg m^2"))]
    pub armature: PerJoint,
    /// Viscous damping of each joint. Where it is not given, the file's.
    #[schemars(example = 1.0, extend("unit" = "N m s/rad"))]
    pub damping: Option<PerJoint>,
    /// Dry friction of each joint. Where it is not given, the file's.
    #[schemars(example = 0.1, extend("unit" = "N m"))]
    pub friction: Option<PerJoint>,
    /// Factor of all masses and inertias of links. What carries the weight does not know of it.
    #[schemars(range(min = 1e-3, max = 1000.0))]
    pub link_mass_scale: f64,
    /// A point mass at the tip. What carries the weight does not know of it.
    #[schemars(range(min = 0.0, max = 1000.0), extend("unit" = "kg"))]
    pub payload: f64,
    /// Gravity, downwards.
    #[schemars(range(min = 0.0, max = 1000.0), extend("unit" = "m/s^2"))]
    pub gravity: f64,
    /// How a step of physics is taken.
    pub integrator: Integrator,
    /// Time of a step of physics.
    #[schemars(range(min = 1e-5, max = 0.1), extend("unit" = "s"))]
    pub time_step: f64,
    /// Steps of physics in a step of control.
    #[schemars(range(min = 1, max = 1000))]
    pub substeps: u32,
    /// Where the joints are when an episode begins. Where it is not given, in the middle between their limits.
    #[schemars(inner(range(min = -1e6, max = 1e6)), extend("unit" = "rad"))]
    pub home: Option<Vec<f64>>,
    /// Each joint begins at most this far from there.
    #[schemars(range(min = 0.0, max = 100.0), extend("unit" = "rad"))]
    pub reset_noise: f64,
    /// Where the object is drawn.
    pub object: Region,
    /// Lower corner of the box.
    #[schemars(inner(range(min = -100.0, max = 100.0)), extend("unit" = "m"))]
    pub object_low: Vector,
    /// Upper corner of the box.
    #[schemars(inner(range(min = -100.0, max = 100.0)), extend("unit" = "m"))]
    pub object_high: Vector,
    /// Inner radius of the shell.
    #[schemars(range(min = 0.0, max = 100.0), extend("unit" = "m"))]
    pub min_object_radius: f64,
    /// Outer radius of the shell.
    #[schemars(range(min = 1e-3, max = 100.0), extend("unit" = "m"))]
    pub max_object_radius: f64,
    /// Lowest height of the object, but in the box.
    #[schemars(range(min = -100.0, max = 100.0), extend("unit" = "m"))]
    pub min_object_height: f64,
    /// A grasp needs the tip at most this far from the object.
    #[schemars(range(min = 1e-6, max = 100.0), extend("unit" = "m"))]
    pub grasp_distance: f64,
    /// A grasp needs the tip at most this fast.
    #[schemars(range(min = 1e-6, max = 1000.0), extend("unit" = "m/s"))]
    pub grasp_speed: f64,
    /// What the reward takes for a distance of 1 m from the tip to the object.
    #[schemars(range(min = 0.0, max = 1e6), extend("unit" = "1/m"))]
    pub distance_weight: f64,
    /// What the reward takes for a squared action of 1.
    #[schemars(range(min = 0.0, max = 1e6))]
    pub effort_weight: f64,
    /// What the reward gives for a grasp.
    #[schemars(range(min = 0.0, max = 1e6))]
    pub grasp_weight: f64,
    /// What the reward takes for an angle of 1 rad between the tip's `z` axis and `tip_direction`. Where it is given,
    /// there is the term `orientation`.
    #[schemars(range(min = 0.0, max = 1e6), example = 0.1, extend("unit" = "1/rad"))]
    pub orientation_weight: Option<f64>,
    /// Where the tip's `z` axis is to point, in the frame of the base.
    #[schemars(inner(range(min = -1.0, max = 1.0)))]
    pub tip_direction: Vector,
    /// What the reward takes for a squared joint speed of 1. Where it is given, there is the term `speed`.
    #[schemars(range(min = 0.0, max = 1e6), example = 0.01, extend("unit" = "s^2/rad^2"))]
    pub speed_weight: Option<f64>,
    /// What the reward takes for a squared difference of 1 between an action and the last one. Where it is given, there
    /// is the term `smoothness`.
    #[schemars(range(min = 0.0, max = 1e6), example = 0.01)]
    pub smoothness_weight: Option<f64>,
    /// Whether the last action is observed.
    pub observe_action: bool,
    /// `x` of the middle of a zone to avoid. Where a zone is given, with all four of its numbers, there is the cost
    /// `zone`: 1 in each step that ends with the tip in it.
    #[schemars(range(min = -100.0, max = 100.0), example = 0.4, extend("unit" = "m"))]
    pub zone_x: Option<f64>,
    /// `y` of the middle of the zone.
    #[schemars(range(min = -100.0, max = 100.0), example = 0.0, extend("unit" = "m"))]
    pub zone_y: Option<f64>,
    /// `z` of the middle of the zone.
    #[schemars(range(min = -100.0, max = 100.0), example = 0.4, extend("unit" = "m"))]
    pub zone_z: Option<f64>,
    /// Radius of the zone.
    #[schemars(range(min = 1e-6, max = 100.0), example = 0.1, extend("unit" = "m"))]
    pub zone_radius: Option<f64>,
    /// Where given, there is the cost `speed`: in each step the sum of what the joints are faster than this.
    #[schemars(range(min = 0.0, max = 1000.0), example = 1.0, extend("unit" = "rad/s"))]
    pub joint_speed_limit: Option<f64>,
    /// Where given, there is the cost `torque`: in each step the sum of what the motors give more than this share of
    /// their largest torques, as shares of these.
    #[schemars(range(min = 0.0, max = 1.0), example = 0.5)]
    pub joint_torque_limit: Option<f64>,
    /// From where pictures show the arm: the camera's angle around the vertical, from `x` towards `y`.
    #[schemars(range(min = -7.0, max = 7.0), extend("unit" = "rad"))]
    pub camera_azimuth: f64,
    /// The camera's angle above the floor.
    #[schemars(range(min = 0.0, max = 1.57), extend("unit" = "rad"))]
    pub camera_elevation: f64,
}

impl ArmParameters {
    /// Middle and radius of the zone to avoid, where there is one.
    pub(super) fn zone(&self) -> Option<(Vector, f64)> {
        Some(([self.zone_x?, self.zone_y?, self.zone_z?], self.zone_radius?))
    }

    /// Names of the reward's terms.
    pub(super) fn reward_terms(&self) -> impl Iterator<Item = &'static str> {
        let more = [
            ("orientation", self.orientation_weight),
            ("speed", self.speed_weight),
            ("smoothness", self.smoothness_weight),
        ];
        let more = more.into_iter().filter(|(_, weight)| weight.is_some()).map(|(name, _)| name);
        ["distance", "effort", "grasp"].into_iter().chain(more)
    }

    /// Names of the costs.
    pub(super) fn costs(&self) -> impl Iterator<Item = &'static str> {
        let zone = self.zone().map(|_| "zone");
        let speed = self.joint_speed_limit.map(|_| "speed");
        let torque = self.joint_torque_limit.map(|_| "torque");
        zone.into_iter().chain(speed).chain(torque)
    }

    /// Refuses numbers that do not go together.
    pub(super) fn must_go_together(&self) -> Result<(), ParameterError> {
        if self.orientation_weight.is_some() && norm(self.tip_direction) < 1e-6 {
            return Err(ParameterError::at("tip_direction", "is no direction; must not be 0"));
        }
        let zone = [
            ("zone_x", self.zone_x),
            ("zone_y", self.zone_y),
            ("zone_z", self.zone_z),
            ("zone_radius", self.zone_radius),
        ];
        if let Some((missing, _)) = zone.iter().find(|(_, number)| number.is_none())
            && zone.iter().any(|(_, number)| number.is_some())
        {
            let message = "is missing; a zone has zone_x, zone_y, zone_z and zone_radius";
            return Err(ParameterError::at(*missing, message));
        }
        Ok(())
    }
}

/// What an action is: one number a joint, from -1 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Control {
    /// A torque, of `max_force` at 1.
    Torque,
    /// Where a servo is to go: from the joint's lowest position at -1 to its highest at 1; of a joint without
    /// limits from -pi to pi.
    Position,
    /// How a servo's target moves, which begins where the joint is: at `max_speed` at 1, between the limits.
    DeltaPosition,
    /// How fast a servo is to go: at `max_speed` at 1.
    Velocity,
}

/// Where the object is drawn, uniformly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Region {
    /// Where the tip is with all joints drawn between their limits, at `min_object_height` or above.
    Reachable,
    /// In the box from `object_low` to `object_high`.
    Box,
    /// Between two spheres around the base, at `min_object_height` or above.
    Shell,
}

/// A number for all joints, or one for each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "must be a number, or an array with one for each joint")]
#[schemars(inline)]
pub enum PerJoint {
    /// The same for all.
    All(#[schemars(range(min = 0.0, max = 1e6))] f64),
    /// In the order of the joints.
    Each(#[schemars(inner(range(min = 0.0, max = 1e6)))] Vec<f64>),
}

impl PerJoint {
    /// One number for each of so many joints.
    ///
    /// # Errors
    /// When there are not so many.
    pub(super) fn each(&self, key: &str, joints: usize) -> Result<Vec<f64>, ParameterError> {
        match self {
            PerJoint::All(number) => Ok(vec![*number; joints]),
            PerJoint::Each(numbers) => {
                must_be_one_a_joint(key, numbers, joints)?;
                Ok(numbers.clone())
            }
        }
    }
}

/// Refuses an array that has more numbers or fewer than there are joints.
pub(super) fn must_be_one_a_joint(
    key: &str,
    numbers: &[f64],
    joints: usize,
) -> Result<(), ParameterError> {
    if numbers.len() == joints {
        return Ok(());
    }
    let message = format!("has {} numbers; the arm has {joints} joints", numbers.len());
    Err(ParameterError::at(key, message))
}

impl Default for ArmParameters {
    fn default() -> Self {
        ArmParameters {
            urdf: None,
            tip: None,
            control: Control::DeltaPosition,
            gravity_compensation: true,
            kp: None,
            kv: None,
            max_force: None,
            max_speed: None,
            motor_strength: 1.0,
            armature: PerJoint::All(0.1),
            damping: None,
            friction: None,
            link_mass_scale: 1.0,
            payload: 0.0,
            gravity: 9.81,
            integrator: Integrator::ImplicitFast,
            time_step: 0.004,
            substeps: 5,
            home: None,
            reset_noise: 0.1,
            object: Region::Reachable,
            object_low: [0.3, -0.3, 0.1],
            object_high: [0.6, 0.3, 0.6],
            min_object_radius: 0.3,
            max_object_radius: 0.7,
            min_object_height: 0.05,
            grasp_distance: 0.05,
            grasp_speed: 0.5,
            distance_weight: 1.0,
            effort_weight: 0.01,
            grasp_weight: 10.0,
            orientation_weight: None,
            tip_direction: [0.0, 0.0, -1.0],
            speed_weight: None,
            smoothness_weight: None,
            observe_action: false,
            zone_x: None,
            zone_y: None,
            zone_z: None,
            zone_radius: None,
            joint_speed_limit: None,
            joint_torque_limit: None,
            camera_azimuth: -0.9,
            camera_elevation: 0.4,
        }
    }
}
