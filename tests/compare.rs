//! `trainer compare` and `trainer plot`: figures of runs whose numbers are known, pictures, and what a
//! user gets wrong.

mod support;

use std::fs;
use std::path::Path;
use std::time::Instant;

use support::Place;

/// Writes what a run leaves: one row a point `(steps, seconds, return)`, and a summary with the return
/// at the end unless it is not finished.
fn run(place: &Place, name: &str, seed: u64, curve: &[(u64, f64, f64)], end: Option<f64>) {
    let directory = place.path(&format!("runs/{name}/{seed}"));
    fs::create_dir_all(&directory).expect("a run directory");
    // Another name alone makes no other group.
    let own = name.bytes().fold(0_u32, |sum, byte| 31 * (sum % 1_000_000) + u32::from(byte));
    let config = format!(
        "name = \"{name}\"\nseed = {seed}\n[env]\nname = \"pendulum\"\n[agent]\nalgorithm = \"ppo\"\n\
         minibatch_size = {own}\n"
    );
    fs::write(directory.join("config.toml"), config).expect("config.toml");
    let mut metrics = String::from(
        "time/total_timesteps,time/time_elapsed,rollout/ep_rew_mean,train/entropy,eval/mean_reward\n",
    );
    for (steps, seconds, episode_return) in curve {
        metrics += &format!("{steps},{seconds},{episode_return},1.5,\n");
    }
    fs::write(directory.join("metrics.csv"), metrics).expect("metrics.csv");
    let Some(end) = end else { return };
    let steps = curve.last().map_or(0, |last| last.0);
    let summary = serde_json::json!({
        "steps": steps, "seconds": 1.0, "steps_per_second": 1.0, "seed": seed, "backend": "flex",
        "algorithm": "ppo", "environment": "pendulum", "version": "0.1.0",
        "eval": {
            "episodes": 10, "greedy": true, "mean_return": end, "std_return": 0.0, "min_return": end,
            "max_return": end, "mean_length": 200.0, "success_rate": null
        }
    });
    fs::write(directory.join("summary.json"), summary.to_string()).expect("summary.json");
}

/// Two groups: `good` with three seeds and `bad` with two.
fn two_groups() -> Place {
    let place = Place::new();
    for (seed, end, first) in [(1, -100.0, -400.0), (2, -200.0, -600.0), (3, -150.0, -500.0)] {
        run(&place, "good", seed, &[(100, 1.0, first), (200, 2.0, end)], Some(end));
    }
    run(&place, "bad", 1, &[(100, 1.0, -900.0), (200, 2.0, -900.0)], Some(-900.0));
    run(&place, "bad", 2, &[(100, 1.0, -300.0), (200, 2.0, -150.0)], Some(-150.0));
    place
}

/// A CSV file as rows of cells by the names of their columns.
fn table(path: &Path) -> Vec<std::collections::HashMap<String, String>> {
    let mut reader = csv::Reader::from_path(path).expect("a CSV file");
    reader.deserialize().map(|row| row.expect("a row")).collect()
}

#[test]
fn figures_are_those_worked_by_hand() {
    let place = two_groups();
    let ended = place
        .trainer(&["compare", "runs", "--threshold", "-200", "-o", "table.csv"])
        .expect(0, &[]);
    let rows = table(&place.path("table.csv"));
    let (bad, good) = (&rows[0], &rows[1]);
    assert_eq!((&*bad["group"], &*good["group"]), ("bad", "good"));
    let expected = [
        (good, "seeds", "3"),
        (good, "return_mean", "-150"),
        (good, "return_median", "-150"),
        (good, "return_iqm", "-150"),
        // Three draws of the worst are 1 of 27, more than 2.5 %.
        (good, "return_mean_low", "-200"),
        (good, "return_mean_high", "-100"),
        // Means of -400 and -100, -600 and -200, -500 and -150.
        (good, "area_median", "-325"),
        (good, "reached_by", "3"),
        (good, "steps_to_threshold", "200"),
        (good, "seconds_to_threshold", "2"),
        (bad, "return_mean", "-525"),
        (bad, "return_mean_low", "-900"),
        (bad, "return_mean_high", "-150"),
        (bad, "reached_by", "1"),
        // The median lies between 200 and never.
        (bad, "steps_to_threshold", ""),
        (bad, "success_rate", ""),
        (bad, "threshold", "-200"),
        // At the threshold is not below it.
        (good, "failed", "0"),
        (good, "failed_share", "0"),
        (good, "failed_share_low", "0"),
        (good, "failed_seeds", ""),
        (bad, "failed", "1"),
        (bad, "failed_share", "0.5"),
        (bad, "failed_seeds", "1"),
        (bad, "success_threshold", ""),
    ];
    for (row, column, value) in expected {
        assert_eq!(row[column], value, "{column} of {}", row["group"]);
    }
    // `bad` wins against -200 and draws with -150: 1.5 of 6.
    let pairs = table(&place.path("table.pairs.csv"));
    assert_eq!(pairs.len(), 1);
    assert_eq!((&*pairs[0]["group"], &*pairs[0]["over"]), ("bad", "good"));
    assert_eq!(pairs[0]["probability"], "0.25");
    for text in ["-150.0 [-200.0, -100.0]", "0.250 [0.000, ", "1 of 2", "3 of 3", "table.pairs.csv"]
    {
        assert!(ended.stdout.contains(text), "no {text} in {}", ended.stdout);
    }
    assert!(!ended.stdout.contains("note"), "{}", ended.stdout);
}

