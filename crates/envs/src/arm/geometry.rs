//! Vectors, rotations and poses in three dimensions.

/// A vector, or a point from the origin, m.
pub type Vector = [f64; 3];

/// `a . b`.
#[inline]
#[must_use]
pub fn dot(a: Vector, b: Vector) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

/// `a x b`.
#[inline]
#[must_use]
pub fn cross(a: Vector, b: Vector) -> Vector {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

/// `a + b`.
#[inline]
#[must_use]
pub fn add(a: Vector, b: Vector) -> Vector {
    [a[0] + b[0], a[1] + b[1], a[2] + b[2]]
}

/// `a - b`.
#[inline]
#[must_use]
pub fn sub(a: Vector, b: Vector) -> Vector {
    [a[0] - b[0], a[1] - b[1], a[2] - b[2]]
}

/// `factor a`.
#[inline]
#[must_use]
pub fn scaled(a: Vector, factor: f64) -> Vector {
    [factor * a[0], factor * a[1], factor * a[2]]
}

/// `|a|`. No number here can overflow, which is what the slower `hypot` is for.
#[inline]
#[must_use]
pub fn norm(a: Vector) -> f64 {
    dot(a, a).sqrt()
}

/// A rotation by its columns: where it takes the axes `x`, `y` and `z`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rotation(pub [Vector; 3]);

impl Rotation {
    /// No rotation.
    pub const NONE: Rotation = Rotation([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]);

    /// The rotation by roll, pitch and yaw, rad: about the fixed axes `x`, then `y`, then `z`, as a URDF
    /// has them.
    #[must_use]
    pub fn from_rpy([roll, pitch, yaw]: Vector) -> Rotation {
        let ((sr, cr), (sp, cp), (sy, cy)) = (roll.sin_cos(), pitch.sin_cos(), yaw.sin_cos());
        Rotation([
            [cy * cp, sy * cp, -sp],
            [cy * sp * sr - sy * cr, sy * sp * sr + cy * cr, cp * sr],
            [cy * sp * cr + sy * sr, sy * sp * cr - cy * sr, cp * cr],
        ])
    }

    /// A rotation that takes `z` to this unit vector.
    #[must_use]
    pub fn from_z_to(axis: Vector) -> Rotation {
        // The axis that is most nearly square to it gives the other two; `z` itself stays what it is.
        let start: Vector = if axis[0].abs() <= 0.6 { [1.0, 0.0, 0.0] } else { [0.0, 1.0, 0.0] };
        let x = sub(start, scaled(axis, dot(start, axis)));
        let x = scaled(x, 1.0 / norm(x));
        Rotation([x, cross(axis, x), axis])
    }

    /// The vector after the rotation.
    #[inline]
    #[must_use]
    pub fn rotate(&self, [x, y, z]: Vector) -> Vector {
        let [a, b, c] = self.0;
        [
            a[0] * x + b[0] * y + c[0] * z,
            a[1] * x + b[1] * y + c[1] * z,
            a[2] * x + b[2] * y + c[2] * z,
        ]
    }

    /// `other` first, then this one.
    #[inline]
    #[must_use]
    pub fn after(&self, other: &Rotation) -> Rotation {
        Rotation(other.0.map(|column| self.rotate(column)))
    }

    /// The rotation back.
    #[must_use]
    pub fn inverse(&self) -> Rotation {
        let [a, b, c] = self.0;
        Rotation([[a[0], b[0], c[0]], [a[1], b[1], c[1]], [a[2], b[2], c[2]]])
    }

    /// The nine numbers, row by row.
    #[must_use]
    pub fn rows(&self) -> [f64; 9] {
        let [a, b, c] = self.0;
        [a[0], b[0], c[0], a[1], b[1], c[1], a[2], b[2], c[2]]
    }
}

/// Where a frame is in another one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pose {
    /// Its axes.
    pub rotation: Rotation,
    /// Its origin, m.
    pub position: Vector,
}

impl Pose {
    /// The frame itself.
    pub const NONE: Pose = Pose { rotation: Rotation::NONE, position: [0.0; 3] };

    /// A point of the frame, seen from the other one.
    #[inline]
    #[must_use]
    pub fn point(&self, point: Vector) -> Vector {
        add(self.position, self.rotation.rotate(point))
    }

    /// Where a frame is that is at `inner` in this frame.
    #[inline]
    #[must_use]
    pub fn then(&self, inner: &Pose) -> Pose {
        Pose {
            rotation: self.rotation.after(&inner.rotation),
            position: self.point(inner.position),
        }
    }
}

/// A symmetric matrix as `xx, yy, zz, xy, xz, yz`; of an inertia in kg m^2.
pub type Symmetric = [f64; 6];

/// The symmetric matrix times a vector.
#[inline]
#[must_use]
pub fn times([xx, yy, zz, xy, xz, yz]: Symmetric, [x, y, z]: Vector) -> Vector {
    [xx * x + xy * y + xz * z, xy * x + yy * y + yz * z, xz * x + yz * y + zz * z]
}

