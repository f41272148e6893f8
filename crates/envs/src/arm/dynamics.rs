//! Equations of motion: `M(q) a + c(q, v) = torques of the motors - damping v + forces of limits and dry
//! friction`, and how a step of time is taken.

use super::geometry::{Symmetric, Vector, add, cross, dot, point_inertia, rotated, scaled, times};
use super::ldl;
use super::mechanism::{Integrator, Mechanism};

/// What the motors of a mechanism do during a step; one number a joint, N m and rad or N and m. Each
/// has the torque `force + kp (position - q) + kv (velocity - v)`, within plus or minus `limit`.
#[derive(Clone, Debug, PartialEq)]
pub struct Motors {
    /// A torque that is given.
    pub force: Vec<f64>,
    /// Where a servo is to go.
    pub position: Vec<f64>,
    /// How fast a servo is to go.
    pub velocity: Vec<f64>,
    /// Torque by position, N m/rad.
    pub kp: Vec<f64>,
    /// Torque by velocity, N m s/rad.
    pub kv: Vec<f64>,
    /// The largest torque.
    pub limit: Vec<f64>,
    /// Whether the motors carry the arm's own weight, as the file has it: the torques that gravity asks
    /// for are added before the limit. A payload is not known to them, nor the factor of the masses.
    pub carry_weight: bool,
}

impl Motors {
    /// Motors of so many joints that do nothing.
    #[must_use]
    pub fn idle(joints: usize) -> Motors {
        Motors {
            force: vec![0.0; joints],
            position: vec![0.0; joints],
            velocity: vec![0.0; joints],
            kp: vec![0.0; joints],
            kv: vec![0.0; joints],
            limit: vec![f64::INFINITY; joints],
            carry_weight: false,
        }
    }
}

/// What a step computes on its way.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Work {
    /// Of each body: the position of its joint, and if it turns sine and cosine.
    pub(super) angles: Vec<f64>,
    pub(super) sines: Vec<f64>,
    pub(super) cosines: Vec<f64>,
    bodies: Vec<Moving>,
    /// The mass matrix with armature, lower triangle, row by row.
    pub(super) mass: Vec<f64>,
    /// `c`: torques that keep the joints at their velocities.
    bias: Vec<f64>,
    /// Torques that keep the arm, as its file has it, where it is.
    weight: Vec<f64>,
    /// What the motors give.
    pub(super) torques: Vec<f64>,
    /// All torques but those of limits and dry friction.
    pub(super) smooth: Vec<f64>,
    /// How much the torques fall with each joint's velocity.
    slopes: Vec<f64>,
    pub(super) factor: Vec<f64>,
    pub(super) accelerations: Vec<f64>,
    /// Runge-Kutta: position and velocity at the start, and sums of velocities and accelerations.
    start: [Vec<f64>; 2],
    sums: [Vec<f64>; 2],
    pub(super) constraints: super::constraints::Constraints,
}

impl Work {
    pub(super) fn new(bodies: usize, joints: usize) -> Work {
        let joint = || vec![0.0; joints];
        Work {
            angles: vec![0.0; bodies],
            sines: vec![0.0; bodies],
            cosines: vec![1.0; bodies],
            bodies: vec![Moving::default(); bodies],
            mass: vec![0.0; joints * joints],
            bias: joint(),
            weight: joint(),
            torques: joint(),
            smooth: joint(),
            slopes: joint(),
            factor: vec![0.0; joints * joints],
            accelerations: joint(),
            start: [joint(), joint()],
            sums: [joint(), joint()],
            constraints: super::constraints::Constraints::new(joints),
        }
    }
}

/// A body in motion. Vectors have the axes of the base; velocities, accelerations and moments are those
/// of the base's origin, as in Featherstone's spatial vectors.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Moving {
    /// The velocity that a unit speed of the joint gives: angular and linear.
    axis: Vector,
    slide: Vector,
    angular: Vector,
    linear: Vector,
    /// Accelerations while no joint accelerates; the base accelerates against gravity.
    angular_acceleration: Vector,
    linear_acceleration: Vector,
    /// What accelerates the body so, and all that it carries.
    force: Vector,
    moment: Vector,
    /// Of the body and all that it carries: mass, mass times centre, inertia.
    mass: f64,
    first_moment: Vector,
    inertia: Symmetric,
}

impl Mechanism {
    /// Advances by one step of time.
    ///
    /// # Panics
    /// When `motors` has another number of joints.
    pub fn step(&mut self, motors: &Motors) {
        match self.physics.integrator {
            Integrator::ImplicitFast => self.step_implicit(motors),
            Integrator::Rk4 => self.step_rk4(motors),
        }
        self.locate();
    }

