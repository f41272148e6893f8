//! Joint limits and dry friction, as soft constraints in the way of MuJoCo.
//!
//! The accelerations `a` minimise `(a - a0)' M (a - a0) / 2 + sum of s_i(a)`, where `a0` are those without
//! constraints. A limit that is passed by `d < 0` has `s = D min(0, +-a_i - reference)^2 / 2`; dry friction
//! is the same on both sides up to its largest force, and linear beyond.
//!
//! Source: MuJoCo's documentation, "Computation", sections "Constraint model" and "Reference"; its
//! defaults `solref = (0.02, 1)` and `solimp = (0.9, 0.95, 0.001, 0.5, 2)` are the constants here.

use super::ldl;
use super::mechanism::Mechanism;

/// `solref`: time constant, s, of a critically damped return. Never below two steps.
const TIME_CONSTANT: f64 = 0.02;
/// `solimp`: impedance at the limit and from [`WIDTH`] on.
const IMPEDANCE: [f64; 2] = [0.9, 0.95];
/// `solimp`: the way from the one to the other, rad or m.
const WIDTH: f64 = 0.001;
/// Newton steps, at most; two or three are usual.
const MAX_ITERATIONS: usize = 50;

/// A piece of the torque that constraints put on a joint: `stiffness (reference - a)`, clamped.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Row {
    /// `D`, kg m^2; 0 where there is no such constraint.
    stiffness: f64,
    /// rad/s^2.
    reference: f64,
    /// The lowest and the highest torque, N m.
    bounds: [f64; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece {
    Lowest,
    Between,
    Highest,
}

impl Row {
    #[inline]
    fn force(&self, acceleration: f64) -> f64 {
        // Not `clamp`, which refuses NaN.
        (self.stiffness * (self.reference - acceleration)).max(self.bounds[0]).min(self.bounds[1])
    }

    /// Where the torque is on its three pieces: at its lowest, in between, where it changes with the
    /// acceleration, or at its highest.
    #[inline]
    fn piece(&self, acceleration: f64) -> Piece {
        let force = self.stiffness * (self.reference - acceleration);
        if self.stiffness == 0.0 || force >= self.bounds[1] {
            Piece::Highest
        } else if force > self.bounds[0] {
            Piece::Between
        } else {
            Piece::Lowest
        }
    }
}

/// What the solver needs.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Constraints {
    /// The diagonal of `M^-1` with all joints at 0: how easily each joint is moved.
    inverse_weights: Vec<f64>,
    /// Dry friction and the limit of each joint.
    rows: Vec<[Row; 2]>,
    pieces: Vec<[Piece; 2]>,
    gradient: Vec<f64>,
    direction: Vec<f64>,
    /// Where along the direction a row's torque has a kink.
    kinks: Vec<f64>,
    /// What the constraints put on the joints, N m.
    pub(super) forces: Vec<f64>,
}

impl Constraints {
    pub(super) fn new(joints: usize) -> Constraints {
        Constraints {
            inverse_weights: vec![0.0; joints],
            rows: vec![[Row::default(); 2]; joints],
            pieces: vec![[Piece::Highest; 2]; joints],
            gradient: vec![0.0; joints],
            direction: vec![0.0; joints],
            kinks: Vec::with_capacity(4 * joints),
            forces: vec![0.0; joints],
        }
    }
}

/// `solimp` at this depth: from 0.9 to 0.95 in two parabolas.
fn impedance(depth: f64) -> f64 {
    let x = (depth / WIDTH).min(1.0);
    let y = if x <= 0.5 { 2.0 * x * x } else { 1.0 - 2.0 * (1.0 - x) * (1.0 - x) };
    IMPEDANCE[0] + y * (IMPEDANCE[1] - IMPEDANCE[0])
}

impl Mechanism {
    /// Finds out how easily each joint is moved; all of them are at 0.
    pub(super) fn find_inverse_weights(&mut self) {
        let count = self.positions().len();
        let mut mass = self.mass_matrix();
        ldl::factor(&mut mass, count);
        for joint in 0..count {
            let mut column = vec![0.0; count];
            column[joint] = 1.0;
            ldl::solve(&mass, count, &mut column);
            self.work.constraints.inverse_weights[joint] = column[joint];
        }
    }

    /// Finds the accelerations and the torques of the constraints; nothing, and `false`, where no limit
    /// is passed and no joint has dry friction.
    #[inline]
    pub(super) fn constrain(&mut self) -> bool {
        let is_constrained = self.physics.joints.iter().zip(&self.positions).any(|(joint, &at)| {
            joint.friction > 0.0 || joint.limits.is_some_and(|[low, high]| at < low || at > high)
        });
        if is_constrained {
            self.find_rows();
            self.minimise();
        }
        is_constrained
    }

