//! The commands of the book's page on this crate, as its reader runs them.

use std::path::Path;
use std::process::Command;

#[test]
fn the_page_of_the_book_trains_a_drone_that_holds_its_waypoint() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("../../own-crate.md")).expect("the page");
    let commands: String =
        page.split("```sh\n").skip(1).filter_map(|rest| Some(rest.split_once("```")?.0)).collect();

    let place = tempfile::tempdir().expect("a directory");
    let here = place.path();
    std::fs::copy(root.join("ppo_drone.toml"), here.join("ppo_drone.toml")).expect("a copy");
    let programs = Path::new(env!("CARGO_BIN_EXE_drone")).parent().expect("a directory");
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap_or_default());
    let shell = Command::new("sh")
        .args(["-e", "-c", &commands])
        .env("PATH", path)
        .current_dir(here)
        .output()
        .expect("a shell");
    let (said, errors) =
        (String::from_utf8_lossy(&shell.stdout), String::from_utf8_lossy(&shell.stderr));
    assert!(shell.status.success(), "{commands}{said}{errors}");

    let summary = std::fs::read_to_string(here.join("runs/ppo_drone/1/summary.json"));
    let summary: serde_json::Value =
        serde_json::from_str(&summary.expect("a summary")).expect("JSON");
    let success = summary["eval"]["success_rate"].as_f64().expect("a rate");
    assert!(success >= 0.95, "{summary}");

    let gif = std::fs::read(here.join("drone.gif")).expect("the replay");
    assert!(gif.starts_with(b"GIF89a") && gif.len() > 10_000, "{} bytes", gif.len());
    let report = std::fs::read_to_string(here.join("report.html")).expect("the report");
    assert!(report.contains("\"wind\""), "the report shows the drone as it draws itself");
    assert!(here.join("runs/ppo_drone/1/policy.onnx").is_file());

    let corners: Vec<f64> = said
        .lines()
        .filter_map(|line| line.strip_suffix(" m from the waypoint after 3 s")?.parse().ok())
        .collect();
    assert!(corners.len() == 4 && corners.iter().all(|&m| m < 0.3), "{said}");
}
