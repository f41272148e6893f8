//! A robot: links that joints hold together, as a URDF file describes them.

use super::geometry::{Pose, Symmetric, Vector};

/// A tree of links. The base is the root's frame; `x` forward, `z` up, m, kg, rad.
#[derive(Clone, Debug, PartialEq)]
pub struct Robot {
    /// What the file calls it.
    pub name: String,
    /// Each after the link that it hangs on, depth first, in the order of the file's joints. The first is
    /// the root.
    pub links: Vec<Link>,
}

impl Robot {
    /// The index of the link of that name.
    #[must_use]
    pub fn link(&self, name: &str) -> Option<usize> {
        self.links.iter().position(|link| link.name == name)
    }

    /// The joints that have a motor, in the order of their links.
    pub fn motors(&self) -> impl Iterator<Item = &Joint> {
        let joints = self.links.iter().filter_map(|link| link.joint.as_ref());
        joints.filter(|joint| joint.motion != Motion::Fixed && joint.mimic.is_none())
    }

    /// Whether the link turns on what it hangs on.
    #[must_use]
    pub fn turns(&self, link: usize) -> bool {
        self.links[link].joint.as_ref().is_some_and(|joint| joint.motion == Motion::Turn)
    }

    /// The last link of the longest chain: of the chains with the most joints that move, and among those
    /// with the most links, the first.
    #[must_use]
    pub fn default_tip(&self) -> usize {
        let mut lengths: Vec<(usize, usize)> = Vec::with_capacity(self.links.len());
        for link in &self.links {
            let length = link.joint.as_ref().map_or((0, 0), |joint| {
                let (moving, links) = lengths[joint.parent];
                (moving + usize::from(joint.motion != Motion::Fixed), links + 1)
            });
            lengths.push(length);
        }
        let longest = lengths.iter().max().copied();
        lengths.iter().position(|&length| Some(length) == longest).unwrap_or(0)
    }
}

/// A rigid part of a robot. Everything is in its own frame, which is that of the joint that it hangs on.
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    /// Its name.
    pub name: String,
    /// What it hangs on; `None` for the root.
    pub joint: Option<Joint>,
    /// Its mass, kg; 0 where the file gives it no inertia.
    pub mass: f64,
    /// Its centre of mass.
    pub center: Vector,
    /// Its inertia about the centre of mass.
    pub inertia: Symmetric,
    /// Simple bodies for collisions.
    pub collisions: Vec<Shape>,
    /// What is to be seen of it.
    pub visuals: Vec<Shape>,
}

/// How a link hangs on another one.
#[derive(Clone, Debug, PartialEq)]
pub struct Joint {
    /// Its name.
    pub name: String,
    /// The index of the link that it hangs on.
    pub parent: usize,
    /// What it lets the link do.
    pub motion: Motion,
    /// Where the link is in its parent's frame while the joint is at 0.
    pub origin: Pose,
    /// The axis of the motion in the link's frame, of length 1.
    pub axis: Vector,
    /// The lowest and the highest position, rad or m; `None` where the file has none.
    pub limits: Option<[f64; 2]>,
    /// The largest torque or force of its motor, N m or N, where the file has one.
    pub effort: Option<f64>,
    /// The largest speed of its motor, rad/s or m/s, where the file has one.
    pub speed: Option<f64>,
    /// Viscous damping, N m s/rad or N s/m.
    pub damping: f64,
    /// Dry friction, N m or N.
    pub friction: f64,
    /// The joint that it follows, where it has no motor of its own.
    pub mimic: Option<Mimic>,
}

/// What a joint lets a link do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Motion {
    /// Nothing.
    Fixed,
    /// To turn about the axis: a revolute joint, or without limits a continuous one.
    Turn,
    /// To slide along the axis: a prismatic joint.
    Slide,
}

/// A joint's position as that of another one: `multiplier * position + offset`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mimic {
    /// The index of the link of the joint that leads; that joint follows none.
    pub leader: usize,
    /// The factor.
    pub multiplier: f64,
    /// What is added, rad or m.
    pub offset: f64,
}

/// A simple body in a link's frame. Meshes are left out: their files need not be there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    /// Where its middle and its axes are.
    pub origin: Pose,
    /// What it is.
    pub geometry: Geometry,
}

/// What a shape is; its middle is the origin.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Geometry {
    /// A box with these edges, m.
    Box {
        /// Along `x`, `y` and `z`.
        size: Vector,
    },
    /// A cylinder along `z`, m.
    Cylinder {
        /// Its radius.
        radius: f64,
        /// Its length.
        length: f64,
    },
    /// A cylinder along `z` with half a sphere at each end, m.
    Capsule {
        /// Its radius.
        radius: f64,
        /// Of the cylinder.
        length: f64,
    },
    /// A sphere, m.
    Sphere {
        /// Its radius.
        radius: f64,
    },
}
