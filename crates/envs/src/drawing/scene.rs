//! Bodies in three dimensions, as a camera sees them.

use super::{Color, Drawing};
use crate::arm::geometry::{Pose, Vector, cross, dot, sub};
use std::f64::consts::{FRAC_1_SQRT_2, TAU};
use std::sync::Arc;

/// Corners of a circle.
const CORNERS: usize = 24;
/// Cells of the floor's grid, along each side.
const CELLS: usize = 8;
/// How far a shadow is from what is 1 m above the floor, m.
const SHADOW: [f64; 2] = [0.25, 0.15];
/// Thickness of outlines and of the grid, as a share of [`Scene::radius`].
const OUTLINE: f64 = 0.006;
/// How far down a picture goes at least, likewise.
const LOWEST: f64 = 0.3;
/// Thickness of a trail, likewise.
const TRAIL: f64 = 0.012;

/// Bodies above a floor at `z = 0`. Lengths are in m.
///
/// ```
/// use envs::arm::geometry::Pose;
/// use envs::{Body, Camera, Color, Scene, Shape, Solid};
///
/// let ball = Body {
///     solids: vec![Solid::ball([0.0; 3], 0.1)].into(),
///     pose: Pose { position: [0.0, 0.0, 0.5], ..Pose::NONE },
///     color: Color::Accent,
///     trail: 0,
/// };
/// let camera = Camera { azimuth: 0.0, elevation: 0.0 };
/// let drawing = Scene { camera, radius: 1.0, bodies: vec![ball] }.draw(0.02);
/// let Shape::Polygon { points, .. } = &drawing.shapes[drawing.shapes.len() - 2] else { panic!() };
/// assert!(points.iter().all(|[x, z]| (x.hypot(z - 0.5) - 0.1).abs() < 1e-12));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Scene {
    /// From where it is seen first; a page lets the viewer turn it.
    pub camera: Camera,
    /// What is farther than this from the origin need not be seen.
    pub radius: f64,
    /// What is seen; the same bodies in the same order during an episode.
    pub bodies: Vec<Body>,
}

/// From where a scene is seen: from far away, so that lines that are parallel stay parallel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Camera {
    /// Of the camera around the vertical, from `x` towards `y`, rad.
    pub azimuth: f64,
    /// Of the camera above the floor, rad.
    pub elevation: f64,
}

/// Something that moves as a whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Body {
    /// What it is made of, in its own frame.
    pub solids: Arc<[Solid]>,
    /// Where its frame is.
    pub pose: Pose,
    /// Its color.
    pub color: Color,
    /// How many drawings the way of its origin is seen for; 0 where it is not.
    pub trail: usize,
}

/// A convex solid: all that is between its faces, and a margin around it.
#[derive(Clone, Debug, PartialEq)]
pub struct Solid {
    /// Its flat faces, the corners of each in order. Rounded sides need none: they are between the others.
    pub faces: Vec<Vec<Vector>>,
    /// The margin.
    pub radius: f64,
}

impl Solid {
    /// A ball.
    #[must_use]
    pub fn ball(center: Vector, radius: f64) -> Solid {
        Solid { faces: vec![vec![center]], radius }
    }

    /// A ball's way along a line.
    #[must_use]
    pub fn capsule(from: Vector, to: Vector, radius: f64) -> Solid {
        Solid { faces: vec![vec![from, to]], radius }
    }

    /// A box around the origin of a frame.
    #[must_use]
    pub fn cuboid(pose: &Pose, size: Vector) -> Solid {
        let face = |axis: usize, side: f64| {
            let corner = |(a, b): (f64, f64)| {
                let mut corner = [0.0; 3];
                corner[axis] = side * size[axis] / 2.0;
                corner[(axis + 1) % 3] = a * size[(axis + 1) % 3] / 2.0;
                corner[(axis + 2) % 3] = b * size[(axis + 2) % 3] / 2.0;
                pose.point(corner)
            };
            [(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)].map(corner).to_vec()
        };
        let sides = (0..6).map(|side| face(side / 2, if side % 2 == 0 { -1.0 } else { 1.0 }));
        Solid { faces: sides.collect(), radius: 0.0 }
    }

    /// A cylinder around the origin and along the `z` axis of a frame.
    #[must_use]
    pub fn cylinder(pose: &Pose, radius: f64, length: f64) -> Solid {
        let face = |z: f64| {
            let corners = circle().map(|[x, y]| pose.point([radius * x, radius * y, z]));
            corners.collect()
        };
        Solid { faces: vec![face(-length / 2.0), face(length / 2.0)], radius: 0.0 }
    }

    /// The same solid somewhere else.
    fn at(&self, pose: &Pose) -> Solid {
        let face =
            |face: &Vec<Vector>| face.iter().map(|&corner| pose.point(corner)).collect::<Vec<_>>();
        Solid { faces: self.faces.iter().map(face).collect(), radius: self.radius }
    }

    fn corners(&self) -> impl Iterator<Item = Vector> {
        self.faces.iter().flatten().copied()
    }

