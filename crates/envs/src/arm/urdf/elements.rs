//! Elements of a URDF file: names, numbers, and messages that say where they stand; and what a link and a joint are.

use super::{Element, FileJoint, INERTIA_TOLERANCE, MAX_NUMBER, Reader, UrdfError, XACRO};
use crate::arm::geometry::{Pose, Rotation, Symmetric, eigenvalues, norm, rotated, scaled};
use crate::arm::robot::{Geometry, Joint, Link, Motion, Shape};
use roxmltree::Node;
use std::collections::HashMap;

/// What every element has.
impl<'a> Reader<'a> {
    /// An error of an element.
    pub(super) fn error(&self, element: Element<'_>, message: &str) -> UrdfError {
        let place = self.document.text_pos_at(element.range().start);
        let tag = |element: Element<'_>| match element.attribute("name") {
            Some(name) => format!("<{} name={name:?}>", element.tag_name().name()),
            None => format!("<{}>", element.tag_name().name()),
        };
        // An element without a name is that of the next one around it which has one.
        let named = element.ancestors().find(|node| node.attribute("name").is_some());
        let whose = named
            .filter(|named| *named != element && !named.has_tag_name("robot"))
            .map(|named| format!(" of {}", tag(named)))
            .unwrap_or_default();
        let (row, column) = (place.row, place.col);
        UrdfError(format!("{}:{row}:{column}: {}{whose} {message}", self.file, tag(element)))
    }

    /// Refuses a file that is to be expanded first.
    pub(super) fn refuse_xacro(&self, root: Element<'a>) -> Result<(), UrdfError> {
        let is_xacro = |element: &Element<'a>| {
            element.tag_name().namespace().is_some_and(|name| name.contains("xacro"))
                || element
                    .attributes()
                    .any(|one| one.value().contains("${") || one.value().contains("$("))
        };
        match root.descendants().filter(Node::is_element).find(is_xacro) {
            Some(element) => Err(self.error(element, &format!("can't be read: {XACRO}"))),
            None => Ok(()),
        }
    }

    /// The elements of this tag right inside of `root`, each with a name of its own.
    pub(super) fn named(
        &self,
        root: Element<'a>,
        tag: &str,
    ) -> Result<Vec<Element<'a>>, UrdfError> {
        let elements: Vec<Element<'a>> =
            root.children().filter(|node| node.has_tag_name(tag)).collect();
        let mut seen = HashMap::new();
        for &element in &elements {
            let name = self.attribute(element, "name")?;
            if let Some(first) = seen.insert(name, element) {
                let row = self.document.text_pos_at(first.range().start).row;
                let message = format!("has the name of line {row}'s; each needs one of its own");
                return Err(self.error(element, &message));
            }
        }
        Ok(elements)
    }

    pub(super) fn attribute(&self, element: Element<'a>, name: &str) -> Result<&'a str, UrdfError> {
        element
            .attribute(name)
            .ok_or_else(|| self.error(element, &format!("has no attribute `{name}`; give one")))
    }

    /// The first element of this tag right inside of another one.
    pub(super) fn child(element: Element<'a>, tag: &str) -> Option<Element<'a>> {
        element.children().find(|node| node.has_tag_name(tag))
    }

    /// The numbers of an attribute; `None` where it is not given.
    pub(super) fn numbers<const N: usize>(
        &self,
        element: Element<'a>,
        name: &str,
        largest: f64,
    ) -> Result<Option<[f64; N]>, UrdfError> {
        let Some(text) = element.attribute(name) else { return Ok(None) };
        let numbers: Result<Vec<f64>, _> = text.split_whitespace().map(str::parse).collect();
        let numbers = numbers.ok().and_then(|numbers| <[f64; N]>::try_from(numbers).ok());
        match numbers {
            Some(numbers) if numbers.iter().all(|number| number.abs() <= largest) => {
                Ok(Some(numbers))
            }
            found => {
                let count = if N == 1 { "a number" } else { "three numbers" };
                let range = match found {
                    Some(_) => format!(" from {:e} to {largest:e}", -largest),
                    None => String::new(),
                };
                let message = format!("has {name}={text:?}; must be {count}{range}");
                Err(self.error(element, &message))
            }
        }
    }

    pub(super) fn number(
        &self,
        element: Element<'a>,
        name: &str,
    ) -> Result<Option<f64>, UrdfError> {
        Ok(self.numbers::<1>(element, name, MAX_NUMBER)?.map(|[number]| number))
    }

    /// A number that must be there.
    pub(super) fn required(&self, element: Element<'a>, name: &str) -> Result<f64, UrdfError> {
        self.attribute(element, name)?;
        Ok(self.number(element, name)?.unwrap_or(0.0))
    }

    /// A number that is 0 or more; `None` where it is not given.
    pub(super) fn amount(
        &self,
        element: Element<'a>,
        name: &str,
    ) -> Result<Option<f64>, UrdfError> {
        // Files write "no limit" as a very large one.
        match self.numbers::<1>(element, name, f64::MAX)? {
            Some([number]) if number < 0.0 => {
                let message = format!("has {name}=\"{number}\"; must be 0 or more");
                Err(self.error(element, &message))
            }
            found => Ok(found.map(|[number]| number)),
        }
    }

    /// The `<origin>` inside of an element.
    pub(super) fn origin(&self, element: Element<'a>) -> Result<Pose, UrdfError> {
        let Some(origin) = Self::child(element, "origin") else { return Ok(Pose::NONE) };
        let rpy = self.numbers::<3>(origin, "rpy", MAX_NUMBER)?.unwrap_or_default();
        let position = self.numbers::<3>(origin, "xyz", MAX_NUMBER)?.unwrap_or_default();
        Ok(Pose { rotation: Rotation::from_rpy(rpy), position })
    }
}

/// What links and joints consist of.
impl<'a> Reader<'a> {
    pub(super) fn joint(&self, joint: &FileJoint<'a>, parent: usize) -> Result<Joint, UrdfError> {
        let FileJoint { element, motion, .. } = *joint;
        let mut read = Joint {
            name: joint.name.to_owned(),
            parent,
            motion,
            origin: self.origin(element)?,
            axis: [1.0, 0.0, 0.0],
            limits: None,
            effort: None,
            speed: None,
            damping: 0.0,
            friction: 0.0,
            mimic: None,
        };
        if motion == Motion::Fixed {
            return Ok(read);
        }
        if let Some(axis) = Self::child(element, "axis")
            && let Some(given) = self.numbers::<3>(axis, "xyz", MAX_NUMBER)?
        {
            let length = norm(given);
            if length < 1e-9 {
                return Err(self.error(axis, "is no direction; must not be 0 0 0"));
            }
            read.axis = scaled(given, 1.0 / length);
        }
        if let Some(dynamics) = Self::child(element, "dynamics") {
            read.damping = self.amount(dynamics, "damping")?.unwrap_or(0.0);
            read.friction = self.amount(dynamics, "friction")?.unwrap_or(0.0);
        }
        let limit = Self::child(element, "limit");
        if let Some(limit) = limit {
            read.effort = self.amount(limit, "effort")?;
            read.speed = self.amount(limit, "velocity")?;
        }
        if element.attribute("type") != Some("continuous") {
            read.limits = self.limits(element, limit)?;
        }
        Ok(read)
    }

    /// The lowest and the highest position of a joint that has both.
    pub(super) fn limits(
        &self,
        joint: Element<'a>,
        limit: Option<Element<'a>>,
    ) -> Result<Option<[f64; 2]>, UrdfError> {
        let follows = Self::child(joint, "mimic").is_some();
        let Some(limit) = limit else {
            if follows {
                return Ok(None);
            }
            let message =
                "has no <limit lower=\"...\" upper=\"...\"/>; give one, or make it continuous";
            return Err(self.error(joint, message));
        };
        let bound = |name: &str| self.numbers::<1>(limit, name, f64::MAX);
        let ([lower], [upper]) =
            (bound("lower")?.unwrap_or_default(), bound("upper")?.unwrap_or_default());
        if lower < upper {
            // Files write "no limit" as a very large one.
            let is_limit = upper <= MAX_NUMBER || lower >= -MAX_NUMBER;
            return Ok(is_limit.then_some([lower, upper]));
        }
        if follows {
            return Ok(None);
        }
        let message = format!(
            "goes from {lower} to {upper}; lower must be below upper (or make the joint continuous, or \
             fixed)"
        );
        Err(self.error(limit, &message))
    }

    pub(super) fn link(
        &self,
        element: Element<'a>,
        joint: Option<Joint>,
    ) -> Result<Link, UrdfError> {
        let mut link = Link {
            name: self.attribute(element, "name")?.to_owned(),
            joint,
            mass: 0.0,
            center: [0.0; 3],
            inertia: [0.0; 6],
            collisions: self.shapes(element, "collision")?,
            visuals: self.shapes(element, "visual")?,
        };
        let Some(inertial) = Self::child(element, "inertial") else { return Ok(link) };
        let Some(mass) = Self::child(inertial, "mass") else {
            return Err(self.error(inertial, "has no <mass value=\"...\"/>; give one"));
        };
        link.mass = self.required(mass, "value")?;
        if link.mass < 0.0 {
            let message = format!("has value=\"{}\"; must be 0 or more, in kg", link.mass);
            return Err(self.error(mass, &message));
        }
        let Some(inertia) = Self::child(inertial, "inertia") else {
            return Err(self.error(inertial, "has no <inertia ixx=\"...\" .../>; give one"));
        };
        let origin = self.origin(inertial)?;
        link.center = origin.position;
        link.inertia = rotated(&origin.rotation, self.inertia(inertia)?);
        if link.mass == 0.0 && link.inertia != [0.0; 6] {
            return Err(
                self.error(mass, "has value=\"0\" beside an inertia; give both, or neither")
            );
        }
        Ok(link)
    }

    /// A moment of inertia that some body can have.
    pub(super) fn inertia(&self, element: Element<'a>) -> Result<Symmetric, UrdfError> {
        let mut inertia = [0.0; 6];
        for (entry, name) in inertia.iter_mut().zip(["ixx", "iyy", "izz"]) {
            *entry = self.required(element, name)?;
        }
        for (entry, name) in inertia[3..].iter_mut().zip(["ixy", "ixz", "iyz"]) {
            *entry = self.number(element, name)?.unwrap_or(0.0);
        }
        let [low, middle, high] = eigenvalues(inertia);
        // Of nothing a rounding error is left.
        let tolerance = |share: f64| share * high + 1e-15;
        if low >= -tolerance(1e-9) && high - middle - low <= tolerance(INERTIA_TOLERANCE) {
            return Ok(inertia);
        }
        let message = format!(
            "has the principal moments {low:.3e}, {middle:.3e} and {high:.3e} kg m^2; none may be \
             negative, nor larger than the sum of the others"
        );
        Err(self.error(element, &message))
    }

    pub(super) fn shapes(&self, link: Element<'a>, tag: &str) -> Result<Vec<Shape>, UrdfError> {
        let mut shapes = Vec::new();
        for element in link.children().filter(|node| node.has_tag_name(tag)) {
            let Some(geometry) = Self::child(element, "geometry") else { continue };
            for node in geometry.children().filter(Node::is_element) {
                let size = |name: &str| {
                    self.attribute(node, name)?;
                    Ok(self.amount(node, name)?.unwrap_or(0.0))
                };
                let geometry = match node.tag_name().name() {
                    "box" => {
                        self.attribute(node, "size")?;
                        let size = self.numbers::<3>(node, "size", MAX_NUMBER)?.unwrap_or_default();
                        Geometry::Box { size: size.map(f64::abs) }
                    }
                    "cylinder" => {
                        Geometry::Cylinder { radius: size("radius")?, length: size("length")? }
                    }
                    "capsule" => {
                        Geometry::Capsule { radius: size("radius")?, length: size("length")? }
                    }
                    "sphere" => Geometry::Sphere { radius: size("radius")? },
                    _ => continue,
                };
                shapes.push(Shape { origin: self.origin(element)?, geometry });
            }
        }
        Ok(shapes)
    }
}
