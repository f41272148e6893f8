//! A robot made ready to move: bodies that turn or slide on each other, and where they are.

use super::geometry::{Pose, Rotation, Symmetric, Vector, add, cross, norm, scaled, sub};
use super::geometry::{point_inertia, rotated};
use super::robot::{Motion, Robot};
use super::sin_cos::sin_cos;

/// What holds for all of a robot beside its file.
#[derive(Clone, Debug, PartialEq)]
pub struct Physics {
    /// The acceleration of free fall, m/s^2.
    pub gravity: Vector,
    /// Time of a step, s.
    pub time_step: f64,
    /// How a step is taken.
    pub integrator: Integrator,
    /// Of each joint that has a motor, in the order of [`Mechanism::joints`].
    pub joints: Vec<JointPhysics>,
    /// The factor of all masses and inertias.
    pub mass_scale: f64,
    /// A point mass: the index of a link, at whose origin it is, and kg.
    pub payload: Option<(usize, f64)>,
}

/// What holds at a joint.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct JointPhysics {
    /// Inertia of the motor, as seen at the joint, kg m^2 or kg.
    pub armature: f64,
    /// Viscous damping, N m s/rad or N s/m.
    pub damping: f64,
    /// Dry friction, N m or N.
    pub friction: f64,
    /// The lowest and the highest position, rad or m.
    pub limits: Option<[f64; 2]>,
}

/// How positions and velocities advance; both are MuJoCo's of these names.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Integrator {
    /// Semi-implicit Euler; damping and the speed gain of motors are implicit.
    ImplicitFast,
    /// The classic Runge-Kutta method of fourth order.
    Rk4,
}

impl Physics {
    /// Of a robot as its file has it, on Earth.
    #[must_use]
    pub fn of(robot: &Robot, time_step: f64, integrator: Integrator) -> Physics {
        let of = |joint: &super::robot::Joint| JointPhysics {
            armature: 0.0,
            damping: joint.damping,
            friction: joint.friction,
            limits: joint.limits,
        };
        Physics {
            gravity: [0.0, 0.0, -9.81],
            time_step,
            integrator,
            joints: robot.motors().map(of).collect(),
            mass_scale: 1.0,
            payload: None,
        }
    }
}

/// A robot that moves. Links that are fixed to each other are one body, and those fixed to the root
/// don't move. A joint that follows another one is no coordinate: the leader's moves both, and the
/// follower has no motor, damping, friction, armature or limits of its own.
///
/// What a step needs is made once; a step allocates nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct Mechanism {
    pub(super) physics: Physics,
    /// The index of the link of each joint that has a motor: the coordinates, in the order of the robot's
    /// links.
    joints: Vec<usize>,
    /// Each after its parent.
    pub(super) bodies: Vec<Body>,
    /// Where each link is, by its body; `None` is the base.
    links: Vec<(Option<usize>, Pose)>,
    /// Joint positions, rad or m.
    pub(super) positions: Vec<f64>,
    /// Joint velocities, rad/s or m/s.
    pub(super) velocities: Vec<f64>,
    pub(super) work: super::dynamics::Work,
}

/// A body and how it moves on its parent. Its frame has the joint's axis as `z`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Body {
    /// `None` where it hangs on the base.
    pub(super) parent: Option<usize>,
    pub(super) turns: bool,
    /// The coordinate that moves it, and its position as that of the coordinate.
    pub(super) joint: usize,
    pub(super) multiplier: f64,
    offset: f64,
    /// Where it is in its parent's frame while its joint is at 0.
    place: Pose,
    pub(super) mass: f64,
    /// Of mass, in its own frame.
    pub(super) center: Vector,
    /// About the centre of mass, in its own frame.
    pub(super) inertia: Symmetric,
    /// Whether the payload is on it or on a body that it carries.
    pub(super) has_payload: bool,
    /// Where it is, in the frame of the base.
    pub(super) pose: Pose,
}

impl Body {
    /// The axis of its joint, in the frame of the base.
    #[inline]
    pub(super) fn axis(&self) -> Vector {
        self.pose.rotation.0[2]
    }

    /// The velocity that a unit speed of its joint gives: angular, and of the body's point that is at
    /// the origin of the base.
    #[inline]
    pub(super) fn motion(&self) -> (Vector, Vector) {
        let axis = self.axis();
        if self.turns { (axis, cross(self.pose.position, axis)) } else { ([0.0; 3], axis) }
    }
}