/// Writes a success rate into the summary of a run.
fn succeed(place: &Place, run: &str, rate: f64) {
    let path = place.path(&format!("runs/{run}/summary.json"));
    let summary = fs::read_to_string(&path).expect("a summary");
    let with_rate = summary.replace("\"success_rate\":null", &format!("\"success_rate\":{rate}"));
    assert_ne!(summary, with_rate);
    fs::write(path, with_rate).expect("a summary");
}

#[test]
fn seeds_that_failed_are_counted_and_named() {
    let place = two_groups();
    for seed in 4..=8 {
        run(&place, "bad", seed, &[(100, 1.0, -900.0), (200, 2.0, -900.0)], Some(-900.0));
    }
    let table = |flags: &[&str]| {
        let ended = place.trainer(&[&["compare", "runs"], flags].concat()).expect(0, &[]);
        let (_, rest) = ended.stdout.split_once("seeds that ended with ").expect("the failures");
        let (table, _) = rest.split_once("\n\n").expect("more below");
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        table.lines().map(words).collect::<Vec<_>>().join("\n")
    };
    let by_return = table(&["--threshold", "-180"]);
    assert!(by_return.starts_with("a return below -180; their share with its 95 % Wilson"));
    // The intervals are 6/7 and 1/3 put into Wilson's formula.
    for row in ["bad 6 of 7 0.857 [0.487, 0.974] 1, 4-8", "good 1 of 3 0.333 [0.061, 0.792] 2"] {
        assert!(by_return.contains(row), "no {row} in {by_return}");
    }
    for (seed, rate) in [(1, 0.99), (2, 0.98), (3, 1.0)] {
        succeed(&place, &format!("good/{seed}"), rate);
    }
    // Of a group without success nothing can be said.
    let by_success = table(&["--success-threshold", "0.99"]);
    assert!(by_success.starts_with("a success rate below 0.99;"), "{by_success}");
    assert!(by_success.contains("bad - - -\n"), "{by_success}");
    assert!(by_success.contains("good 1 of 3 0.333 [0.061, 0.792] 2"), "{by_success}");
    // A seed need not fail twice.
    let flags = ["--threshold", "-120", "--success-threshold", "0.99"];
    let by_both = table(&flags);
    assert!(by_both.starts_with("a return below -120 or a success rate below 0.99;"), "{by_both}");
    assert!(by_both.contains("good 2 of 3"), "{by_both}");
    let json = place.trainer(&[&["compare", "runs", "--json"], &flags[..]].concat()).expect(0, &[]);
    let json: serde_json::Value = serde_json::from_str(&json.stdout).expect("JSON");
    assert_eq!(json["threshold"], -120.0);
    assert_eq!(json["success_threshold"], 0.99);
    assert_eq!(json["rows"][1]["failed"]["seeds"], serde_json::json!([2, 3]));
    assert_eq!(json["rows"][0]["failed"]["share"]["value"], 1.0);
    // Nobody asked.
    let ended = place.trainer(&["compare", "runs"]).expect(0, &[]);
    assert!(!ended.stdout.contains("Wilson"), "{}", ended.stdout);
}

#[test]
fn notes_say_what_the_figures_lack() {
    let place = two_groups();
    run(&place, "lone", 7, &[(50, 1.0, -10.0)], Some(-10.0));
    run(&place, "lone", 8, &[(20, 1.0, -10.0)], None);
    let ended = place.trainer(&["compare", "runs"]).expect(0, &[]);
    for text in [
        "runs/lone/8 is not finished and left out; `trainer resume runs/lone/8` goes on",
        "one seed has no interval",
        "from 50 to 200 steps",
    ] {
        assert!(ended.stdout.contains(text), "no {text} in {}", ended.stdout);
    }
    // The lone seed's return stands without an interval.
    let line = ended.stdout.lines().find(|line| line.contains("lone ")).expect("a row");
    assert_eq!(
        line.split_whitespace().collect::<Vec<_>>(),
        ["lone", "1", "-10.00", "-10.00", "-10.00"]
    );
}