    /// The mean of its corners.
    fn middle(&self) -> Vector {
        let count = self.corners().count() as f64;
        [0, 1, 2].map(|axis| self.corners().map(|corner| corner[axis]).sum::<f64>() / count)
    }

    /// What is seen of it where `project` says where a point is seen; a margin stays as wide.
    fn outline(&self, project: impl Fn(Vector) -> [f64; 2]) -> Vec<[f64; 2]> {
        let corners = self.corners().map(project);
        if self.radius == 0.0 {
            return hull(corners.collect());
        }
        let around = |[x, y]: [f64; 2]| {
            circle().map(move |[dx, dy]| [x + self.radius * dx, y + self.radius * dy])
        };
        hull(corners.flat_map(around).collect())
    }
}

impl Camera {
    /// Unit vectors to the right, up, and towards the camera.
    fn axes(self) -> [Vector; 3] {
        let ((sin, cos), (rise, level)) = (self.azimuth.sin_cos(), self.elevation.sin_cos());
        [[-sin, cos, 0.0], [-rise * cos, -rise * sin, level], [level * cos, level * sin, rise]]
    }
}

impl Scene {
    /// What the camera sees, with the floor and shadows; farther solids are covered by nearer ones.
    #[must_use]
    pub fn draw(self, seconds: f64) -> Drawing {
        let radius = self.radius;
        let [right, up, towards] = self.camera.axes();
        let project = |point: Vector| [dot(right, point), dot(up, point)];
        // The floor's corners reach the picture's sides when the camera turns, and its nearest one the bottom.
        let floor = radius * FRAC_1_SQRT_2;
        let low = -radius * towards[2].max(LOWEST);
        let mut drawing = Drawing::new([-radius, low], [radius, radius], seconds);

        for line in 0..=CELLS {
            let at = floor * (2.0 * line as f64 / CELLS as f64 - 1.0);
            for ends in
                [[[at, -floor, 0.0], [at, floor, 0.0]], [[-floor, at, 0.0], [floor, at, 0.0]]]
            {
                drawing.line(&ends.map(project), OUTLINE * radius, Color::Soft);
            }
        }
        let parts = |body: &Body| -> Vec<Solid> {
            body.solids.iter().map(|solid| solid.at(&body.pose)).collect()
        };
        let mut solids: Vec<(Solid, Color)> = self
            .bodies
            .iter()
            .flat_map(|body| parts(body).into_iter().map(|solid| (solid, body.color)))
            .collect();
        for (solid, _) in &solids {
            let shadow = |[x, y, z]: Vector| project([x + SHADOW[0] * z, y + SHADOW[1] * z, 0.0]);
            drawing.polygon(&solid.outline(shadow), Color::Soft);
        }
        for body in self.bodies.iter().filter(|body| body.trail > 0) {
            let at = project(body.pose.position);
            drawing.trail(at, body.trail, TRAIL * radius, Color::Second);
        }
        let nearness = |solid: &Solid| dot(towards, solid.middle());
        solids.sort_by(|(a, _), (b, _)| nearness(a).total_cmp(&nearness(b)));
        for (solid, color) in &solids {
            let outline = solid.outline(project);
            drawing.polygon(&outline, *color);
            let middle = solid.middle();
            let is_seen = |face: &&Vec<Vector>| {
                let normal = normal(face);
                let outward = dot(normal, face[0]) - dot(normal, middle);
                face.len() > 2 && dot(normal, towards) * outward > 1e-9 * outward.abs()
            };
            let edges = solid
                .faces
                .iter()
                .filter(is_seen)
                .map(|face| face.iter().map(|&corner| project(corner)).collect::<Vec<_>>());
            for mut edge in edges.chain([outline]) {
                edge.extend(edge.first().copied());
                drawing.line(&edge, OUTLINE * radius, Color::Soft);
            }
        }
        drawing.scene = Some(self);
        drawing
    }
}

/// Corners of a circle of radius 1.
fn circle() -> impl Iterator<Item = [f64; 2]> {
    (0..CORNERS).map(|corner| {
        let (sin, cos) = (TAU * corner as f64 / CORNERS as f64).sin_cos();
        [cos, sin]
    })
}

/// A vector of any length at right angles to a face; zero where it has no three corners.
fn normal(face: &[Vector]) -> Vector {
    let [a, b, c] = [0, 1, 2].map(|corner| face[corner * face.len() / 3]);
    cross(sub(b, a), sub(c, a))
}