impl Mechanism {
    /// The robot at rest, all joints at 0.
    ///
    /// # Panics
    /// When `physics` has another number of joints than the robot has motors, or the payload is at a
    /// link that is not there.
    #[must_use]
    pub fn new(robot: &Robot, physics: Physics) -> Mechanism {
        let mut links: Vec<(Option<usize>, Pose)> = Vec::with_capacity(robot.links.len());
        let mut joints = Vec::new();
        let mut bodies: Vec<Body> = Vec::new();
        // By the index of a link: the coordinate of its joint.
        let mut coordinates = vec![0; robot.links.len()];
        for (index, link) in robot.links.iter().enumerate() {
            let Some(joint) = &link.joint else {
                links.push((None, Pose::NONE));
                continue;
            };
            let (on, place) = &links[joint.parent];
            let place = place.then(&joint.origin);
            if joint.motion == Motion::Fixed {
                links.push((*on, place));
                continue;
            }
            if joint.mimic.is_none() {
                coordinates[index] = joints.len();
                joints.push(index);
            }
            let to_axis = Rotation::from_z_to(joint.axis);
            bodies.push(Body {
                parent: *on,
                turns: joint.motion == Motion::Turn,
                joint: index,
                multiplier: joint.mimic.map_or(1.0, |mimic| mimic.multiplier),
                offset: joint.mimic.map_or(0.0, |mimic| mimic.offset),
                place: place.then(&Pose { rotation: to_axis, position: [0.0; 3] }),
                mass: 0.0,
                center: [0.0; 3],
                inertia: [0.0; 6],
                has_payload: false,
                pose: Pose::NONE,
            });
            let pose = Pose { rotation: to_axis.inverse(), position: [0.0; 3] };
            links.push((Some(bodies.len() - 1), pose));
        }
        // A leader may come after its follower.
        for body in &mut bodies {
            let joint = robot.links[body.joint].joint.as_ref();
            let leader =
                joint.and_then(|joint| joint.mimic).map_or(body.joint, |mimic| mimic.leader);
            body.joint = coordinates[leader];
        }
        assert_eq!(physics.joints.len(), joints.len(), "one physics for each motor");
        let count = joints.len();
        let mut mechanism = Mechanism {
            work: super::dynamics::Work::new(bodies.len(), count),
            physics,
            joints,
            bodies,
            links,
            positions: vec![0.0; count],
            velocities: vec![0.0; count],
        };
        mechanism.weigh(robot);
        mechanism.locate();
        mechanism.find_inverse_weights();
        mechanism
    }

    /// Gives the bodies what their links weigh.
    fn weigh(&mut self, robot: &Robot) {
        let scale = self.physics.mass_scale;
        let payload = self.physics.payload.filter(|&(_, mass)| mass > 0.0);
        if let Some((link, _)) = payload {
            let mut at = self.links[link].0;
            while let Some(body) = at {
                self.bodies[body].has_payload = true;
                at = self.bodies[body].parent;
            }
        }
        let points = payload.map(|(link, mass)| (link, mass, [0.0; 3], [0.0; 6]));
        let parts = robot.links.iter().enumerate().map(|(index, link)| {
            (index, scale * link.mass, link.center, link.inertia.map(|entry| scale * entry))
        });
        let parts: Vec<_> = parts.chain(points).collect();
        for (number, body) in self.bodies.iter_mut().enumerate() {
            let own = || parts.iter().filter(|(link, ..)| self.links[*link].0 == Some(number));
            let center = |link: usize, center| self.links[link].1.point(center);
            body.mass = own().map(|(_, mass, ..)| mass).sum();
            let moment = own().fold([0.0; 3], |sum, &(link, mass, at, _)| {
                add(sum, scaled(center(link, at), mass))
            });
            body.center = if body.mass > 0.0 { scaled(moment, 1.0 / body.mass) } else { moment };
            for &(link, mass, at, inertia) in own() {
                let from_center = sub(center(link, at), body.center);
                let inertia = rotated(&self.links[link].1.rotation, inertia);
                let moved = point_inertia(mass, from_center);
                for (sum, (own, moved)) in body.inertia.iter_mut().zip(inertia.iter().zip(moved)) {
                    *sum += own + moved;
                }
            }
        }
    }

