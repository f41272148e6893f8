//! Reading a URDF file: what can be wrong with one is found here, and said with the place and the cure.

mod elements;

use super::robot::{Link, Mimic, Motion, Robot};
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