/// The symmetric matrix `R I R'`.
#[inline]
#[must_use]
pub fn rotated(rotation: &Rotation, [xx, yy, zz, xy, xz, yz]: Symmetric) -> Symmetric {
    let [a, b, c] = rotation.0;
    // The columns of R I, then their products with the rows of R.
    let column = |x: f64, y: f64, z: f64| {
        [
            a[0] * x + b[0] * y + c[0] * z,
            a[1] * x + b[1] * y + c[1] * z,
            a[2] * x + b[2] * y + c[2] * z,
        ]
    };
    let (p, q, r) = (column(xx, xy, xz), column(xy, yy, yz), column(xz, yz, zz));
    let entry = |i: usize, j: usize| p[i] * a[j] + q[i] * b[j] + r[i] * c[j];
    [entry(0, 0), entry(1, 1), entry(2, 2), entry(0, 1), entry(0, 2), entry(1, 2)]
}

/// What a point mass at `c` adds to an inertia about the origin: `m (|c|^2 1 - c c')`.
#[inline]
#[must_use]
pub fn point_inertia(mass: f64, [x, y, z]: Vector) -> Symmetric {
    let (mx, my, mz) = (mass * x, mass * y, mass * z);
    let (xx, yy, zz) = (mx * x, my * y, mz * z);
    [yy + zz, xx + zz, xx + yy, -mx * y, -mx * z, -my * z]
}

/// The eigenvalues of a symmetric matrix, rising; of an inertia its principal moments.
///
/// Source: Smith, "Eigenvalues of a symmetric 3 x 3 matrix" (1961).
#[must_use]
pub fn eigenvalues([xx, yy, zz, xy, xz, yz]: Symmetric) -> Vector {
    let mean = (xx + yy + zz) / 3.0;
    let (a, b, c) = (xx - mean, yy - mean, zz - mean);
    let spread = ((a * a + b * b + c * c + 2.0 * (xy * xy + xz * xz + yz * yz)) / 6.0).sqrt();
    if spread == 0.0 {
        return [mean; 3];
    }
    let [a, b, c, xy, xz, yz] = [a, b, c, xy, xz, yz].map(|entry| entry / spread);
    let determinant = a * (b * c - yz * yz) - xy * (xy * c - yz * xz) + xz * (xy * yz - b * xz);
    let angle = (determinant / 2.0).clamp(-1.0, 1.0).acos() / 3.0;
    let third = std::f64::consts::TAU / 3.0;
    let high = mean + 2.0 * spread * angle.cos();
    let low = mean + 2.0 * spread * (angle + third).cos();
    [low, 3.0 * mean - low - high, high]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::FRAC_PI_2;

    fn assert_near(found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        for (a, b) in found.iter().zip(expected) {
            assert!((a - b).abs() < 1e-12, "{found:?} {expected:?}");
        }
    }

    #[test]
    fn roll_comes_before_pitch_and_yaw() {
        let turned = Rotation::from_rpy([FRAC_PI_2, 0.0, FRAC_PI_2]).rotate([0.0, 1.0, 0.0]);
        assert_near(&turned, &[0.0, 0.0, 1.0]);
        let turned = Rotation::from_rpy([0.0, FRAC_PI_2, FRAC_PI_2]).rotate([0.0, 0.0, 1.0]);
        assert_near(&turned, &[0.0, 1.0, 0.0]);
    }

    #[test]
    fn z_is_taken_to_the_axis_by_a_rotation() {
        for axis in [[0.0, 0.0, 1.0], [0.0, -1.0, 0.0], [0.6, 0.0, 0.8], [-1.0, 0.0, 0.0]] {
            let rotation = Rotation::from_z_to(axis);
            assert_near(&rotation.rotate([0.0, 0.0, 1.0]), &axis);
            assert_near(&rotation.after(&rotation.inverse()).rows(), &Rotation::NONE.rows());
            assert_near(&cross(rotation.0[0], rotation.0[1]), &rotation.0[2]);
        }
        assert_eq!(Rotation::from_z_to([0.0, 0.0, 1.0]), Rotation::NONE);
    }

    #[test]
    fn a_rotated_inertia_keeps_its_principal_moments() {
        let inertia = [1.0, 2.0, 2.5, 0.0, 0.0, 0.0];
        let turned = rotated(&Rotation::from_rpy([0.3, -1.1, 2.0]), inertia);
        assert!(turned[3].abs() > 0.1);
        assert_near(&eigenvalues(turned), &[1.0, 2.0, 2.5]);
        assert_near(&eigenvalues([3.0, 3.0, 3.0, 0.0, 0.0, 0.0]), &[3.0; 3]);
        let quarter = rotated(&Rotation::from_rpy([0.0, 0.0, FRAC_PI_2]), inertia);
        assert_near(&quarter, &[2.0, 1.0, 2.5, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn poses_follow_each_other() {
        let outer =
            Pose { rotation: Rotation::from_rpy([0.0, 0.0, FRAC_PI_2]), position: [1.0, 0.0, 0.0] };
        let inner = Pose { position: [2.0, 0.0, 0.0], ..Pose::NONE };
        assert_near(&outer.then(&inner).point([1.0, 0.0, 0.0]), &[1.0, 3.0, 0.0]);
        assert_near(
            &times(point_inertia(2.0, [0.0, 3.0, 0.0]), [1.0, 1.0, 1.0]),
            &[18.0, 0.0, 18.0],
        );
    }
}