#[test]
fn pictures_have_a_line_a_group_and_say_what_they_show() {
    let place = two_groups();
    place.trainer(&["plot", "runs", "-o", "curves.svg"]).expect(0, &[]);
    let svg = fs::read_to_string(place.path("curves.svg")).expect("a picture");
    for text in [
        "<svg viewBox",
        "good (3 seeds)",
        "bad (2 seeds)",
        "environment steps",
        "mean return of the last 100 episodes",
        "95 % bootstrap interval (of two seeds: the range)",
        "pendulum",
    ] {
        assert!(svg.contains(text), "no {text} in the picture");
    }
    let arguments = ["plot", "runs/good", "-o", "entropy.png", "--metric", "train/entropy"];
    place.trainer(&[&arguments[..], &["--x", "seconds"]].concat()).expect(0, &[]);
    let png = fs::read(place.path("entropy.png")).expect("a picture");
    assert!(png.starts_with(b"\x89PNG\r\n\x1a\n"));
    // The same runs, the same picture.
    place.trainer(&["plot", "runs", "-o", "again.svg"]).expect(0, &[]);
    assert_eq!(svg, fs::read_to_string(place.path("again.svg")).expect("a picture"));
}

#[test]
fn unfinished_runs_are_drawn_as_far_as_they_are() {
    let place = two_groups();
    run(&place, "good", 4, &[(100, 1.0, -400.0), (150, 1.5, -300.0)], None);
    let ended = place.trainer(&["plot", "runs", "-o", "curves.svg"]).expect(0, &["runs/good/4"]);
    assert!(ended.stderr.contains("not finished"));
    let svg = || fs::read_to_string(place.path("curves.svg")).expect("a picture");
    assert!(svg().contains("good (4 seeds)"));
    // One that ends before the others begin can't be part of their mean.
    run(&place, "good", 4, &[(50, 0.5, -400.0)], None);
    place.trainer(&["plot", "runs", "-o", "curves.svg"]).expect(0, &["runs/good/4"]);
    assert!(svg().contains("good (3 seeds)"));
}

#[test]
fn a_finished_run_keeps_its_last_value() {
    let place = Place::new();
    run(&place, "a", 1, &[(100, 1.0, 0.0), (200, 2.0, 900.0)], Some(900.0));
    run(&place, "a", 2, &[(100, 3.0, 0.0), (200, 5.0, 900.0)], Some(900.0));
    place.trainer(&["plot", "runs", "-o", "curves.svg", "--x", "seconds"]).expect(0, &[]);
    let svg = fs::read_to_string(place.path("curves.svg")).expect("a picture");
    // From 3 seconds, where the first run has ended, to 5.
    assert!(svg.contains("a (2 seeds)") && svg.contains(">5<") && !svg.contains(">2<"));
}

#[test]
fn one_row_is_a_point_and_more_groups_than_colours_are_grey() {
    let place = Place::new();
    for index in 0..10 {
        let end = f64::from(index);
        run(&place, &format!("group{index}"), 1, &[(100, 1.0, 0.0), (200, 2.0, end)], Some(end));
    }
    place.trainer(&["plot", "runs", "-o", "curves.svg"]).expect(0, &[]);
    let svg = fs::read_to_string(place.path("curves.svg")).expect("a picture");
    assert!(svg.contains("group9 (1 seed)") && svg.contains("3 others, lower at the end"));
    assert!(!svg.contains("group2 ") && svg.contains("one seed each"));
    run(&place, "short", 1, &[(100, 1.0, -1.0)], None);
    run(&place, "short", 2, &[(100, 1.5, -2.0)], None);
    for x in ["steps", "seconds"] {
        place.trainer(&["plot", "runs/short", "-o", "point.png", "--x", x]).expect(0, &[]);
        place.trainer(&["plot", "runs/short", "-o", "point.svg", "--x", x]).expect(0, &[]);
    }
}

