//! What a robot looks like.

use super::Arm;
use super::geometry::{Pose, Vector, norm};
use super::robot::{Geometry, Link, Motion, Robot, Shape};
use crate::drawing::{Body, Camera, Color, Drawing, Scene, Solid};
use std::sync::Arc;

/// Share of the length of all its links that a robot stretches out to: none lies in one line.
const STRETCH: f64 = 0.87;
/// Drawings for which the way of the tip is seen.
const TRAIL: usize = 50;
/// Thickness of links that have no shape, as a share of the robot's reach.
const THICKNESS: f64 = 0.03;

/// A robot's links as solids.
#[derive(Clone, Debug, PartialEq)]
struct Appearance {
    /// Of each link that is seen: its index, its solids and its color.
    links: Vec<(usize, Arc<[Solid]>, Color)>,
    /// About how far from the base the robot is seen, m; positive.
    reach: f64,
}

impl Appearance {
    /// Links look like their shapes for collisions, or else like those to be seen. A link with neither, which
    /// has meshes only, is a line to each link that hangs on it, and nothing if it weighs nothing. Colors
    /// take turns at the joints that move.
    fn new(robot: &Robot) -> Appearance {
        // Of each link: how far from the base it can be, and how many joints move it.
        let mut places: Vec<(f64, usize)> = Vec::with_capacity(robot.links.len());
        for link in &robot.links {
            places.push(link.joint.as_ref().map_or((0.0, 0), |joint| {
                let (far, moving) = places[joint.parent];
                let slide = match (joint.motion, joint.limits) {
                    (Motion::Slide, Some([low, high])) => low.abs().max(high.abs()),
                    _ => 0.0,
                };
                let moves = usize::from(joint.motion != Motion::Fixed);
                (far + norm(joint.origin.position) + slide, moving + moves)
            }));
        }
        let longest = places.iter().map(|&(far, _)| far).fold(0.0, f64::max);
        let reach = if longest > 0.0 { STRETCH * longest } else { 1.0 };
        let mut links = Vec::new();
        for (index, link) in robot.links.iter().enumerate() {
            let shapes = if link.collisions.is_empty() { &link.visuals } else { &link.collisions };
            let solids: Vec<Solid> = match shapes.as_slice() {
                [] if link.mass > 0.0 => lines(robot, index, THICKNESS * reach).collect(),
                shapes => shapes.iter().map(solid).collect(),
            };
            if !solids.is_empty() {
                let color = [Color::Quiet, Color::Accent][places[index].1 % 2];
                links.push((index, solids.into(), color));
            }
        }
        Appearance { links, reach }
    }

    /// The links, where `pose` says for the index of each where it is.
    fn bodies(&self, pose: impl Fn(usize) -> Pose) -> impl Iterator<Item = Body> {
        self.links.iter().map(move |(index, solids, color)| Body {
            solids: Arc::clone(solids),
            pose: pose(*index),
            color: *color,
            trail: 0,
        })
    }
}

impl Arm {
    /// The robot, the object as large as a grasp may be far from it, the zone to avoid, and the way of the tip.
    pub(super) fn picture(&self) -> Drawing {
        let parameters = &self.parameters;
        let appearance = Appearance::new(&self.robot);
        let pose = |link: usize| self.mechanism.pose(link);
        let place = |position: Vector, radius: f64, color: Color| Body {
            solids: vec![Solid::ball([0.0; 3], radius)].into(),
            pose: Pose { position, ..Pose::NONE },
            color,
            trail: 0,
        };
        let tip =
            Body { solids: Arc::new([]), pose: pose(self.tip), color: Color::Second, trail: TRAIL };
        let zone = parameters.zone();
        let bodies = zone.into_iter().map(|(center, radius)| place(center, radius, Color::Soft));
        let object = place(self.object, parameters.grasp_distance, Color::Danger);
        let bodies = bodies.chain([object, tip]).chain(appearance.bodies(pose));
        let camera =
            Camera { azimuth: parameters.camera_azimuth, elevation: parameters.camera_elevation };
        Scene { camera, radius: appearance.reach, bodies: bodies.collect() }
            .draw(f64::from(parameters.substeps) * parameters.time_step)
    }
}

