//! Reading URDF files: what is in one, and everything that can be wrong with one.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use envs::arm::Robot;
use envs::arm::robot::{Geometry, Mimic, Motion};

/// A gripper on a slide on a turning column, with a branch that only carries a lamp.
const ROBOT: &str = include_str!("crane.urdf");

/// What is wrong with the robot where a piece of its text is another one.
fn message(from: &str, to: &str) -> String {
    assert_eq!(ROBOT.matches(from).count(), 1, "{from}");
    let text = ROBOT.replace(from, to);
    Robot::parse(&text, "crane.urdf").expect_err(to).to_string()
}

#[test]
fn a_robot_is_what_its_file_says() {
    let robot = Robot::parse(ROBOT, "crane.urdf").unwrap();
    assert_eq!(robot.name, "crane");
    let names: Vec<&str> = robot.links.iter().map(|link| link.name.as_str()).collect();
    assert_eq!(names, ["floor", "column", "carriage", "left", "right", "lamp"]);
    assert_eq!(robot.default_tip(), 3, "the first of the longest chains");

    let column = &robot.links[1];
    let joint = column.joint.as_ref().unwrap();
    assert_eq!((joint.parent, joint.motion, joint.limits), (0, Motion::Turn, None));
    assert_eq!((joint.axis, joint.damping, joint.friction), ([0.0, 0.0, 1.0], 0.7, 0.2));
    assert_eq!((joint.effort, joint.speed), (Some(30.0), Some(2.0)));
    assert_eq!((column.mass, column.center), (4.0, [0.0, 0.0, 0.5]));
    // Turned by a quarter: x and y change places.
    for (found, expected) in column.inertia.iter().zip([0.2, 0.1, 0.25, 0.0, 0.0, 0.0]) {
        assert!((found - expected).abs() < 1e-15, "{:?}", column.inertia);
    }
    assert!(column.visuals.is_empty(), "meshes are left out");
    assert_eq!(column.collisions[0].geometry, Geometry::Cylinder { radius: 0.05, length: 1.0 });
    assert_eq!(column.collisions[0].origin.position, [0.0, 0.0, 0.5]);

    let lift = robot.links[2].joint.as_ref().unwrap();
    assert_eq!((lift.motion, lift.limits), (Motion::Slide, Some([-0.2, 0.4])));
    assert_eq!(lift.origin.position, [0.2, 0.0, 0.5]);
    let thumb = robot.links[4].joint.as_ref().unwrap();
    assert_eq!(thumb.mimic, Some(Mimic { leader: 3, multiplier: 0.5, offset: 0.01 }));
    assert_eq!(robot.links[5].joint.as_ref().unwrap().motion, Motion::Fixed);
}

#[test]
fn a_joint_follows_through_others() {
    let text = ROBOT.replace(
        "<limit lower=\"0\" upper=\"0.04\" effort=\"5\" velocity=\"0.1\"/>\n  </joint>\n  <joint name=\"thumb\"",
        "<mimic joint=\"lift\" multiplier=\"-2\" offset=\"0.1\"/>\n  </joint>\n  <joint name=\"thumb\"",
    );
    let robot = Robot::parse(&text, "crane.urdf").unwrap();
    let thumb = robot.links[4].joint.as_ref().unwrap().mimic.unwrap();
    assert_eq!((thumb.leader, thumb.multiplier), (2, -1.0));
    assert!((thumb.offset - 0.06).abs() < 1e-15);
}

