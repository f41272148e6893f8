//! Where the object of an arm's task is drawn.

use super::geometry::Vector;
use super::parameters::{ArmParameters, Region};
use super::{Arm, JointPhysics};
use crate::parameters::ParameterError;
use crate::rng::{Rng, Stream, stream};
use rand::RngExt;
use std::f64::consts::PI;

/// Places that are drawn, at most, until one is high enough.
const MAX_TRIES: usize = 1000;

/// Refuses a region without a place in it.
pub(super) fn must_be_a_region(parameters: &ArmParameters) -> Result<(), ParameterError> {
    let ArmParameters { object_low: low, object_high: high, .. } = parameters;
    if let Some(axis) = (0..3).find(|&axis| low[axis] > high[axis]) {
        let name = ["x", "y", "z"][axis];
        let message = format!(
            "has the {name} {}; must not be above that of object_high, {}",
            low[axis], high[axis]
        );
        return Err(ParameterError::at("object_low", message));
    }
    let ArmParameters { min_object_radius: min, max_object_radius: max, .. } = *parameters;
    if min >= max {
        let message = format!("is {min}; must be below max_object_radius, which is {max}");
        return Err(ParameterError::at("min_object_radius", message));
    }
    let least = parameters.min_object_height;
    if parameters.object == Region::Shell && least >= max {
        let message = format!("is {least}; must be below max_object_radius, which is {max}");
        return Err(ParameterError::at("min_object_height", message));
    }
    Ok(())
}

/// Draws a joint between its limits; one without, anywhere within a turn or a metre.
fn anywhere(joint: &JointPhysics, turns: bool, rng: &mut Rng) -> f64 {
    let [low, high] = joint.limits.unwrap_or(if turns { [-PI, PI] } else { [-1.0, 1.0] });
    rng.random_range(low..=high)
}

impl Arm {
    /// Puts the object somewhere in its region. The arm is left somewhere else.
    pub(super) fn draw_object(&mut self, rng: &mut Rng) {
        for _ in 0..MAX_TRIES {
            self.object = self.place(rng);
            if self.is_high_enough() {
                break;
            }
        }
    }

    fn is_high_enough(&self) -> bool {
        self.parameters.object == Region::Box || self.object[2] >= self.parameters.min_object_height
    }

    /// Refuses a region of which every place that is drawn is too low.
    pub(super) fn object_must_be_found(&mut self) -> Result<(), ParameterError> {
        if self.parameters.object == Region::Box {
            return Ok(());
        }
        let before = (self.mechanism.clone(), self.object);
        self.draw_object(&mut stream(0, Stream::Environment(0)));
        let is_found = self.is_high_enough();
        (self.mechanism, self.object) = before;
        if is_found {
            return Ok(());
        }
        let least = self.parameters.min_object_height;
        let message = format!("is {least}; none of {MAX_TRIES} places drawn is so high");
        Err(ParameterError::at("min_object_height", message))
    }

    fn place(&mut self, rng: &mut Rng) -> Vector {
        let ArmParameters { object_low: low, object_high: high, .. } = self.parameters;
        let ArmParameters { min_object_radius: min, max_object_radius: max, .. } = self.parameters;
        match self.parameters.object {
            Region::Box => std::array::from_fn(|axis| rng.random_range(low[axis]..=high[axis])),
            // Uniform by volume: the cube of the radius is uniform, and so is the height on a sphere.
            Region::Shell => {
                let radius = rng.random_range(min.powi(3)..max.powi(3)).cbrt();
                let height: f64 = rng.random_range(-1.0..1.0);
                let (sin, cos) = rng.random_range(-PI..PI).sin_cos();
                let around = (1.0 - height * height).sqrt();
                [around * cos, around * sin, height].map(|number| radius * number)
            }
            Region::Reachable => {
                let joints = self.mechanism.joints().len();
                for joint in 0..joints {
                    let turns = self.robot.turns(self.mechanism.joints()[joint]);
                    let physics = &self.mechanism.physics().joints[joint];
                    self.motors.position[joint] = anywhere(physics, turns, rng);
                }
                self.mechanism.put(&self.motors.position, &self.action);
                self.mechanism.pose(self.tip).position
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::arm::geometry::norm;
    use crate::{Environment, Parametric};

    fn objects(parameters: ArmParameters) -> Vec<Vector> {
        let mut arm = Arm::new(parameters).unwrap();
        let mut rng = stream(3, Stream::Environment(0));
        (0..2000)
            .map(|_| {
                arm.reset(&mut rng);
                arm.object()
            })
            .collect()
    }

    #[test]
    fn objects_are_where_they_may_be() {
        let boxed = objects(ArmParameters {
            object: Region::Box,
            object_low: [0.1, -0.2, 0.3],
            object_high: [0.2, 0.2, 0.3],
            ..ArmParameters::default()
        });
        for [x, y, z] in &boxed {
            assert!((0.1..=0.2).contains(x) && (-0.2..=0.2).contains(y) && *z == 0.3);
        }
        let right = boxed.iter().filter(|[_, y, _]| *y > 0.0).count();
        assert!(right.abs_diff(1000) < 90, "{right}");

        let shell = ArmParameters {
            object: Region::Shell,
            min_object_radius: 0.4,
            max_object_radius: 0.8,
            min_object_height: -1.0,
            ..ArmParameters::default()
        };
        let places = objects(shell.clone());
        let middle = ((0.4_f64.powi(3) + 0.8_f64.powi(3)) / 2.0).cbrt();
        let inside = places.iter().filter(|place| norm(**place) < middle).count();
        assert!(places.iter().all(|place| (0.4..0.8).contains(&norm(*place))));
        assert!(inside.abs_diff(1000) < 90, "{inside}");
        let above = objects(ArmParameters { min_object_height: 0.2, ..shell });
        assert!(above.iter().all(|[.., z]| *z >= 0.2));

        // The Panda reaches 0.855 m around its shoulder, at 0.333 m, and its hand is another 0.1 m.
        let reachable = objects(ArmParameters::default());
        let far = reachable.iter().map(|[x, y, z]| norm([*x, *y, z - 0.333]));
        let far = far.fold(0.0, f64::max);
        assert!((0.7..1.2).contains(&far), "{far}");
        assert!(reachable.iter().all(|[.., z]| *z >= 0.05));
    }

    #[test]
    fn regions_without_a_place_are_refused() {
        let error = |parameters| Arm::new(parameters).unwrap_err().to_string();
        let parameters = ArmParameters { object_low: [0.0, 0.7, 0.0], ..ArmParameters::default() };
        assert_eq!(
            error(parameters),
            "object_low: has the y 0.7; must not be above that of object_high, 0.3"
        );
        let parameters = ArmParameters { min_object_radius: 0.7, ..ArmParameters::default() };
        assert_eq!(
            error(parameters),
            "min_object_radius: is 0.7; must be below max_object_radius, which is 0.7"
        );
        let parameters = ArmParameters { min_object_height: 9.0, ..ArmParameters::default() };
        assert_eq!(
            error(parameters),
            "min_object_height: is 9; none of 1000 places drawn is so high"
        );
    }
}