    /// Semi-implicit Euler: `(M + h S) a = torques` with the slopes `S` of the torques by velocity, then
    /// `v += h a` and `q += h v`.
    #[inline]
    fn step_implicit(&mut self, motors: &Motors) {
        let time_step = self.physics.time_step;
        self.assemble(motors);
        let is_constrained = self.constrain();
        let work = &mut self.work;
        let count = self.positions.len();
        work.factor.copy_from_slice(&work.mass);
        for joint in 0..count {
            work.factor[joint * (count + 1)] += time_step * work.slopes[joint];
            work.accelerations[joint] = work.smooth[joint];
            if is_constrained {
                work.accelerations[joint] += work.constraints.forces[joint];
            }
        }
        ldl::factor(&mut work.factor, count);
        ldl::solve(&work.factor, count, &mut work.accelerations);
        for joint in 0..count {
            self.velocities[joint] += time_step * work.accelerations[joint];
            self.positions[joint] += time_step * self.velocities[joint];
        }
    }

    /// The classic Runge-Kutta method.
    fn step_rk4(&mut self, motors: &Motors) {
        let count = self.positions.len();
        let h = self.physics.time_step;
        self.work.start[0].copy_from_slice(&self.positions);
        self.work.start[1].copy_from_slice(&self.velocities);
        for stage in 0..4 {
            self.accelerate(motors);
            let weight = [h / 6.0, h / 3.0, h / 3.0, h / 6.0][stage];
            let ahead = [0.5 * h, 0.5 * h, h, 0.0][stage];
            let work = &mut self.work;
            for joint in 0..count {
                let (v, a) = (self.velocities[joint], work.accelerations[joint]);
                let [positions, velocities] = &mut work.sums;
                if stage == 0 {
                    (positions[joint], velocities[joint]) = (0.0, 0.0);
                }
                positions[joint] += weight * v;
                velocities[joint] += weight * a;
                let [q, v0] = &work.start;
                (self.positions[joint], self.velocities[joint]) = match stage {
                    3 => (q[joint] + positions[joint], v0[joint] + velocities[joint]),
                    _ => (q[joint] + ahead * v, v0[joint] + ahead * a),
                };
            }
            if stage < 3 {
                self.locate();
            }
        }
    }

    /// Finds the accelerations of this moment.
    fn accelerate(&mut self, motors: &Motors) {
        self.assemble(motors);
        if self.constrain() {
            return;
        }
        let count = self.positions.len();
        let work = &mut self.work;
        work.factor.copy_from_slice(&work.mass);
        work.accelerations.copy_from_slice(&work.smooth);
        ldl::factor(&mut work.factor, count);
        ldl::solve(&work.factor, count, &mut work.accelerations);
    }

    /// Puts the equations of motion together: mass matrix, torques and their slopes.
    #[inline]
    fn assemble(&mut self, motors: &Motors) {
        self.move_bodies();
        self.collect(motors.carry_weight);
        let count = self.positions.len();
        let work = &mut self.work;
        let (q, v) = (&self.positions[..count], &self.velocities[..count]);
        for (joint, physics) in self.physics.joints.iter().enumerate() {
            let torque = motors.force[joint]
                + motors.kp[joint] * (motors.position[joint] - q[joint])
                + motors.kv[joint] * (motors.velocity[joint] - v[joint])
                + work.weight[joint];
            let limit = motors.limit[joint];
            // At its limit a motor gives the same torque at any speed.
            let is_free = torque.abs() < limit;
            work.slopes[joint] = physics.damping + if is_free { motors.kv[joint] } else { 0.0 };
            work.torques[joint] = torque.clamp(-limit, limit);
            work.smooth[joint] =
                work.torques[joint] - physics.damping * v[joint] - work.bias[joint];
        }
    }

    /// From the base outwards: the recursive Newton-Euler algorithm's velocities, accelerations and
    /// forces of each body by itself, and its inertia about the origin.
    #[inline]
    fn move_bodies(&mut self) {
        let base =
            Moving { linear_acceleration: scaled(self.physics.gravity, -1.0), ..Moving::default() };
        for (index, body) in self.bodies.iter().enumerate() {
            let (before, rest) = self.work.bodies.split_at_mut(index);
            let on = body.parent.map_or(&base, |parent| &before[parent]);
            let moving = &mut rest[0];
            let speed = body.multiplier * self.velocities[body.joint];
            let (axis, slide) = body.motion();
            (moving.axis, moving.slide) = (axis, slide);
            moving.angular = add(on.angular, scaled(axis, speed));
            moving.linear = add(on.linear, scaled(slide, speed));
            moving.angular_acceleration =
                add(on.angular_acceleration, scaled(cross(on.angular, axis), speed));
            let turned = add(cross(on.angular, slide), cross(on.linear, axis));
            moving.linear_acceleration = add(on.linear_acceleration, scaled(turned, speed));

            let center = body.pose.point(body.center);
            let inertia = rotated(&body.pose.rotation, body.inertia);
            let (angular, acceleration) = (moving.angular, moving.angular_acceleration);
            let velocity = add(moving.linear, cross(angular, center));
            let of_center = add(
                add(moving.linear_acceleration, cross(acceleration, center)),
                cross(angular, velocity),
            );
            moving.force = scaled(of_center, body.mass);
            moving.moment = add(
                add(cross(center, moving.force), times(inertia, acceleration)),
                cross(angular, times(inertia, angular)),
            );
            moving.mass = body.mass;
            moving.first_moment = scaled(center, body.mass);
            let moved = point_inertia(body.mass, center);
            moving.inertia = std::array::from_fn(|entry| inertia[entry] + moved[entry]);
        }
    }