/// The corners of the convex hull, counterclockwise (Andrew, "Another efficient algorithm for convex hulls
/// in two dimensions", 1979).
fn hull(mut points: Vec<[f64; 2]>) -> Vec<[f64; 2]> {
    points.sort_by(|a, b| a[0].total_cmp(&b[0]).then(a[1].total_cmp(&b[1])));
    points.dedup();
    let turns_left = |a: [f64; 2], b: [f64; 2], c: [f64; 2]| {
        (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]) > 0.0
    };
    let half = |points: &mut dyn Iterator<Item = [f64; 2]>| {
        let mut chain: Vec<[f64; 2]> = Vec::new();
        for point in points {
            while let [.., a, b] = chain[..] {
                if turns_left(a, b, point) {
                    break;
                }
                chain.pop();
            }
            chain.push(point);
        }
        chain
    };
    if points.len() < 3 {
        return points;
    }
    let mut lower = half(&mut points.iter().copied());
    let mut upper = half(&mut points.iter().rev().copied());
    // Each chain ends where the other one begins.
    lower.pop();
    upper.pop();
    lower.extend(upper);
    lower
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Shape;
    use std::f64::consts::FRAC_PI_2;

    #[test]
    fn a_hull_keeps_the_corners_and_nothing_else() {
        let square = vec![[0.0, 0.0], [1.0, 1.0], [0.5, 0.5], [1.0, 0.0], [0.5, 0.0], [0.0, 1.0]];
        assert_eq!(hull(square), [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]);
        assert_eq!(hull(vec![[1.0, 2.0]; 5]), [[1.0, 2.0]]);
        assert_eq!(hull(vec![[1.0, 1.0], [0.0, 0.0], [0.5, 0.5]]), [[0.0, 0.0], [1.0, 1.0]]);
    }

    #[test]
    fn the_camera_looks_from_where_it_is() {
        // From the front, x: y is to the right, z up. From above, with x to the bottom: y is to the right.
        let front = Camera { azimuth: 0.0, elevation: 0.0 }.axes();
        assert_eq!(front[0], [0.0, 1.0, 0.0]);
        assert!(front[1][2] == 1.0 && front[2] == [1.0, 0.0, 0.0]);
        let above = Camera { azimuth: 0.0, elevation: FRAC_PI_2 }.axes();
        assert!((above[1][0] + 1.0).abs() < 1e-12 && (above[2][2] - 1.0).abs() < 1e-12);
        // Any camera has axes at right angles.
        let axes = Camera { azimuth: 2.0, elevation: 0.7 }.axes();
        for (i, a) in axes.iter().enumerate() {
            for (j, b) in axes.iter().enumerate() {
                assert!((dot(*a, *b) - f64::from(u8::from(i == j))).abs() < 1e-15);
            }
        }
    }

    fn body(solid: Solid, color: Color) -> Body {
        Body { solids: vec![solid].into(), pose: Pose::NONE, color, trail: 0 }
    }

    fn polygons(drawing: &Drawing) -> Vec<(Color, usize)> {
        let polygon = |shape: &Shape| match shape {
            Shape::Polygon { points, color } => Some((*color, points.len())),
            _ => None,
        };
        drawing.shapes.iter().filter_map(polygon).collect()
    }

    #[test]
    fn what_is_nearer_covers_what_is_farther() {
        let near = body(Solid::ball([1.0, 0.0, 0.5], 0.1), Color::Accent);
        let far = body(Solid::ball([-1.0, 0.0, 0.5], 0.1), Color::Danger);
        let seen_from = |azimuth: f64| {
            let camera = Camera { azimuth, elevation: 0.3 };
            let bodies = vec![near.clone(), far.clone()];
            polygons(&Scene { camera, radius: 2.0, bodies }.draw(0.1))
        };
        // The shadows, then the balls.
        let shadow = (Color::Soft, CORNERS);
        let [near, far] = [Color::Accent, Color::Danger].map(|color| (color, CORNERS));
        assert_eq!(seen_from(0.0), [shadow, shadow, far, near]);
        assert_eq!(seen_from(std::f64::consts::PI), [shadow, shadow, near, far]);
    }

    #[test]
    fn a_box_shows_three_of_its_faces_and_a_cylinder_one() {
        let lines = |solid: Solid, elevation: f64| {
            let camera = Camera { azimuth: 0.5, elevation };
            let scene = Scene { camera, radius: 1.0, bodies: vec![body(solid, Color::Accent)] };
            let drawing = scene.draw(0.1);
            let is_line = |shape: &&Shape| matches!(shape, Shape::Line { .. });
            let lines = drawing.shapes.iter().filter(is_line).count() - 2 * (CELLS + 1);
            (polygons(&drawing)[1].1, lines)
        };
        let pose = Pose { position: [0.0, 0.0, 0.3], ..Pose::NONE };
        // Corners of the outline; faces, and the outline.
        assert_eq!(lines(Solid::cuboid(&pose, [0.1, 0.2, 0.3]), 0.4), (6, 3 + 1));
        assert_eq!(lines(Solid::cuboid(&pose, [0.1, 0.2, 0.3]), FRAC_PI_2).1, 1 + 1);
        assert_eq!(lines(Solid::cylinder(&pose, 0.1, 0.3), 0.4).1, 1 + 1);
        assert_eq!(lines(Solid::cylinder(&pose, 0.1, 0.3), 0.0).1, 1);
        assert_eq!(lines(Solid::capsule([0.0; 3], [0.0, 0.0, 0.3], 0.1), 0.4).1, 1);
    }
}