    /// What holds for all of it.
    #[must_use]
    pub fn physics(&self) -> &Physics {
        &self.physics
    }

    /// The index of the link of each joint that has a motor, in the order of all numbers that there is
    /// one of a joint.
    #[must_use]
    pub fn joints(&self) -> &[usize] {
        &self.joints
    }

    /// Joint positions, rad or m; those of joints that turn are never wrapped.
    #[must_use]
    pub fn positions(&self) -> &[f64] {
        &self.positions
    }

    /// Joint velocities, rad/s or m/s.
    #[must_use]
    pub fn velocities(&self) -> &[f64] {
        &self.velocities
    }

    /// Torques, N m or N, that the motors gave in the last [`Mechanism::step`].
    #[must_use]
    pub fn torques(&self) -> &[f64] {
        &self.work.torques
    }

    /// Puts the joints into these positions (rad or m) and gives them these velocities (rad/s or m/s).
    ///
    /// # Panics
    /// When these are not as many as there are joints.
    pub fn put(&mut self, positions: &[f64], velocities: &[f64]) {
        self.positions.copy_from_slice(positions);
        self.velocities.copy_from_slice(velocities);
        self.locate();
    }

    /// Finds out where the bodies are.
    #[inline]
    pub(super) fn locate(&mut self) {
        for (angle, body) in self.work.angles.iter_mut().zip(&self.bodies) {
            *angle = body.multiplier * self.positions[body.joint] + body.offset;
        }
        sin_cos(&self.work.angles, &mut self.work.sines, &mut self.work.cosines);
        for index in 0..self.bodies.len() {
            let (before, rest) = self.bodies.split_at_mut(index);
            let body = &mut rest[0];
            let mut pose = match body.parent {
                Some(parent) => before[parent].pose.then(&body.place),
                None => body.place,
            };
            if body.turns {
                let (sin, cos) = (self.work.sines[index], self.work.cosines[index]);
                let [x, y, z] = pose.rotation.0;
                pose.rotation.0 =
                    [add(scaled(x, cos), scaled(y, sin)), sub(scaled(y, cos), scaled(x, sin)), z];
            } else {
                let way = scaled(pose.rotation.0[2], self.work.angles[index]);
                pose.position = add(pose.position, way);
            }
            body.pose = pose;
        }
    }

    /// Where a link is, in the frame of the base.
    ///
    /// # Panics
    /// When there is no such link.
    #[must_use]
    pub fn pose(&self, link: usize) -> Pose {
        let (body, place) = &self.links[link];
        match body {
            Some(body) => self.bodies[*body].pose.then(place),
            None => *place,
        }
    }

    /// How fast a link's origin moves, m/s.
    ///
    /// # Panics
    /// When there is no such link.
    #[must_use]
    pub fn velocity(&self, link: usize) -> Vector {
        let (mut at, place) = (self.links[link].0, &self.links[link].1);
        let point = at.map_or(place.position, |body| self.bodies[body].pose.point(place.position));
        let mut velocity = [0.0; 3];
        while let Some(body) = at {
            let body = &self.bodies[body];
            let (angular, linear) = body.motion();
            let speed = body.multiplier * self.velocities[body.joint];
            velocity = add(velocity, scaled(add(linear, cross(angular, point)), speed));
            at = body.parent;
        }
        velocity
    }

    /// Whether any joint moves a link.
    ///
    /// # Panics
    /// When there is no such link.
    #[must_use]
    pub fn moves(&self, link: usize) -> bool {
        self.links[link].0.is_some()
    }

    /// How far a link's origin can be from that of the base at most, m; infinite where joints slide
    /// without limits.
    ///
    /// # Panics
    /// When there is no such link.
    #[must_use]
    pub fn reach(&self, link: usize) -> f64 {
        let (mut at, place) = (self.links[link].0, &self.links[link].1);
        let mut reach = norm(place.position);
        while let Some(body) = at {
            let body = &self.bodies[body];
            reach += norm(body.place.position);
            if !body.turns {
                let way = |bound: f64| (body.multiplier * bound + body.offset).abs();
                reach += self.physics.joints[body.joint]
                    .limits
                    .map_or(f64::INFINITY, |[low, high]| way(low).max(way(high)));
            }
            at = body.parent;
        }
        reach
    }
}