    /// From the tips inwards: sums over what each body carries, and from them the torques of the joints
    /// (the second half of the recursive Newton-Euler algorithm) and the mass matrix (composite rigid
    /// bodies).
    #[inline]
    fn collect(&mut self, carry_weight: bool) {
        let count = self.positions.len();
        let work = &mut self.work;
        work.mass.fill(0.0);
        work.bias.fill(0.0);
        work.weight.fill(0.0);
        let payload = match self.physics.payload {
            Some((link, mass)) if carry_weight && mass > 0.0 => {
                let place = self.pose(link).position;
                (mass, scaled(place, mass))
            }
            _ => (0.0, [0.0; 3]),
        };
        let work = &mut self.work;
        for (index, body) in self.bodies.iter().enumerate().rev() {
            let (before, rest) = work.bodies.split_at_mut(index);
            let moving = &rest[0];
            if let Some(parent) = body.parent {
                let on = &mut before[parent];
                on.force = add(on.force, moving.force);
                on.moment = add(on.moment, moving.moment);
                on.mass += moving.mass;
                on.first_moment = add(on.first_moment, moving.first_moment);
                for (sum, entry) in on.inertia.iter_mut().zip(moving.inertia) {
                    *sum += entry;
                }
            }
            let (axis, slide, joint) = (moving.axis, moving.slide, body.joint);
            let torque = dot(axis, moving.moment) + dot(slide, moving.force);
            work.bias[joint] += body.multiplier * torque;
            if carry_weight {
                let (mass, first_moment) = match body.has_payload {
                    true => {
                        (moving.mass - payload.0, add(moving.first_moment, scaled(payload.1, -1.0)))
                    }
                    false => (moving.mass, moving.first_moment),
                };
                let gravity = scaled(self.physics.gravity, -1.0 / self.physics.mass_scale);
                let torque = dot(axis, cross(first_moment, gravity)) + mass * dot(slide, gravity);
                work.weight[joint] += body.multiplier * torque;
            }
            // The momentum that a unit speed of this joint gives to all that it moves.
            let linear = add(scaled(slide, moving.mass), cross(axis, moving.first_moment));
            let angular = add(cross(moving.first_moment, slide), times(moving.inertia, axis));
            let own = dot(axis, angular) + dot(slide, linear);
            work.mass[joint * (count + 1)] += body.multiplier * body.multiplier * own;
            let mut at = body.parent;
            while let Some(other) = at {
                let (on, moving) = (&self.bodies[other], &before[other]);
                let entry = dot(moving.axis, angular) + dot(moving.slide, linear);
                let entry = body.multiplier * on.multiplier * entry;
                if on.joint == joint {
                    work.mass[joint * (count + 1)] += 2.0 * entry;
                } else {
                    let (row, column) = (joint.max(on.joint), joint.min(on.joint));
                    work.mass[row * count + column] += entry;
                }
                at = on.parent;
            }
        }
        for (joint, physics) in self.physics.joints.iter().enumerate() {
            work.mass[joint * (count + 1)] += physics.armature;
        }
    }

    /// The mass matrix at these positions, row by row, kg m^2: of that what is moved, and of the motors.
    #[must_use]
    pub fn mass_matrix(&mut self) -> Vec<f64> {
        self.move_bodies();
        self.collect(false);
        let count = self.positions.len();
        let entry = |at: usize| {
            let (row, column) = (at / count, at % count);
            self.work.mass[row.max(column) * count + row.min(column)]
        };
        (0..count * count).map(entry).collect()
    }

    /// The torques `c(q, v)` that keep all joints at their velocities, N m or N.
    #[must_use]
    pub fn bias(&mut self) -> &[f64] {
        self.move_bodies();
        self.collect(false);
        &self.work.bias
    }

    /// The energy of position and motion, J; that of position is 0 with all mass at the origin.
    #[must_use]
    pub fn energy(&mut self) -> f64 {
        let mass = self.mass_matrix();
        let v = &self.velocities;
        let mut energy = 0.0;
        for (row, one) in mass.chunks(v.len()).zip(v) {
            energy +=
                0.5 * one * row.iter().zip(v).map(|(entry, other)| entry * other).sum::<f64>();
        }
        for body in &self.bodies {
            energy -= body.mass * dot(self.physics.gravity, body.pose.point(body.center));
        }
        energy
    }
}
