//! The page of `trainer report`: what is in it, and how it behaves in a browser.

mod support;

use agents::{TrainingConfig, evaluate, record};
use envs::arm::geometry::{Pose, Rotation, cross};
use envs::{Body, Camera, Color, Environments, Scene, Shape, Solid, TaskConfig};
use serde_json::Value;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use support::Place;

/// Trains a configuration of this project for two iterations.
fn train(place: &Place, config: &str, out: &str, sets: &[&str]) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let config = root.join(format!("configs/{config}.toml"));
    let config = config.to_str().expect("a path in UTF-8");
    let mut arguments = vec!["run", config, "--quiet", "--out", out];
    let few = ["total_steps=4096", "eval.episodes=3", "eval.every_steps=0"];
    for set in few.iter().chain(sets) {
        arguments.extend(["--set", set]);
    }
    place.trainer(&arguments).expect(0, &[]);
}

/// A page of all runs below `directory`.
fn report(place: &Place, directory: &str) -> String {
    place.trainer(&["report", directory, "-o", "report.html"]).expect(0, &[]);
    fs::read_to_string(place.path("report.html")).expect("the page is there")
}

/// What the page hands to its script.
fn data(page: &str) -> Value {
    let start = "<script type=\"application/json\" id=\"data\">";
    let (_, rest) = page.split_once(start).expect("the page has data");
    let (json, _) = rest.split_once("</script>").expect("the data ends");
    serde_json::from_str(json).expect("the data is JSON")
}

/// A sweep of four groups with two seeds each, of an experiment with an ugly name.
fn sweep(place: &Place) {
    for rate in ["1e-4", "1e-3"] {
        for gamma in ["0.9", "0.99"] {
            for seed in ["1", "2"] {
                let sets = [
                    &format!("agent.learning_rate={rate}"),
                    &format!("agent.gamma={gamma}"),
                    &format!("seed={seed}"),
                    "name='a<b>&\"<script>\"'",
                ];
                train(place, "ppo_cartpole", &format!("sweep/{rate}-{gamma}-{seed}"), &sets);
            }
        }
    }
}

#[test]
fn a_recording_is_the_episode_that_an_evaluation_plays() {
    let disturbed = |key: &str| {
        let config = serde_json::json!({
            "parameters": { key: { "uniform": [0.1, 0.2] } },
            "max_episode_steps": 100,
            "observation_noise": 0.01,
            "action_delay": { "uniform": [0, 3] },
        });
        serde_json::from_value::<TaskConfig>(config).expect("a task's configuration")
    };
    for (name, config) in [
        ("cartpole", TaskConfig::default()),
        ("pendulum", TaskConfig::default()),
        ("reach", TaskConfig::default()),
        ("cliff", TaskConfig::default()),
        ("cartpole", disturbed("pole_mass")),
        ("reach", disturbed("joint_friction")),
        ("cliff", disturbed("slip_probability")),
    ] {
        let entry = Environments::default().get(name).expect("a built-in environment");
        let task = entry.task(&config).expect("a task");
        let config = TrainingConfig { seed: 5, ..TrainingConfig::default() };
        let agent = config.agent(task.spec()).expect("an agent");
        for greedy in [true, false] {
            let evaluation = evaluate(agent.actor(), &task, 3, 5, greedy).expect("finite episodes");
            for (index, episode) in evaluation.episodes().iter().enumerate() {
                let play = |steps| record(agent.actor(), &task, 5, index as u32, greedy, steps);
                let recording = play(1000).expect("a finite episode");
                assert_eq!(recording.end, Some(*episode), "{name}, episode {index}");
                assert_eq!(recording.observations.len(), episode.length as usize + 1);
                assert_eq!(recording.drawings.len(), recording.observations.len());
                let cut = play(4).expect("a finite episode");
                assert_eq!((cut.end, cut.observations.len()), (None, 5));
                assert_eq!(cut.observations, recording.observations[..5]);
                assert_eq!(cut.drawings[..4], recording.drawings[..4]);
            }
        }
    }
}

