//! A robot's file on its way through the trainer: where paths begin, the run's own copy, and what bad files lead to.

mod support;

use envs::arm::{Arm, ArmParameters, Robot};
use envs::{Environment, Stream, stream};
use rand::RngExt;
use std::fs;
use std::path::Path;
use support::Place;
use trainer::Checkpoint;

const CRANE: &str = include_str!("../crates/envs/tests/crane.urdf");

/// A run of a second of a policy that learns nothing in it.
const CONFIG: &str = "\
total_steps = 256
[env]
name = \"arm\"
num_envs = 2
[env.parameters]
urdf = \"robots/crane.urdf\"
tip = \"left\"
[agent]
algorithm = \"ppo\"
rollout_steps = 64
minibatch_size = 64
epochs = 1
[eval]
episodes = 2
[checkpoint]
every_steps = 128
";

fn place() -> Place {
    let place = Place::new();
    for directory in ["lab", "lab/robots", "elsewhere"] {
        fs::create_dir(place.path(directory)).expect("a directory");
    }
    place.write("lab/crane.toml", CONFIG);
    place.write("lab/robots/crane.urdf", CRANE);
    place
}

#[test]
fn a_run_keeps_its_robot_when_the_original_is_gone() {
    let place = place();
    place.trainer(&["run", "lab/crane.toml", "--quiet", "--out", "run"]).expect(0, &[]);
    assert_eq!(fs::read_to_string(place.path("run/crane.urdf")).expect("a copy"), CRANE);
    let config = fs::read_to_string(place.path("run/config.toml")).expect("a configuration");
    assert!(config.contains("urdf = \"crane.urdf\""), "{config}");

    fs::remove_dir_all(place.path("lab")).expect("removed");
    fs::rename(place.path("run"), place.path("elsewhere/run")).expect("moved");
    let run = "elsewhere/run";
    place.trainer(&["resume", run, "--quiet", "--set", "total_steps=512"]).expect(0, &[]);
    place.trainer(&["eval", run]).expect(0, &[]);
    place.trainer(&["export", run, "--format", "onnx"]).expect(0, &[]);
    place.trainer(&["replay", run, "--gif", "crane.gif", "--episodes", "1"]).expect(0, &[]);
    place.trainer(&["report", run, "-o", "crane.html"]).expect(0, &[]);
    let policy = fs::read(place.path("elsewhere/run/policy.onnx")).expect("a policy");
    let policy = String::from_utf8_lossy(&policy);
    for name in ["cos turn", "object z [m]", "change of target lift [0.01 m]", "step_seconds"] {
        assert!(policy.contains(name), "no {name} in the policy's metadata");
    }

    // Another robot is no longer that of the checkpoint: the policy acts in it, and a word is said.
    place.write("elsewhere/run/crane.urdf", CRANE.replace("mass value=\"4\"", "mass value=\"5\""));
    let other = place.trainer(&["eval", run]).expect(0, &["trained on another task"]);
    assert!(other.stderr.contains("parameters.urdf is crane.urdf with the checksum"), "{other:?}");
    fs::remove_file(place.path("elsewhere/run/crane.urdf")).expect("removed");
    place
        .trainer(&["eval", run])
        .expect(2, &["run/config.toml:", "env.parameters.urdf: can't be used: ", "can't be read"]);
}

#[test]
fn a_run_goes_on_bit_for_bit_with_its_own_copy() {
    let place = place();
    let run = |out: &str, steps: &str| {
        let steps = format!("total_steps={steps}");
        let arguments = ["run", "lab/crane.toml", "--quiet", "--out", out, "--set", &steps];
        place.trainer(&arguments).expect(0, &[]);
    };
    run("whole", "512");
    run("halves", "256");
    fs::remove_dir_all(place.path("lab")).expect("removed");
    place.trainer(&["resume", "halves", "--quiet", "--set", "total_steps=512"]).expect(0, &[]);
    let last = |run: &str| {
        let path = place.path(run).join("checkpoints/step-000000000512.ckpt");
        let checkpoint = Checkpoint::read(&path).expect("a checkpoint");
        (checkpoint.training.agent, checkpoint.training.collector)
    };
    assert!(last("halves") == last("whole"), "what was resumed has come to something else");
}