#[test]
fn what_is_wrong_is_said_with_its_place_and_the_cure() {
    for (from, to, expected) in [
        (
            "<link name=\"floor\"/>",
            "<link name=\"floor\">",
            "crane.urdf:53:1: expected 'link' tag, not 'robot'; a URDF file is XML",
        ),
        (
            "<axis xyz=\"0 0 2\"/>",
            "<axis xyz=\"0 0 2\">",
            "crane.urdf:29:3: expected 'axis' tag, not 'joint'; a URDF file is XML",
        ),
        (
            "<robot name=\"crane\">",
            "<robot name=\"crane\" xmlns:xacro=\"http://wiki.ros.org/xacro\"><xacro:include filename=\"a\"/>",
            "crane.urdf:2:61: <include> can't be read: this is xacro; make a URDF of it with `xacro FILE.xacro > FILE.urdf`",
        ),
        (
            "<robot name=\"crane\">",
            "<robot name=\"crane\"><xacro:macro/>",
            "crane.urdf:2:22: an unknown namespace prefix 'xacro'; this is xacro; make a URDF of it with `xacro FILE.xacro > FILE.urdf`",
        ),
        (
            "mass value=\"4\"",
            "mass value=\"${m}\"",
            "crane.urdf:8:7: <mass> of <link name=\"column\"> can't be read: this is xacro; make a URDF of it with `xacro FILE.xacro > FILE.urdf`",
        ),
        (
            "<link name=\"lamp\"/>",
            "<link name=\"lamp\"/><link name=\"moon\"/>",
            "crane.urdf:23:22: <link name=\"moon\"> hangs on no joint, nor does \"floor\"; there must be one root, to which all other links are connected (by a fixed joint, say)",
        ),
        (
            "<parent link=\"floor\"/>",
            "<parent link=\"left\"/>",
            "crane.urdf:24:3: <joint name=\"turn\"> closes a loop; links and joints must be a tree",
        ),
        (
            "<child link=\"lamp\"/>",
            "<child link=\"left\"/>",
            "crane.urdf:47:3: <joint name=\"lamp_post\"> holds the link \"left\", which the joint \"finger\" holds already; links and joints must be a tree, without loops",
        ),
        (
            "<parent link=\"floor\"/>",
            "",
            "crane.urdf:24:3: <joint name=\"turn\"> has no <parent link=\"...\"/>; a joint connects two links",
        ),
        (
            "<child link=\"carriage\"/>",
            "",
            "crane.urdf:30:3: <joint name=\"lift\"> has no <child link=\"...\"/>; a joint connects two links",
        ),
        (
            "<parent link=\"floor\"/>",
            "<parent link=\"flor\"/>",
            "crane.urdf:25:5: <parent> of <joint name=\"turn\"> names the link \"flor\", which is not there; there is: floor, column, carriage, left, right, lamp",
        ),
        (
            "<parent link=\"floor\"/>",
            "<parent/>",
            "crane.urdf:25:5: <parent> of <joint name=\"turn\"> has no attribute `link`; give one",
        ),
        (
            "<mass value=\"4\"/>",
            "<mass value=\"-4\"/>",
            "crane.urdf:8:7: <mass> of <link name=\"column\"> has value=\"-4\"; must be 0 or more, in kg",
        ),
        (
            "<mass value=\"4\"/>",
            "<mass value=\"0\"/>",
            "crane.urdf:8:7: <mass> of <link name=\"column\"> has value=\"0\" beside an inertia; give both, or neither",
        ),
        (
            "<mass value=\"4\"/>",
            "<mass value=\"four\"/>",
            "crane.urdf:8:7: <mass> of <link name=\"column\"> has value=\"four\"; must be a number",
        ),
        (
            "<mass value=\"4\"/>",
            "<mass value=\"nan\"/>",
            "crane.urdf:8:7: <mass> of <link name=\"column\"> has value=\"nan\"; must be a number from -1e6 to 1e6",
        ),
        (
            "<mass value=\"4\"/>",
            "",
            "crane.urdf:6:5: <inertial> of <link name=\"column\"> has no <mass value=\"...\"/>; give one",
        ),
        (
            "izz=\"0.25\"",
            "izz=\"0.35\"",
            "crane.urdf:9:7: <inertia> of <link name=\"column\"> has the principal moments 1.000e-1, 2.000e-1 and 3.500e-1 kg m^2; none may be negative, nor larger than the sum of the others",
        ),
        (
            "ixx=\"0.1\" ixy=\"0\"",
            "ixx=\"0.1\" ixy=\"0.2\"",
            "crane.urdf:9:7: <inertia> of <link name=\"column\"> has the principal moments -5.616e-2, 2.500e-1 and 3.562e-1 kg m^2; none may be negative, nor larger than the sum of the others",
        ),
        (
            "izz=\"0.25\"",
            "",
            "crane.urdf:9:7: <inertia> of <link name=\"column\"> has no attribute `izz`; give one",
        ),
        (
            "<link name=\"left\"><inertial><mass value=\"0.1\"/><inertia ixx=\"1e-4\" iyy=\"1e-4\" izz=\"1e-4\" ixy=\"0\" ixz=\"0\" iyz=\"0\"/></inertial></link>",
            "<link name=\"left\"/>",
            "crane.urdf:21:3: <link name=\"left\"> moves (joint \"finger\") and has no mass, nor has what is fixed to it; give it an <inertial> with a <mass> above 0, or make the joint fixed",
        ),
        (
            "lower=\"-0.2\" upper=\"0.4\"",
            "lower=\"0.2\" upper=\"-0.4\"",
            "crane.urdf:34:5: <limit> of <joint name=\"lift\"> goes from 0.2 to -0.4; lower must be below upper (or make the joint continuous, or fixed)",
        ),
        (
            "<limit lower=\"-0.2\" upper=\"0.4\" effort=\"90\" velocity=\"0.5\"/>",
            "",
            "crane.urdf:30:3: <joint name=\"lift\"> has no <limit lower=\"...\" upper=\"...\"/>; give one, or make it continuous",
        ),
        (
            "effort=\"90\"",
            "effort=\"-90\"",
            "crane.urdf:34:5: <limit> of <joint name=\"lift\"> has effort=\"-90\"; must be 0 or more",
        ),
        (
            "<axis xyz=\"0 0 2\"/>",
            "<axis xyz=\"0 0 0\"/>",
            "crane.urdf:26:5: <axis> of <joint name=\"turn\"> is no direction; must not be 0 0 0",
        ),
        (
            "<axis xyz=\"0 0 2\"/>",
            "<axis xyz=\"0 2\"/>",
            "crane.urdf:26:5: <axis> of <joint name=\"turn\"> has xyz=\"0 2\"; must be three numbers",
        ),
        (
            "type=\"continuous\"",
            "type=\"floating\"",
            "crane.urdf:24:3: <joint name=\"turn\"> is of type \"floating\"; must be revolute, continuous, prismatic or fixed",
        ),
        (
            "<mimic joint=\"finger\"",
            "<mimic joint=\"fingre\"",
            "crane.urdf:44:5: <mimic> of <joint name=\"thumb\"> follows the joint \"fingre\", which is not there",
        ),
        (
            "<mimic joint=\"finger\"",
            "<mimic joint=\"lamp_post\"",
            "crane.urdf:44:5: <mimic> of <joint name=\"thumb\"> follows the joint \"lamp_post\", which does not move",
        ),
        (
            "<mimic joint=\"finger\"",
            "<mimic joint=\"thumb\"",
            "crane.urdf:41:3: <joint name=\"thumb\"> follows itself; remove a <mimic>",
        ),
        (
            "<link name=\"lamp\"/>",
            "<link name=\"left\"/>",
            "crane.urdf:23:3: <link name=\"left\"> has the name of line 21's; each needs one of its own",
        ),
        (
            "<joint name=\"thumb\"",
            "<joint name=\"finger\"",
            "crane.urdf:41:3: <joint name=\"finger\"> has the name of line 36's; each needs one of its own",
        ),
        (
            "<link name=\"lamp\"/>",
            "<link/>",
            "crane.urdf:23:3: <link> has no attribute `name`; give one",
        ),
        (
            "radius=\"0.05\"",
            "radius=\"-1\"",
            "crane.urdf:14:17: <cylinder> of <link name=\"column\"> has radius=\"-1\"; must be 0 or more",
        ),
    ] {
        assert_eq!(message(from, to), expected);
    }
    let parse = |text: &str| Robot::parse(text, "x.urdf").unwrap_err().to_string();
    assert_eq!(parse("<sdf/>"), "x.urdf:1:1: <sdf> is no URDF, whose outermost element is <robot>");
    assert_eq!(
        parse("<robot/>"),
        "x.urdf:1:1: <robot> has no <link>; a robot has links that joints connect"
    );
    assert_eq!(
        parse("<robot><link name='a'/></robot>"),
        "x.urdf:1:1: <robot> has no joint that moves; an arm needs one"
    );
    assert!(parse("").starts_with("x.urdf:1:1: "), "{}", parse(""));
    let many: String = (0..300).map(|index| format!("<link name='{index}'/>")).collect();
    assert_eq!(
        parse(&format!("<robot>{many}</robot>")),
        "x.urdf:1:1: <robot> has 300 links; at most 256 are read"
    );
    let read = |path: &str| Robot::read(path.as_ref()).unwrap_err().to_string();
    assert!(read("no/such.urdf").starts_with("no/such.urdf: can't be read (No such file"));
    assert_eq!(read("/dev/zero"), "/dev/zero: is no file; give the path of a URDF file");
    assert_eq!(read("src"), "src: is no file; give the path of a URDF file");
}