#[test]
fn the_page_holds_everything_and_escapes_it() {
    let place = Place::new();
    sweep(&place);
    let page = report(&place, "sweep");
    assert_eq!(page, report(&place, "sweep"), "the same runs give the same page");

    assert!(page.len() < 1_000_000, "{} bytes", page.len());
    assert!(page.contains("<h1>a&lt;b&gt;&amp;"), "the title is there, escaped");
    assert!(!page.contains("a<b>"), "a name is not escaped");
    assert!(!page.contains("{{"), "a place of the template was not filled");
    assert_eq!(page.matches("</script>").count(), 2, "the data ends early");
    for outside in ["http://", "https://", "src=", "@import", "url("] {
        let rest = page.replace("http://www.w3.org/", "").replace("url(#", "");
        let found = rest.contains(outside);
        assert!(!found, "the page refers to something outside of it: {outside}");
    }
    assert!(page.contains("4 groups of 8 runs on cartpole, seeds 1, 2"), "what was compared");
    for text in ["agent.learning_rate", "0.0001", "total_steps", "4096", "sweep/1e-4-0.99-2"] {
        assert!(page.contains(text), "no {text}");
    }

    let data = data(&page);
    let keys = ["agent.gamma", "agent.learning_rate"];
    assert_eq!(data["sweep"]["keys"], serde_json::json!(keys));
    let groups = data["sweep"]["groups"].as_array().expect("groups");
    assert_eq!(groups.len(), 4);
    assert!(groups.iter().all(|group| group["returns"].as_array().map(Vec::len) == Some(2)));
    let replays = data["replays"].as_array().expect("replays");
    assert_eq!(replays.len(), 4);
    for episode in replays.iter().flat_map(|replay| replay["episodes"].as_array()).flatten() {
        let length = |key: &str| episode[key].as_array().map_or(0, Vec::len);
        assert!(length("rewards") > 5);
        assert_eq!(length("actions"), length("rewards"));
        // The track, its two ends, the cart, the pole, its hinge, the arrow's shaft and barbs.
        let layers = episode["layers"].as_array().expect("layers");
        let entries: Vec<usize> =
            layers.iter().map(|layer| layer.as_array().map_or(0, Vec::len)).collect();
        assert_eq!((entries.len(), &entries[..3]), (8, [1, 1, 1].as_slice()), "{entries:?}");
        assert_eq!(entries[4..], [length("rewards") + 1; 4]);
    }
}

#[test]
fn a_policy_that_can_not_be_replayed_is_a_note_on_the_page() {
    let place = Place::new();
    train(&place, "ppo_cartpole", "runs/whole", &[]);
    train(&place, "trpo_cartpole", "runs/bare", &[]);
    fs::remove_dir_all(place.path("runs/bare/checkpoints")).expect("it was there");
    fs::remove_file(place.path("runs/bare/summary.json")).expect("it was there");
    let ended = place.trainer(&["report", "runs"]).expect(0, &["warning: ", "no checkpoint"]);
    assert!(
        ended.stdout.starts_with("wrote report.html: 2 groups of 2 runs, "),
        "{}",
        ended.stdout
    );
    let page = fs::read_to_string(place.path("report.html")).expect("the default name");
    assert!(page.contains("1 run not finished"), "what is not finished is said");
    assert!(page.contains("no checkpoint"), "the reason is on the page");
    assert_eq!(data(&page)["replays"].as_array().map(Vec::len), Some(1));
    assert_eq!(data(&page)["sweep"], Value::Null);
}

/// The commands of the book's chapter, word for word, on configurations cut short.
#[test]
fn the_commands_of_the_book_run() {
    let place = Place::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    fs::create_dir(place.path("configs")).expect("a directory");
    for name in ["configs/ppo_cartpole.toml", "configs/trpo_cartpole.toml"] {
        let config = fs::read_to_string(root.join(name)).expect("a configuration");
        let cut = config.replace("\ntotal_steps = ", "\ntotal_steps = 4_096 # ");
        assert_ne!(cut, config, "{name} has another shape");
        place.write(name, cut);
    }
    place.run_chapter("report.md");
    let page = fs::read_to_string(place.path("report.html")).expect("the chapter's page");
    assert!(page.contains("2 groups of 6 runs on cartpole, seeds 1, 2, 3"));
}

