//! Reading a URDF file: what can be wrong with one is found here, and said with the place and the cure.

use super::geometry::{Pose, Rotation, Symmetric, eigenvalues, norm, rotated, scaled};
use super::robot::{Geometry, Joint, Link, Mimic, Motion, Robot, Shape};
use roxmltree::{Document, Node};
use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Largest file that is read, bytes.
const MAX_BYTES: u64 = 16 << 20;
/// Most links that are read.
const MAX_LINKS: usize = 256;
/// Most joints that may move: the mass matrix of an arm is full.
const MAX_MOVING: usize = 64;
/// Largest length, mass or inertia, SI units.
const MAX_NUMBER: f64 = 1e6;
/// How far the largest principal moment of inertia may exceed the sum of the others, as a share of it:
/// published figures are rounded.
const INERTIA_TOLERANCE: f64 = 1e-3;

/// What is wrong with a robot's file: where, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UrdfError(String);

impl Robot {
    /// Reads a URDF file.
    ///
    /// # Errors
    /// What is wrong, with file, line, column and element, and the cure.
    pub fn read(path: &Path) -> Result<Robot, UrdfError> {
        let shown = path.display().to_string();
        let wrong = |what: &str| UrdfError(format!("{shown}: {what}"));
        let no_file = "give the path of a URDF file";
        match path.metadata() {
            Ok(found) if found.is_file() => {}
            Ok(_) => return Err(wrong(&format!("is no file; {no_file}"))),
            Err(error) => return Err(wrong(&format!("can't be read ({error}); {no_file}"))),
        }
        let mut bytes = Vec::new();
        File::open(path)
            .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
            .map_err(|error| wrong(&format!("can't be read ({error}); {no_file}")))?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(wrong(&format!("is larger than 16 MiB; {no_file}")));
        }
        let text =
            String::from_utf8(bytes).map_err(|_| wrong(&format!("is no text; {no_file}")))?;
        Robot::parse(&text, &shown)
    }

    /// Reads the text of a URDF file, which messages call `file`.
    ///
    /// # Errors
    /// As [`Robot::read`].
    pub fn parse(text: &str, file: &str) -> Result<Robot, UrdfError> {
        let document = Document::parse(text).map_err(|error| {
            // The message ends with the position, which is said in front as everywhere.
            let place = error.pos();
            let message = error.to_string();
            let message = message.trim_end_matches(&format!(" at {place}"));
            let hint = if text.contains("xacro") { XACRO } else { "a URDF file is XML" };
            UrdfError(format!("{file}:{}:{}: {message}; {hint}", place.row, place.col))
        })?;
        Reader { file, document: &document }.robot()
    }
}

/// What to do about xacro.
const XACRO: &str = "this is xacro; make a URDF of it with `xacro FILE.xacro > FILE.urdf`";

struct Reader<'a> {
    file: &'a str,
    document: &'a Document<'a>,
}

type Element<'a> = Node<'a, 'a>;

/// A joint as it stands in the file: links by their index in the file.
struct FileJoint<'a> {
    name: &'a str,
    element: Element<'a>,
    parent: usize,
    child: usize,
    motion: Motion,
}

impl<'a> Reader<'a> {
    fn robot(&self) -> Result<Robot, UrdfError> {
        let root = self.document.root_element();
        self.refuse_xacro(root)?;
        if !root.has_tag_name("robot") {
            return Err(self.error(root, "is no URDF, whose outermost element is <robot>"));
        }
        let elements = self.named(root, "link")?;
        if elements.is_empty() {
            return Err(self.error(root, "has no <link>; a robot has links that joints connect"));
        }
        if elements.len() > MAX_LINKS {
            let message = format!("has {} links; at most {MAX_LINKS} are read", elements.len());
            return Err(self.error(root, &message));
        }
        let joints = self.joints(root, &elements)?;
        let order = self.order(&elements, &joints)?;

        let mut links = Vec::with_capacity(order.len());
        // The index of a link of the file among `links`.
        let mut index_of = vec![0; elements.len()];
        for &(of_file, joint) in &order {
            let joint = match joint {
                Some(joint) => Some(self.joint(&joints[joint], index_of[joints[joint].parent])?),
                None => None,
            };
            index_of[of_file] = links.len();
            links.push(self.link(elements[of_file], joint)?);
        }
        for (index, &(_, joint)) in order.iter().enumerate() {
            if let Some(joint) = joint {
                let mimic = self.mimic(&joints[joint], &joints, &index_of)?;
                links[index].joint.iter_mut().for_each(|joint| joint.mimic = mimic);
            }
        }
        let robot = Robot { name: root.attribute("name").unwrap_or("robot").to_owned(), links };
        self.must_be_an_arm(&robot, |index| elements[order[index].0])?;
        Ok(robot)
    }