#[test]
fn paths_begin_at_the_configuration_or_at_the_working_directory() {
    let place = place();
    let check = |urdf: &str, code: i32, fragments: &[&str]| {
        let set = format!("env.parameters.urdf={urdf}");
        place.trainer(&["check", "lab/crane.toml", "--set", &set]).expect(code, fragments)
    };
    place.trainer(&["check", "lab/crane.toml"]).expect(0, &[]);
    check("lab/robots/crane.urdf", 0, &[]);
    let flag = "--set env.parameters.urdf=robots/crane.urdf: env.parameters.urdf: can't be used: ";
    check("robots/crane.urdf", 2, &[flag, "can't be read"]);
    check(&place.path("lab/robots/crane.urdf").display().to_string(), 0, &[]);
    // What `check` prints is good anywhere.
    let printed = place.trainer(&["check", "lab/crane.toml"]).expect(0, &[]).stdout;
    place.write("elsewhere/copy.toml", printed);
    place.trainer(&["check", "elsewhere/copy.toml"]).expect(0, &[]);
}

/// A sweep over two robots, in a directory of its own with their files.
fn sweep_over_robots(place: &Place, lab: &str) {
    for directory in ["light", "heavy"] {
        fs::create_dir_all(place.path(lab).join(directory)).expect("a directory");
    }
    place.write(&format!("{lab}/light/crane.urdf"), CRANE);
    let heavy = CRANE.replace("mass value=\"4\"", "mass value=\"5\"");
    place.write(&format!("{lab}/heavy/crane.urdf"), heavy);
    let sweep = "[sweep]\nseeds = [1]\n[sweep.grid]\n\
                 \"env.parameters.urdf\" = [\"light/crane.urdf\", \"heavy/crane.urdf\"]\n";
    let config = CONFIG.replace("robots/crane.urdf", "light/crane.urdf");
    place.write(&format!("{lab}/sweep.toml"), format!("{config}{sweep}"));
}

#[test]
fn a_sweep_keeps_its_robots_when_the_originals_are_gone() {
    let place = Place::new();
    sweep_over_robots(&place, "lab");
    place.trainer(&["run", "lab/sweep.toml", "--quiet", "--out", "sweep"]).expect(0, &[]);
    let again = ["run", "lab/sweep.toml", "--quiet", "--out", "sweep", "--resume"];
    place.trainer(&again).expect(0, &[]);
    fs::remove_dir_all(place.path("lab")).expect("removed");
    fs::remove_dir_all(place.path("sweep/trials/2")).expect("removed");
    fs::rename(place.path("sweep"), place.path("moved")).expect("moved");
    place.trainer(&["resume", "moved", "--quiet"]).expect(0, &[]);
    // Files of one name: the sweep's own copies, and those of the runs.
    let copies = walk(&place.path("moved")).into_iter();
    let mut copies: Vec<String> = copies.filter(|name| name.ends_with(".urdf")).collect();
    copies.sort();
    assert_eq!(copies, ["crane-2.urdf", "crane-2.urdf", "crane.urdf", "crane.urdf"]);
    place.trainer(&["run", "moved/best.toml", "--quiet", "--out", "best"]).expect(0, &[]);
}

#[test]
fn parts_of_a_sweep_are_put_together_wherever_their_robots_were() {
    let place = Place::new();
    let parts = ["part-1", "part-2"];
    for (lab, part, shard) in [("here", parts[0], "1/2"), ("there", parts[1], "2/2")] {
        sweep_over_robots(&place, lab);
        let config = format!("{lab}/sweep.toml");
        let arguments = ["run", &config, "--quiet", "--out", part, "--shard", shard];
        place.trainer(&arguments).expect(0, &[]);
        fs::remove_dir_all(place.path(lab)).expect("removed");
    }
    place.trainer(&["collect", parts[0], parts[1], "--out", "all"]).expect(0, &[]);
    for trial in ["1", "2"] {
        assert!(place.path("all/trials").join(trial).join("1/summary.json").is_file(), "{trial}");
    }
    place.trainer(&["resume", "all", "--quiet"]).expect(0, &[]);

    // Another robot under the same name is another sweep.
    let other = CRANE.replace("mass value=\"4\"", "mass value=\"6\"");
    place.write("part-2/crane.urdf", other);
    place
        .trainer(&["collect", parts[0], parts[1], "--out", "none"])
        .expect(2, &["part-2: is not a part of the sweep"]);
}