    /// Puts down the constraints of this moment.
    fn find_rows(&mut self) {
        let time_constant = TIME_CONSTANT.max(2.0 * self.physics.time_step);
        let damping = 2.0 / (IMPEDANCE[1] * time_constant);
        let spring = 1.0 / (IMPEDANCE[1] * time_constant).powi(2);
        let constraints = &mut self.work.constraints;
        for (joint, physics) in self.physics.joints.iter().enumerate() {
            let (at, speed) = (self.positions[joint], self.velocities[joint]);
            let stiffness = |impedance: f64| {
                let resistance = (1.0 - impedance) / impedance * constraints.inverse_weights[joint];
                1.0 / resistance.max(1e-15)
            };
            let [friction, limit] = &mut constraints.rows[joint];
            *friction = Row::default();
            if physics.friction > 0.0 {
                *friction = Row {
                    stiffness: stiffness(IMPEDANCE[0]),
                    reference: -damping * speed,
                    bounds: [-physics.friction, physics.friction],
                };
            }
            *limit = Row::default();
            let Some([low, high]) = physics.limits else { continue };
            // By how much it is passed, and which torques push back.
            let (passed, bounds) = if at < low {
                (at - low, [0.0, f64::INFINITY])
            } else if at > high {
                (at - high, [f64::NEG_INFINITY, 0.0])
            } else {
                continue;
            };
            let impedance = impedance(passed.abs());
            *limit = Row {
                stiffness: stiffness(impedance),
                reference: -damping * speed - spring * impedance * passed,
                bounds,
            };
        }
    }

    /// Newton's method with exact line search. As each constraint acts on one joint, it only changes the
    /// diagonal of `M`.
    fn minimise(&mut self) {
        let count = self.positions.len();
        let work = &mut self.work;
        work.factor.copy_from_slice(&work.mass);
        ldl::factor(&mut work.factor, count);
        work.accelerations.copy_from_slice(&work.smooth);
        ldl::solve(&work.factor, count, &mut work.accelerations);
        for _ in 0..MAX_ITERATIONS {
            let constraints = &mut work.constraints;
            work.factor.copy_from_slice(&work.mass);
            for joint in 0..count {
                let at = work.accelerations[joint];
                let rows = &constraints.rows[joint];
                constraints.pieces[joint] = rows.map(|row| row.piece(at));
                constraints.gradient[joint] =
                    work.smooth[joint] + rows.iter().map(|row| row.force(at)).sum::<f64>();
                for (row, piece) in rows.iter().zip(constraints.pieces[joint]) {
                    if piece == Piece::Between {
                        work.factor[joint * (count + 1)] += row.stiffness;
                    }
                }
            }
            subtract_product(&work.mass, &work.accelerations, &mut constraints.gradient);
            constraints.direction.copy_from_slice(&constraints.gradient);
            ldl::factor(&mut work.factor, count);
            ldl::solve(&work.factor, count, &mut constraints.direction);
            let (way, is_last) = constraints.search(&work.mass, &work.accelerations);
            for (at, step) in work.accelerations.iter_mut().zip(&constraints.direction) {
                *at += way * step;
            }
            if is_last {
                break;
            }
        }
        let constraints = &mut work.constraints;
        for joint in 0..count {
            let at = work.accelerations[joint];
            constraints.forces[joint] =
                constraints.rows[joint].iter().map(|row| row.force(at)).sum();
        }
    }
}

/// `result -= M x`.
fn subtract_product(mass: &[f64], x: &[f64], result: &mut [f64]) {
    let count = x.len();
    for row in 0..count {
        let mut sum = mass[row * (count + 1)] * x[row];
        for column in 0..row {
            let entry = mass[row * count + column];
            sum += entry * x[column];
            result[column] -= entry * x[row];
        }
        result[row] -= sum;
    }
}

impl Constraints {
    /// How far to go along the direction, and whether the minimum is found there: no row has changed
    /// between its pieces, within which a Newton step is exact.
    fn search(&mut self, mass: &[f64], accelerations: &[f64]) -> (f64, bool) {
        let ends = || accelerations.iter().zip(&self.direction);
        let is_same = ends()
            .zip(&self.rows)
            .zip(&self.pieces)
            .all(|(((at, step), rows), pieces)| rows.map(|row| row.piece(at + step)) == *pieces);
        if is_same {
            return (1.0, true);
        }
        // The slope of the cost along the direction: what is linear in the way, and the rows.
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
        self.forces.fill(0.0);
        subtract_product(mass, &self.direction, &mut self.forces);
        let curvature = -dot(&self.direction, &self.forces);
        let row_forces = |way: f64| {
            let forces = accelerations.iter().zip(&self.direction).zip(&self.rows);
            forces
                .map(|((at, step), rows)| {
                    step * rows.iter().map(|row| row.force(at + way * step)).sum::<f64>()
                })
                .sum::<f64>()
        };
        let start = row_forces(0.0) - dot(&self.gradient, &self.direction);
        let slope = |way: f64| start + curvature * way - row_forces(way);

        self.kinks.clear();
        for ((at, step), rows) in accelerations.iter().zip(&self.direction).zip(&self.rows) {
            for row in rows.iter().filter(|row| row.stiffness > 0.0) {
                let kinks =
                    row.bounds.map(|bound| (row.reference - bound / row.stiffness - at) / step);
                self.kinks.extend(kinks.iter().filter(|way| way.is_finite() && **way > 0.0));
            }
        }
        self.kinks.sort_unstable_by(f64::total_cmp);
        let (mut low, mut at_low) = (0.0, slope(0.0));
        for &kink in &self.kinks {
            let at_kink = slope(kink);
            if at_kink >= 0.0 {
                return (low - at_low * (kink - low) / (at_kink - at_low), false);
            }
            (low, at_low) = (kink, at_kink);
        }
        // Beyond the last kink the slope is a line.
        let rise = slope(low + 1.0) - at_low;
        let way = low - at_low / rise;
        (if way.is_finite() { way } else { 1.0 }, !way.is_finite())
    }
}