/// Of a hundred groups nobody reads 4,950 pairs.
#[test]
fn of_many_groups_only_the_pairs_that_are_shown_are_compared() {
    let place = Place::new();
    for group in 0..100 {
        for seed in 1..=3 {
            let end = f64::from(group) + seed as f64 / 10.0;
            let point = |row: u32| (128 * u64::from(row), f64::from(row), end * f64::from(row));
            let curve: Vec<(u64, f64, f64)> = (1..=50).map(point).collect();
            run(&place, &format!("group{group}"), seed, &curve, Some(end));
        }
    }
    support::trainer_binary(); // it may have to be built first, which is not to be timed
    let compared = |flags: &[&str]| {
        let begun = Instant::now();
        let ended = place.trainer(&[&["compare", "runs"], flags].concat()).expect(0, &[]);
        (ended.stdout, begun.elapsed())
    };
    let (shown, time) = compared(&[]);
    let over = |other: u32| format!("group{other}  group99  0.000 [0.000, 0.000]");
    let pairs = shown.lines().filter(|line| line.contains("  group99  0.000 ")).count();
    assert!(pairs == 99 && shown.replace("   ", "  ").contains(&over(7)), "{shown}");
    assert!(shown.contains("these are the pairs with the best group"), "{shown}");
    place.trainer(&["report", "runs", "-o", "report.html"]).expect(0, &[]);
    let page = fs::read_to_string(place.path("report.html")).expect("the page");
    assert_eq!(page.matches("0.000<br>").count(), 99, "the same pairs are on the page");
    // Whoever asks for all of them gets them, and waits several times as long.
    let (_, time_of_all) = compared(&["-o", "all.csv"]);
    assert!(time < time_of_all / 2, "{time:?} for what is shown, {time_of_all:?} for all");
    assert_eq!(table(&place.path("all.pairs.csv")).len(), 100 * 99 / 2);
    let (json, _) = compared(&["--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["pairs"].as_array().map(Vec::len), Some(100 * 99 / 2));
}

#[test]
fn bad_input_is_refused_with_a_cure() {
    let place = two_groups();
    fs::create_dir_all(place.path("empty")).expect("a directory");
    let refused = |arguments: &[&str], fragments: &[&str]| {
        place.trainer(arguments).expect(2, &[&["error: "], fragments].concat());
    };
    refused(&["plot", "runs"], &["--output"]);
    refused(&["compare"], &["DIR"]);
    for verb in [&["compare"][..], &["plot", "-o", "a.svg"]] {
        refused(&[verb, &["empty"]].concat(), &["empty: there is no run in it"]);
        refused(&[verb, &["missing"]].concat(), &["missing: there is no run in it"]);
    }
    refused(&["plot", "runs", "-o", "a.pdf"], &["a.pdf", ".svg or .png"]);
    refused(&["plot", "runs", "-o", "a"], &["a: ", ".svg or .png"]);
    refused(&["compare", "runs", "-o", "a.txt"], &["a.txt", ".csv"]);
    refused(&["plot", "runs", "-o", "no/a.svg"], &["no directory no", "mkdir -p no"]);
    refused(&["compare", "runs", "-o", "no/a.csv"], &["no directory no", "mkdir -p no"]);
    refused(&["compare", "runs", "--threshold", "nan"], &["--threshold", "finite"]);
    for verb in ["compare", "report"] {
        let success = |rate| [verb, "runs", "--success-threshold", rate];
        refused(&success("99"), &["--success-threshold", "from 0 to 1"]);
        refused(&success("0.9"), &["no finished run reports a success rate", "--threshold"]);
    }
    refused(&["plot", "runs", "-o", "a.svg", "--x", "hours"], &["hours", "steps, seconds"]);
    let metric = |name| ["plot", "runs", "-o", "a.svg", "--metric", name];
    refused(
        &metric("train/entropi"),
        &["train/entropi", "did you mean `train/entropy`", "rollout/ep_rew_mean"],
    );
    // A column without a value is not there either.
    refused(&metric("eval/mean_reward"), &["no run has a value of eval/mean_reward"]);
    run(&place, "new", 1, &[], None);
    refused(&["plot", "runs/new", "-o", "a.svg"], &["runs/new/1", "no row yet"]);
    refused(&["compare", "runs/new"], &["runs/new/1", "no run is finished", "trainer resume"]);
    assert!(!place.path("a.svg").exists());
}

/// The commands of the book's chapter, word for word, on configurations cut short.
#[test]
fn the_commands_of_the_book_run() {
    let place = Place::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    fs::create_dir(place.path("configs")).expect("a directory");
    for name in ["ppo_cartpole.toml", "trpo_cartpole.toml"] {
        let config = fs::read_to_string(root.join("configs").join(name)).expect("a configuration");
        let cut: Vec<String> = config
            .lines()
            .map(|line| match line.split_once(" = ") {
                Some(("total_steps", _)) => "total_steps = 4_096".into(),
                _ => line.to_owned(),
            })
            .collect();
        assert!(cut.contains(&"total_steps = 4_096".to_owned()), "{name} has another shape");
        place.write(&format!("configs/{name}"), cut.join("\n") + "\n[eval]\nepisodes = 2\n");
    }
    let commands = place.run_chapter("comparing.md");
    assert!(commands.contains("trainer compare") && commands.contains("trainer plot"));
    for file in ["curves.svg", "table.csv", "table.pairs.csv"] {
        assert!(place.path(file).is_file(), "no {file} after\n{commands}");
    }
}