    /// An error of an element.
    fn error(&self, element: Element<'_>, message: &str) -> UrdfError {
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
    fn refuse_xacro(&self, root: Element<'a>) -> Result<(), UrdfError> {
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
    fn named(&self, root: Element<'a>, tag: &str) -> Result<Vec<Element<'a>>, UrdfError> {
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

    fn attribute(&self, element: Element<'a>, name: &str) -> Result<&'a str, UrdfError> {
        element
            .attribute(name)
            .ok_or_else(|| self.error(element, &format!("has no attribute `{name}`; give one")))
    }

    /// The first element of this tag right inside of another one.
    fn child(element: Element<'a>, tag: &str) -> Option<Element<'a>> {
        element.children().find(|node| node.has_tag_name(tag))
    }

    /// The numbers of an attribute; `None` where it is not given.
    fn numbers<const N: usize>(
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

    fn number(&self, element: Element<'a>, name: &str) -> Result<Option<f64>, UrdfError> {
        Ok(self.numbers::<1>(element, name, MAX_NUMBER)?.map(|[number]| number))
    }

    /// A number that must be there.
    fn required(&self, element: Element<'a>, name: &str) -> Result<f64, UrdfError> {
        self.attribute(element, name)?;
        Ok(self.number(element, name)?.unwrap_or(0.0))
    }

    /// A number that is 0 or more; `None` where it is not given.
    fn amount(&self, element: Element<'a>, name: &str) -> Result<Option<f64>, UrdfError> {
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
    fn origin(&self, element: Element<'a>) -> Result<Pose, UrdfError> {
        let Some(origin) = Self::child(element, "origin") else { return Ok(Pose::NONE) };
        let rpy = self.numbers::<3>(origin, "rpy", MAX_NUMBER)?.unwrap_or_default();
        let position = self.numbers::<3>(origin, "xyz", MAX_NUMBER)?.unwrap_or_default();
        Ok(Pose { rotation: Rotation::from_rpy(rpy), position })
    }

    /// The joints with their links.
    fn joints(
        &self,
        root: Element<'a>,
        links: &[Element<'a>],
    ) -> Result<Vec<FileJoint<'a>>, UrdfError> {
        let names = links.iter().filter_map(|link| link.attribute("name")).enumerate();
        let index: HashMap<&str, usize> = names.map(|(index, name)| (name, index)).collect();
        let end = |joint: Element<'a>, tag: &str| {
            let Some(element) = Self::child(joint, tag) else {
                let message = format!("has no <{tag} link=\"...\"/>; a joint connects two links");
                return Err(self.error(joint, &message));
            };
            let name = self.attribute(element, "link")?;
            index.get(name).copied().ok_or_else(|| {
                let message =
                    format!("names the link {name:?}, which is not there; {}", known(links));
                self.error(element, &message)
            })
        };
        let mut joints: Vec<FileJoint<'a>> = Vec::new();
        for element in self.named(root, "joint")? {
            let motion = match self.attribute(element, "type")? {
                "fixed" => Motion::Fixed,
                "revolute" | "continuous" => Motion::Turn,
                "prismatic" => Motion::Slide,
                other => {
                    let message = format!(
                        "is of type {other:?}; must be revolute, continuous, prismatic or fixed"
                    );
                    return Err(self.error(element, &message));
                }
            };
            let joint = FileJoint {
                name: self.attribute(element, "name")?,
                element,
                parent: end(element, "parent")?,
                child: end(element, "child")?,
                motion,
            };
            if let Some(other) = joints.iter().find(|other| other.child == joint.child) {
                let link = links[joint.child].attribute("name").unwrap_or_default();
                let message = format!(
                    "holds the link {link:?}, which the joint {:?} holds already; links and joints \
                     must be a tree, without loops",
                    other.name
                );
                return Err(self.error(element, &message));
            }
            joints.push(joint);
        }
        Ok(joints)
    }

    /// Links, each with the joint that it hangs on, from the root outwards, depth first.
    fn order(
        &self,
        links: &[Element<'a>],
        joints: &[FileJoint<'a>],
    ) -> Result<Vec<(usize, Option<usize>)>, UrdfError> {
        let mut holder = vec![None; links.len()];
        let mut held = vec![Vec::new(); links.len()];
        for (index, joint) in joints.iter().enumerate() {
            holder[joint.child] = Some(index);
            held[joint.parent].push(index);
        }
        let mut roots = (0..links.len()).filter(|&link| holder[link].is_none());
        let loop_of = |joint: usize| {
            self.error(joints[joint].element, "closes a loop; links and joints must be a tree")
        };
        let Some(root) = roots.next() else { return Err(loop_of(0)) };
        if let Some(other) = roots.next() {
            let name = links[root].attribute("name").unwrap_or_default();
            let message = format!(
                "hangs on no joint, nor does {name:?}; there must be one root, to which all other \
                 links are connected (by a fixed joint, say)"
            );
            return Err(self.error(links[other], &message));
        }
        let mut order = Vec::with_capacity(links.len());
        let mut next = vec![(root, None)];
        while let Some((link, joint)) = next.pop() {
            order.push((link, joint));
            next.extend(held[link].iter().rev().map(|&joint| (joints[joint].child, Some(joint))));
        }
        if order.len() < links.len() {
            let mut reached = vec![false; links.len()];
            order.iter().for_each(|&(link, _)| reached[link] = true);
            let left = (0..links.len()).find(|&link| !reached[link]);
            return Err(loop_of(left.and_then(|link| holder[link]).unwrap_or(0)));
        }
        Ok(order)
    }

    fn joint(&self, joint: &FileJoint<'a>, parent: usize) -> Result<Joint, UrdfError> {
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
        if let Some(axis) = Self::child(element, "axis") {
            if let Some(given) = self.numbers::<3>(axis, "xyz", MAX_NUMBER)? {
                let length = norm(given);
                if length < 1e-9 {
                    return Err(self.error(axis, "is no direction; must not be 0 0 0"));
                }
                read.axis = scaled(given, 1.0 / length);
            }
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
    fn limits(
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

    /// What a joint follows, through all that follow in between.
    fn mimic(
        &self,
        joint: &FileJoint<'a>,
        joints: &[FileJoint<'a>],
        index_of: &[usize],
    ) -> Result<Option<Mimic>, UrdfError> {
        let (mut multiplier, mut offset, mut leader) = (1.0, 0.0, joint);
        for _ in 0..=joints.len() {
            let follows = Self::child(leader.element, "mimic");
            let Some(mimic) = follows.filter(|_| leader.motion != Motion::Fixed) else {
                let is_follower = !std::ptr::eq(leader, joint);
                return Ok(is_follower.then_some(Mimic {
                    leader: index_of[leader.child],
                    multiplier,
                    offset,
                }));
            };
            let factor = self.number(mimic, "multiplier")?.unwrap_or(1.0);
            offset += multiplier * self.number(mimic, "offset")?.unwrap_or(0.0);
            multiplier *= factor;
            let name = self.attribute(mimic, "joint")?;
            leader = match joints.iter().find(|joint| joint.name == name) {
                Some(leader) if leader.motion != Motion::Fixed => leader,
                found => {
                    let what = if found.is_some() { "does not move" } else { "is not there" };
                    let message = format!("follows the joint {name:?}, which {what}");
                    return Err(self.error(mimic, &message));
                }
            };
        }
        Err(self.error(joint.element, "follows itself; remove a <mimic>"))
    }

    fn link(&self, element: Element<'a>, joint: Option<Joint>) -> Result<Link, UrdfError> {
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
    fn inertia(&self, element: Element<'a>) -> Result<Symmetric, UrdfError> {
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

    fn shapes(&self, link: Element<'a>, tag: &str) -> Result<Vec<Shape>, UrdfError> {
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

    /// Refuses a robot that can't be simulated.
    fn must_be_an_arm(
        &self,
        robot: &Robot,
        element_of: impl Fn(usize) -> Element<'a>,
    ) -> Result<(), UrdfError> {
        let moves =
            |link: &Link| link.joint.as_ref().is_some_and(|joint| joint.motion != Motion::Fixed);
        let root = self.document.root_element();
        match robot.links.iter().filter(|link| moves(link)).count() {
            0 => return Err(self.error(root, "has no joint that moves; an arm needs one")),
            count if count > MAX_MOVING => {
                let message = format!("has {count} joints that move; at most {MAX_MOVING} may");
                return Err(self.error(root, &message));
            }
            _ => {}
        }
        // Of each link and all that is fixed to it; links come after those that they hang on.
        let mut masses: Vec<f64> = robot.links.iter().map(|link| link.mass).collect();
        for (index, link) in robot.links.iter().enumerate().rev() {
            match &link.joint {
                Some(joint) if joint.motion == Motion::Fixed => {
                    masses[joint.parent] += masses[index];
                }
                Some(joint) if masses[index] == 0.0 => {
                    let message = format!(
                        "moves (joint {:?}) and has no mass, nor has what is fixed to it; give it \
                         an <inertial> with a <mass> above 0, or make the joint fixed",
                        joint.name
                    );
                    return Err(self.error(element_of(index), &message));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// The links that there are, as far as a message has room for.
fn known(links: &[Element<'_>]) -> String {
    let names: Vec<&str> = links.iter().filter_map(|link| link.attribute("name")).collect();
    let shown = names[..names.len().min(20)].join(", ");
    if names.len() > 20 { format!("there is: {shown}, ...") } else { format!("there is: {shown}") }
}