/// The names of all files below a directory.
fn walk(directory: &Path) -> Vec<String> {
    let entries =
        fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry"));
    entries
        .flat_map(|entry| match entry.path().is_dir() {
            true => walk(&entry.path()),
            false => vec![entry.file_name().to_string_lossy().into_owned()],
        })
        .collect()
}

#[test]
fn a_bad_robot_is_one_message_with_its_place() {
    let place = place();
    let with = |from: &str, to: &str| {
        place.write("lab/robots/crane.urdf", CRANE.replacen(from, to, 1));
        place.trainer(&["run", "lab/crane.toml", "--out", "run"])
    };
    for (from, to, fragment) in [
        ("</link>", "", "crane.urdf:"),
        (
            "mass value=\"4\"",
            "mass value=\"-4\"",
            "crane.urdf:8:7: <mass> of <link name=\"column\"> has value=\"-4\"; must be 0 or more, in kg",
        ),
        ("mass value=\"4\"", "mass value=\"${mass}\"", "xacro FILE.xacro > FILE.urdf"),
        ("<link name=\"lamp\"/>", "", "names the link \"lamp\", which is not there"),
    ] {
        let line = "lab/crane.toml:6: env.parameters.urdf: can't be used: ";
        let ended = with(from, to).expect(2, &[line, fragment]);
        assert_eq!(ended.stderr.trim_end().lines().count(), 1, "{ended:#?}");
    }
    place.write("lab/robots/crane.urdf", CRANE);
    place
        .trainer(&["run", "lab/crane.toml", "--set", "env.parameters.tip=lampp"])
        .expect(2, &["env.parameters.tip: is \"lampp\", a link that ", "there is: floor, column"]);
    assert!(!place.path("run").exists());
}

/// A step of an arm from this text; nothing may panic or hang, whatever the text is.
fn use_it(text: &str) -> bool {
    let Ok(robot) = Robot::parse(text, "mutated.urdf") else { return false };
    let Ok(mut arm) = Arm::with(robot.into(), ArmParameters::default()) else { return false };
    arm.reset(&mut stream(1, Stream::Environment(0)));
    let joints = arm.mechanism().joints().len();
    for _ in 0..3 {
        arm.advance(std::iter::repeat_n(1.0, joints));
    }
    arm.draw(None);
    true
}

#[test]
fn two_thousand_mutated_files_neither_panic_nor_hang() {
    let panda = include_str!("../configs/robots/panda.urdf");
    let mut rng = stream(11, Stream::Shuffling);
    let pieces =
        ["\"", "<", ">", "/", "0", "-", "1e300", "nan", "inf", "&lt;", "<!DOCTYPE a [", "é"];
    let mut good = 0;
    for index in 0..2000 {
        let text = if index % 2 == 0 { CRANE } else { panda };
        let mut bytes = text.as_bytes().to_vec();
        for _ in 0..rng.random_range(1..4) {
            let at = rng.random_range(0..bytes.len());
            let until = (at + rng.random_range(1..60)).min(bytes.len());
            match rng.random_range(0..6) {
                0 => drop(bytes.drain(at..until)),
                1 => {
                    let piece = pieces[rng.random_range(0..pieces.len())];
                    drop(bytes.splice(at..at, piece.bytes()));
                }
                2 => bytes[at] = rng.random_range(32..127),
                3 => {
                    let copy = bytes[at..until].to_vec();
                    let to = rng.random_range(0..bytes.len());
                    drop(bytes.splice(to..to, copy));
                }
                // A number becomes another one, a line moves: what is wrong then is no XML error.
                4 => {
                    let digits = bytes.iter().enumerate().filter(|(_, byte)| byte.is_ascii_digit());
                    let digits: Vec<usize> = digits.map(|(at, _)| at).collect();
                    bytes[digits[rng.random_range(0..digits.len())]] =
                        rng.random_range(b'0'..=b'9');
                }
                _ => {
                    let mut lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
                    let line = lines.remove(rng.random_range(0..lines.len()));
                    lines.insert(rng.random_range(0..=lines.len()), line);
                    bytes = lines.join(&b'\n');
                }
            }
        }
        good += usize::from(use_it(&String::from_utf8_lossy(&bytes)));
    }
    assert!((100..1900).contains(&good), "{good} of 2000 were good all the same");
    // Nested deeply, and large.
    assert!(!use_it(&"<robot>".repeat(100_000)));
    assert!(!use_it(&format!("<robot>{}</robot>", "<joint name='a'/>".repeat(100_000))));
}
