//! The way from a URDF file to a robot, as the book has it.

mod support;

use std::fs;
use std::path::Path;
use support::{Place, python};

/// The chapter's commands, word for word; then the loop in Python, with the policy that they trained. (The one in Rust
/// is run by `.ci/run example`.)
#[test]
fn the_commands_of_the_book_lead_to_a_robot_that_reaches() {
    let place = Place::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for directory in ["configs", "configs/robots", "docs", "docs/examples"] {
        fs::create_dir(place.path(directory)).expect("a directory");
    }
    for file in [
        "configs/ppo_panda_reach.toml",
        "configs/robots/panda.urdf",
        "docs/examples/control_arm.py",
    ] {
        fs::copy(root.join(file), place.path(file)).expect("a copy");
    }
    let (_, printed) = place.run_chapter_with("robots.md", python().parent());
    let end = printed.lines().last().unwrap_or_default();
    let millimetres =
        end.split_once(" mm away at the end").map(|(number, _)| number.parse::<f64>());
    assert!(matches!(millimetres, Some(Ok(0.0..=50.0))), "{printed}");
}