#[test]
fn bad_arguments_are_refused() {
    let place = Place::new();
    place.trainer(&["report"]).expect(2, &["DIR"]);
    place.trainer(&["report", "nowhere"]).expect(2, &["nowhere", "no run"]);
    train(&place, "ppo_cliff", "run", &[]);
    place.trainer(&["report", "run", "-o", "run"]).expect(2, &["run", ".html"]);
    place.trainer(&["report", "run", "-o", "no/x.html"]).expect(2, &["no/x.html", "mkdir"]);
    place.write("run/metrics.csv", "a,b\n1,2,3\n");
    place.trainer(&["report", "run"]).expect(2, &["metrics.csv"]);
}

/// A browser without a window.
fn chromium() -> PathBuf {
    let named = std::env::var_os("CHROMIUM").map(PathBuf::from);
    let known = ["chromium", "chromium-browser", "google-chrome"].map(PathBuf::from);
    let works = |path: &PathBuf| {
        let mut version = Command::new(path);
        version.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
        version.status().is_ok_and(|status| status.success())
    };
    named.into_iter().chain(known).find(works).unwrap_or_else(|| {
        panic!(
            "no Chromium was found, and the report's page is tested in it: ./test installs what the \
             tests need (./test --setup only that); or name the program in the variable CHROMIUM"
        )
    })
}

/// What the environment's own code sees of the page's first scene at the first step, in the page's unit and
/// coordinates: kind and color of each shape, its points, its width. `null` where there is none.
fn seen(page: &str) -> Value {
    let data = data(page);
    let numbers = |value: &Value| -> Vec<f64> {
        value.as_array().expect("an array").iter().filter_map(Value::as_f64).collect()
    };
    let triples = |value: &Value| -> Vec<[f64; 3]> {
        numbers(value).chunks(3).map(|point| [point[0], point[1], point[2]]).collect()
    };
    let episodes = data["replays"].as_array().expect("replays").iter();
    let mut episodes = episodes.filter_map(|replay| replay["episodes"].as_array()).flatten();
    let Some(episode) = episodes.find(|episode| episode["scene"].is_object()) else {
        return Value::Null;
    };
    let radius = episode["scene"]["radius"].as_f64().expect("a radius");
    let bodies = episode["scene"]["bodies"].as_array().expect("bodies").iter();
    let layers = episode["layers"].as_array().expect("layers").iter();
    let names = ["text", "quiet", "soft", "accent", "second", "danger"];
    let colors =
        [Color::Text, Color::Quiet, Color::Soft, Color::Accent, Color::Second, Color::Danger];
    let body = |(solids, layer): (&Value, &Value)| {
        let solid = |solid: &Value| {
            let faces = solid[1].as_array().expect("faces").iter().map(triples).collect();
            Solid { faces, radius: solid[0].as_f64().expect("a margin") }
        };
        let [position, x, y] = triples(&layer[0]["at"])[..] else { panic!("{layer}") };
        let [x, y] = [x, y].map(|axis| axis.map(|number| number / 4000.0));
        let color = names.iter().position(|name| layer[0]["color"] == *name).expect("a color");
        Body {
            solids: solids.as_array().expect("solids").iter().map(solid).collect(),
            pose: Pose { position, rotation: Rotation([x, y, cross(x, y)]) },
            color: colors[color],
            trail: 0,
        }
    };
    let angles = numbers(&episode["scene"]["camera"]);
    let camera = Camera { azimuth: angles[0], elevation: angles[1] };
    let drawing =
        Scene { camera, radius, bodies: bodies.zip(layers).map(body).collect() }.draw(1.0);
    let shape = |shape: &Shape| {
        let points: Vec<_> = shape.points().iter().map(|[x, y]| [x + radius, radius - y]).collect();
        let kind = if matches!(shape, Shape::Line { .. }) { "line" } else { "polygon" };
        serde_json::json!([kind, names[shape.color() as usize], points, shape.size()])
    };
    drawing.shapes.iter().map(shape).collect()
}