fn solid(Shape { origin, geometry }: &Shape) -> Solid {
    match *geometry {
        Geometry::Box { size } => Solid::cuboid(origin, size),
        Geometry::Cylinder { radius, length } => Solid::cylinder(origin, radius, length),
        Geometry::Capsule { radius, length } => {
            let [from, to] = [-0.5, 0.5].map(|side| origin.point([0.0, 0.0, side * length]));
            Solid::capsule(from, to, radius)
        }
        Geometry::Sphere { radius } => Solid::ball(origin.position, radius),
    }
}

/// From a link's joint to those of the links that hang on it; a ball where there are none.
fn lines(robot: &Robot, index: usize, radius: f64) -> impl Iterator<Item = Solid> {
    const HERE: Vector = [0.0; 3];
    let hangs = move |link: &Link| {
        let joint = link.joint.as_ref().filter(|joint| joint.parent == index)?;
        Some(Solid::capsule(HERE, joint.origin.position, radius))
    };
    std::iter::once(Solid::ball(HERE, radius)).chain(robot.links.iter().filter_map(hangs))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// A base with a post, an arm of meshes only that slides by up to 0.2 m, a hand of 0.3 m, and a frame.
    const ROBOT: &str = r#"<robot name="r">
      <link name="base"><visual><geometry><box size="9 9 9"/></geometry></visual>
        <collision><origin xyz="0 0 0.5"/><geometry><cylinder radius="0.1" length="1"/></geometry></collision></link>
      <link name="arm"><inertial><mass value="1"/><inertia ixx="1" iyy="1" izz="1" ixy="0" ixz="0" iyz="0"/></inertial></link>
      <link name="hand"><inertial><mass value="1"/><inertia ixx="1" iyy="1" izz="1" ixy="0" ixz="0" iyz="0"/></inertial>
        <visual><geometry><sphere radius="0.05"/></geometry></visual></link>
      <link name="tip"/>
      <joint name="slide" type="prismatic"><parent link="base"/><child link="arm"/><origin xyz="0 0 1"/>
        <axis xyz="0 0 1"/><limit lower="-0.1" upper="0.2" effort="1" velocity="1"/></joint>
      <joint name="turn" type="continuous"><parent link="arm"/><child link="hand"/><origin xyz="0.6 0 0"/>
        <axis xyz="0 0 1"/></joint>
      <joint name="end" type="fixed"><parent link="hand"/><child link="tip"/><origin xyz="0 0 0.2"/></joint>
    </robot>"#;

    #[test]
    fn links_look_like_their_shapes_or_like_lines_between_joints() {
        let appearance = Appearance::new(&Robot::parse(ROBOT, "robot.urdf").unwrap());
        assert!((appearance.reach - STRETCH * (1.0 + 0.2 + 0.6 + 0.2)).abs() < 1e-12);
        let pose = |index: usize| Pose { position: [0.0, 0.0, index as f64], ..Pose::NONE };
        let bodies: Vec<Body> = appearance.bodies(pose).collect();
        let [base, arm, hand] = bodies.as_slice() else { panic!("{bodies:?}") };
        let post = Pose { position: [0.0, 0.0, 0.5], ..Pose::NONE };
        assert_eq!(*base.solids, [Solid::cylinder(&post, 0.1, 1.0)]);
        let radius = THICKNESS * appearance.reach;
        let line = Solid::capsule([0.0; 3], [0.6, 0.0, 0.0], radius);
        assert_eq!(*arm.solids, [Solid::ball([0.0; 3], radius), line]);
        assert_eq!(*hand.solids, [Solid::ball([0.0; 3], 0.05)]);
        let colors = [Color::Quiet, Color::Accent, Color::Quiet];
        assert_eq!([base.color, arm.color, hand.color], colors);
        assert_eq!(hand.pose, pose(2));
    }
}
