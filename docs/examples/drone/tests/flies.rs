//! The program as its user runs it: trains with the TOML file, and shows what came of it.

use std::path::Path;
use std::process::Command;

/// Runs the program here with arguments separated by blanks, and returns what it prints.
fn drone(directory: &Path, arguments: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_drone"))
        .args(arguments.split_whitespace())
        .current_dir(directory)
        .output()
        .expect("the program starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn learns_to_hold_the_waypoint_in_the_wind() {
    let place = tempfile::tempdir().expect("a directory");
    let here = place.path();
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/ppo_drone.toml");
    drone(here, &format!("run {config} --quiet"));

    let summary = std::fs::read_to_string(here.join("runs/ppo_drone/1/summary.json"));
    let summary: serde_json::Value =
        serde_json::from_str(&summary.expect("a summary")).expect("JSON");
    let success = summary["eval"]["success_rate"].as_f64().expect("a rate");
    assert!(success >= 0.9, "{summary}");
}