/// Opens the page at several widths from 400 px to 1600 px in light and in dark, and uses it.
#[track_caller]
fn use_page(place: &Place, page: &str) {
    let seen = seen(page).to_string();
    let page = serde_json::to_string(page).expect("text").replace('<', "\\u003c");
    let check = include_str!("report/check.html").replace("SEEN", &seen).replace("PAGE", &page);
    let check = place.write("check.html", check);
    let browser = chromium();
    for (scheme, preferred) in [("dark", 0), ("light", 1)] {
        let profile = place.path(&format!("profile-{scheme}"));
        // Into files: a pipe that nobody reads would hold it up.
        let (dom, log) = (place.path("dom.html"), place.path("chromium.log"));
        let file = |path: &PathBuf| File::create(path).expect("a file");
        let mut chromium = Command::new(&browser)
            // A sandbox needs rights that a container does not give.
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"])
            .args(["--window-size=1700,1000", "--timeout=100000"])
            .args(["--disable-background-networking", "--no-first-run"])
            .arg(format!("--blink-settings=preferredColorScheme={preferred}"))
            .arg(format!("--user-data-dir={}", profile.display()))
            .arg(&check)
            .stdin(Stdio::null())
            .stdout(file(&dom))
            .stderr(file(&log))
            .spawn()
            .expect("Chromium starts");
        let deadline = Instant::now() + Duration::from_secs(120);
        while chromium.try_wait().expect("Chromium is there").is_none() {
            if Instant::now() > deadline {
                let _ = chromium.kill();
                panic!("Chromium did not end in two minutes");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let text = |path| String::from_utf8_lossy(&fs::read(path).expect("a file")).into_owned();
        let (dom, log) = (text(dom), text(log));
        let outcome = dom.split_once("<pre id=\"outcome\">").map(|(_, rest)| rest);
        let outcome = outcome.and_then(|rest| Some(rest.split_once("</pre>")?.0));
        let outcome = outcome.unwrap_or_else(|| panic!("{scheme}: the checks did not end: {log}"));
        let (checks, wrong) = outcome.split_once('\n').unwrap_or((outcome, ""));
        assert!(wrong.is_empty(), "{scheme}:\n{wrong}");
        let checks: usize = checks.trim_end_matches(" checks").parse().expect("a number");
        assert!(checks > 50, "{scheme}: only {checks} checks were made");
    }
}

#[test]
fn every_environment_is_replayed_in_a_browser() {
    let place = Place::new();
    for config in ["ppo_cartpole", "ppo_cliff", "ppo_pendulum", "ppo_reach", "ppo_panda_reach"] {
        train(&place, config, &format!("runs/{config}"), &["agent.rollout_steps=32"]);
    }
    let page = report(&place, "runs");
    let data = data(&page);
    let labels = data["replays"].as_array().expect("replays").iter();
    let labels: Vec<&str> = labels.filter_map(|replay| replay["label"].as_str()).collect();
    assert_eq!(labels.len(), 5, "{labels:?}");
    assert_eq!(data["sweep"], Value::Null, "returns of several environments don't compare");
    // Text is in no moving picture of these: a layer of it, which changes and then moves.
    let (before, after) = page.rsplit_once("\"layers\":[").expect("the last episode");
    let layer = concat!(
        r#"[{"kind":"text","color":"text","at":[2000,2000,300],"text":"a"},"b",[50,50],null,"#,
        r#"{"kind":"text","color":"text","at":[2000,2000,300],"text":"c"}],"#,
    );
    use_page(&place, &format!("{before}\"layers\":[{layer}{after}"));
}

#[test]
fn a_sweep_is_drawn_in_a_browser() {
    let place = Place::new();
    sweep(&place);
    let page = report(&place, "sweep");
    assert!(!page.contains("A seed has failed"), "nobody asked");
    use_page(&place, &page);
    // Nobody gets 500 in two iterations, and everybody more than 0.
    for (threshold, row) in [
        ("500", "2 of 2</td><td data-head=\"Share\"><span class=\"figure\">1.000<br>"),
        ("0", "0 of 2</td><td data-head=\"Share\">"),
    ] {
        let arguments = ["report", "sweep", "--threshold", threshold];
        place.trainer(&arguments).expect(0, &[]);
        let page = fs::read_to_string(place.path("report.html")).expect("the page is there");
        assert!(page.contains(&format!("ended with a return below {threshold}.")));
        assert_eq!(page.matches(row).count(), 4, "{threshold}");
        let named = if threshold == "500" {
            "data-head=\"Seeds\">1, 2</td>"
        } else {
            "data-head=\"Seeds\">-</td>"
        };
        assert_eq!(page.matches(named).count(), 4, "{threshold}");
        use_page(&place, &page);
    }
}
