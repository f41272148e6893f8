//! Sweeps, with real processes: what is run, what is written, what is repeated and what is not.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use envs::{
    Action, Cliff, CliffParameters, Entry, Environment, ParameterError, Parametric, Rng, Spec,
    StateError, Step,
};
use support::Place;
use trainer::{Registry, Source, Sweep};

/// Nothing here takes longer, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// A run of it takes a tenth of a second.
const TINY: &str = "\
name = \"tiny\"
total_steps = 512
[env]
name = \"cliff\"
num_envs = 4
[network]
hidden = []
[agent]
algorithm = \"ppo\"
rollout_steps = 32
minibatch_size = 32
epochs = 2
[eval]
episodes = 2
every_steps = 128
";

/// Line of `TINY` that a case's own lines follow.
const TINY_LINES: usize = 15;

fn place(lines: &str) -> Place {
    let place = Place::new();
    place.write("sweep.toml", format!("{TINY}{lines}\n"));
    place
}

/// The rows of a CSV file, each by the names of its columns.
fn rows(path: PathBuf) -> Vec<BTreeMap<String, String>> {
    let mut reader = csv::Reader::from_path(&path).expect("the table is there");
    let header = reader.headers().expect("a header").clone();
    let row = |row: csv::StringRecord| {
        header.iter().zip(&row).map(|(name, cell)| (name.to_owned(), cell.to_owned())).collect()
    };
    reader.records().map(|record| row(record.expect("a whole row"))).collect()
}

fn column(rows: &[BTreeMap<String, String>], name: &str) -> Vec<String> {
    rows.iter().map(|row| row[name].clone()).collect()
}

fn number(row: &BTreeMap<String, String>, name: &str) -> f64 {
    row[name].parse().unwrap_or_else(|_| panic!("{name} in {row:?}"))
}

fn summary(run: &Path) -> serde_json::Value {
    let text = fs::read_to_string(run.join("summary.json")).expect("a finished run");
    serde_json::from_str(&text).expect("JSON")
}

/// When the summaries of a directory's trials were written.
fn written(root: &Path, trials: usize, seeds: &[u64]) -> BTreeMap<PathBuf, SystemTime> {
    let runs = (1..=trials).flat_map(|trial| seeds.iter().map(move |seed| (trial, seed)));
    let paths = runs.map(|(trial, seed)| root.join(format!("trials/{trial}/{seed}/summary.json")));
    let time = |path: &PathBuf| fs::metadata(path).and_then(|file| file.modified()).ok();
    paths.filter_map(|path| time(&path).map(|time| (path, time))).collect()
}

/// Checks a sweep that must be refused, at the given line below `TINY`, before anything is written.
#[track_caller]
fn refused(lines: &str, line: usize, fragments: &[&str]) {
    let at = format!("sweep.toml:{}:", TINY_LINES + line);
    let place = place(lines);
    let fragments = [&[at.as_str()], fragments].concat();
    place.trainer(&["check", "sweep.toml"]).expect(2, &fragments);
    let ended = place.trainer(&["run", "sweep.toml"]).expect(2, &fragments);
    assert_eq!(ended.stdout, "", "nothing but the error is printed");
    assert!(!place.path("runs").exists(), "nothing is left of a sweep that never began");
}

#[test]
fn a_grid_runs_every_combination_and_seed_and_ranks_them() {
    let place = place(
        "[sweep]\nseeds = [3, 5]\n[sweep.grid]\n\"agent.gamma\" = [0.9, 0.99]\nagent.learning_rate \
         = [1e-3, { start = 1e-2, end = 0.0 }]",
    );
    let checked = place.trainer(&["check", "sweep.toml"]).expect(0, &[]);
    assert!(checked.stdout.contains("# 4 trials with 2 seeds each: 8 runs, 4096 steps"));
    place.write("resolved.toml", &checked.stdout);
    let again = place.trainer(&["check", "resolved.toml"]).expect(0, &[]);
    assert_eq!(again.stdout, checked.stdout, "what is printed is the same sweep");

    let ended = place.trainer(&["run", "sweep.toml", "--jobs", "2"]).expect(0, &["8/8 runs"]);
    let root = place.path("runs/tiny");
    let rows = rows(root.join("results.csv"));
    assert_eq!(column(&rows, "trial"), ["1", "2", "3", "4"]);
    assert_eq!(column(&rows, "status"), ["finished"; 4]);
    assert_eq!(column(&rows, "agent.gamma"), ["0.9", "0.9", "0.99", "0.99"]);
    assert_eq!(rows[0]["agent.learning_rate"], "0.001");
    assert!(rows[1]["agent.learning_rate"].contains("start = 0.01"));
    for (index, row) in rows.iter().enumerate() {
        let runs = [3, 5].map(|seed| summary(&root.join(format!("trials/{}/{seed}", index + 1))));
        let mean = |name: &str| {
            runs.iter().map(|run| run["eval"][name].as_f64().unwrap()).sum::<f64>() / 2.0
        };
        assert!((number(row, "eval.mean_return") - mean("mean_return")).abs() < 1e-9);
        assert_eq!(number(row, "objective"), number(row, "eval.mean_return"));
        assert!((number(row, "eval.mean_length") - mean("mean_length")).abs() < 1e-9);
        assert_eq!((number(row, "seeds"), number(row, "steps")), (2.0, 512.0));
        assert_eq!(runs.map(|run| run["seed"].as_u64().unwrap()), [3, 5]);
    }
    // The table names the best trial first, and its configuration is ready to run.
    let best =
        rows.iter().rev().max_by(|a, b| number(a, "objective").total_cmp(&number(b, "objective")));
    let best = best.expect("a row");
    let first =
        ended.stdout.lines().find(|line| line.trim_start().starts_with("1 ")).expect("rank 1");
    assert_eq!(first.split_whitespace().nth(1), Some(best["trial"].as_str()), "{}", ended.stdout);
    let winner: toml::Table = fs::read_to_string(root.join("best.toml")).unwrap().parse().unwrap();
    assert_eq!(winner["agent"]["gamma"].to_string(), best["agent.gamma"]);
    assert!(!winner.contains_key("sweep"));
    let ended = place.trainer(&["run", "runs/tiny/best.toml", "--quiet"]).expect(0, &[]);
    assert_eq!(ended.stdout, "");
    let repeated = summary(&place.path("runs/tiny_best/3"));
    let original = summary(&root.join(format!("trials/{}/3", best["trial"])));
    assert_eq!(repeated["eval"], original["eval"], "the winner's run, repeated");

    // A directory that holds a sweep is not mixed with another.
    let busy = ["runs/tiny: holds a sweep already", "trainer resume runs/tiny", "--overwrite"];
    place.trainer(&["run", "sweep.toml"]).expect(2, &busy);
    // Nothing is missing, so nothing is run; a run that is missing is, and no other.
    let before = written(&root, 4, &[3, 5]);
    assert_eq!(before.len(), 8);
    place.trainer(&["resume", "runs/tiny", "--quiet"]).expect(0, &[]);
    assert_eq!(written(&root, 4, &[3, 5]), before);
    fs::remove_dir_all(root.join("trials/2/5")).expect("a run is removed");
    place.trainer(&["resume", "runs/tiny", "--quiet"]).expect(0, &[]);
    let mut after = written(&root, 4, &[3, 5]);
    let missing = root.join("trials/2/5/summary.json");
    assert!(after.remove(&missing).expect("it is there again") > before[&missing]);
    assert!(after.iter().all(|(path, time)| before[path] == *time), "nothing is repeated");
    let flags =
        ["run", "sweep.toml", "--overwrite", "--quiet", "--set", "sweep.grid.agent.gamma=[0.5]"];
    place.trainer(&flags).expect(0, &[]);
    assert_eq!(column(&self::rows(root.join("results.csv")), "agent.gamma"), ["0.5", "0.5"]);
}

/// The commands of docs/sweeps.md on the shipped sweep, with fewer steps.
#[test]
fn the_shipped_sweep_runs() {
    let place = Place::new();
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/../configs/sweep_cartpole.toml");
    let checked = place.trainer(&["check", shipped]).expect(0, &[]);
    assert!(checked.stdout.contains("# 9 trials with 3 seeds each: 27 runs, 1347840 steps"));
    let short = ["--set", "total_steps=256", "--set", "eval.episodes=1", "--set", "sweep.seeds=1"];
    let ended = place.trainer(&[&["run", shipped], &short[..]].concat()).expect(0, &["9/9 runs"]);
    assert!(ended.stdout.contains("won with"), "{}", ended.stdout);
    place.trainer(&["resume", "runs/sweep_cartpole"]).expect(0, &[]);
    // One seed and no episode to its end: a metric that every iteration has.
    let plot = ["plot", "runs/sweep_cartpole/trials", "-o", "sweep.svg", "--metric", "train/kl"];
    place.trainer(&plot).expect(0, &[]);
    let picture = std::fs::read_to_string(place.path("sweep.svg")).unwrap();
    assert!(picture.contains("learning_rate 3e-3"), "the legend names what differs");
}

#[test]
fn both_algorithms_side_by_side() {
    let config = TINY.split("[agent]").next().unwrap().to_owned()
        + "[[sweep.grid.agent]]\nalgorithm = \"ppo\"\nclip_range = 0.3\n\
           [[sweep.grid.agent]]\nalgorithm = \"trpo\"\nmax_kl = 0.02\n";
    let place = Place::new();
    place.write("both.toml", config);
    let ended = place.trainer(&["run", "both.toml", "--out", "both"]).expect(0, &["agent=ppo"]);
    let ranks = |name| ended.stdout.lines().any(|row| row.split_whitespace().nth(2) == Some(name));
    assert!(ranks("ppo") && ranks("trpo"), "{}", ended.stdout);
    let algorithm =
        |trial| summary(&place.path(&format!("both/trials/{trial}/1")))["algorithm"].clone();
    assert_eq!([algorithm(1), algorithm(2)], ["ppo", "trpo"]);
}

#[test]
fn what_is_wrong_is_named_before_anything_starts() {
    refused("[sweep]\nseedz = 3", 2, &["sweep.seedz", "did you mean `seeds`"]);
    refused("[sweep]\nseeds = \"all\"", 2, &["sweep.seeds", "[1, 2, 3]"]);
    refused("[sweep]\nseeds = [1, 2, 1]", 2, &["sweep.seeds", "twice"]);
    refused("[sweep]\nseeds = 0", 2, &["sweep.seeds", "1 to 10000"]);
    refused("[sweep]\nobjective = \"best\"", 2, &["`best`", "best_return"]);
    refused("[sweep]\nobjective = \"steps_to_threshold\"", 2, &["threshold"]);
    refused("[sweep]\nthreshold = 3.0", 2, &["steps_to_threshold"]);
    refused("[sweep]\nshard = \"5/4\"", 2, &["sweep.shard", "2/4"]);
    refused("[sweep.grid]\n\"agent.gamma\" = 0.9", 2, &["sweep.grid.agent.gamma", "an array"]);
    refused("[sweep.grid]\n\"agent.gamma\" = []", 2, &["sweep.grid.agent.gamma", "is empty"]);
    refused("[sweep.grid]\n\"agent.gama\" = [0.9]", 2, &["agent.gama", "did you mean `gamma`"]);
    refused("[sweep.grid]\n\"agent.gamma\" = [0.9, 2.0]", 2, &["agent.gamma = 2", "from 0 to 1"]);
    refused("[sweep.grid]\n\"agent.max_kl\" = [0.1]", 2, &["agent.max_kl", "is a TRPO key"]);
    refused("[sweep.grid]\nseed = [1, 2]", 2, &["seed", "`seeds` in [sweep]"]);
    refused("[sweep.grid]\n\"agent..x\" = [1]", 2, &["`agent..x` is not a key"]);
    let twice = "[sweep.grid]\n\"agent.gamma\" = [0.9]\nagent.gamma = [0.5]";
    refused(twice, 3, &["agent.gamma", "given twice"]);
    let comment = "[sweep.grid]\n\"agent.gamma = 0.5 #\" = [0.9]";
    refused(comment, 2, &["`agent.gamma = 0.5 #` is not a key"]);
    // What is no value of a single experiment is none of a sweep's, although its trials get another.
    for (line, fragments) in [
        ("seed = \"abc\"", ["seed: ", "expected a whole number"]),
        ("seed = -3", ["seed: ", "`-3`"]),
        ("seed = 1.5", ["seed: ", "`1.5`"]),
        ("seed = true", ["seed: ", "`true`"]),
        ("seed = 18446744073709551615", ["seed: ", "9223372036854775807"]),
        ("name = 5", ["name: ", "a text in quotes"]),
        ("name = \"a/b\"", ["name: ", "a directory name can't have"]),
    ] {
        let place = Place::new();
        let rest = TINY.replace("name = \"tiny\"\n", "");
        place.write("head.toml", format!("\n{line}\n{rest}[sweep]\nseeds = 2\n"));
        let fragments = ["head.toml:2: ", fragments[0], fragments[1]];
        place.trainer(&["check", "head.toml"]).expect(2, &fragments);
    }
    // What does not go together is named with the trial that it does not go together in.
    let lines = "[sweep.grid]\n\"env.num_envs\" = [4]\n\"agent.rollout_steps\" = [32, 2]";
    place(lines).trainer(&["check", "sweep.toml"]).expect(
        2,
        &["sweep.toml:11: agent.minibatch_size: is 32", "in the trial rollout_steps=2 num_envs=4"],
    );
    let search = "[sweep.search]\ntrials = 3\n";
    refused(&format!("{search}method = \"bayes\""), 3, &["sweep.search.method", "random, tpe"]);
    refused(&format!("{search}trails = 3"), 3, &["sweep.search.trails", "`trials`"]);
    let space = |lines: &str| format!("{search}\"agent.gamma\" = {lines}");
    refused(&space("{ unifrom = [0.1, 0.2] }"), 3, &["`unifrom`", "did you mean `uniform`"]);
    refused(&space("{ uniform = [0.9, 0.1] }"), 3, &["sweep.search.agent.gamma", "rising"]);
    refused(&space("{ log_uniform = [0.0, 0.1] }"), 3, &["above 0"]);
    refused(&space("{ integer = [0.5, 1] }"), 3, &["whole numbers"]);
    refused(&space("{ uniform = [0.9, 1.5] }"), 3, &["agent.gamma = 1.5", "from 0 to 1"]);
    refused(&space("3"), 3, &["sweep.search.agent.gamma"]);
    refused(&format!("{}\n[sweep.grid]", space("{ uniform = [0.1, 0.2] }")), 1, &["one of them"]);

    let place = place("");
    place.trainer(&["run", "sweep.toml", "--jobs", "2"]).expect(2, &["--jobs 2", "no sweep"]);
    place.trainer(&["run", "sweep.toml", "--shard", "1/2"]).expect(2, &["--shard 1/2", "[sweep]"]);
    place.trainer(&["run", "sweep.toml", "--shard", "3/2"]).expect(2, &["INDEX/COUNT"]);
    let flags = ["run", "sweep.toml", "--set", "sweep.seeds=2", "--seed", "3"];
    place.trainer(&flags).expect(2, &["--seed", "sweep.seeds"]);
    let cartpole = TINY.replace("cliff", "cartpole") + "[sweep]\nobjective = \"success_rate\"\n";
    place.write("cartpole.toml", cartpole);
    place.trainer(&["check", "cartpole.toml"]).expect(2, &["cartpole.toml:17:", "succeeded"]);
}

#[test]
fn a_seed_is_read_as_everywhere_else() {
    let place = Place::new();
    place.write("hex.toml", format!("seed = 0x10\n{TINY}[sweep.grid]\n\"agent.gamma\" = [0.9]\n"));
    let checked = place.trainer(&["check", "hex.toml", "--json"]).expect(0, &[]);
    let json: serde_json::Value = serde_json::from_str(&checked.stdout).expect("JSON");
    assert_eq!(json["configuration"]["sweep"]["seeds"], serde_json::json!([16]));
}

/// The bounds are far from what it takes, and as far from what it took when every value was compared with
/// every other, and the whole file was read again for every trial.
#[test]
fn large_sweeps_are_checked_in_no_time() {
    let timed = |lines: &str, code: i32, fragments: &[&str]| {
        let place = place(lines);
        let begun = Instant::now();
        place.trainer(&["check", "sweep.toml"]).expect(code, fragments);
        begun.elapsed()
    };
    let values = |count: usize| -> String {
        (0..count).map(|i| format!("0.{i:06}")).collect::<Vec<_>>().join(", ")
    };
    let many = format!("[sweep.grid]\n\"agent.gamma\" = [{}]", values(200_000));
    let time = timed(&many, 2, &["sweep.grid.agent.gamma", "has more than 100000 values"]);
    assert!(time < Duration::from_secs(5), "refused after {time:?}");
    let trials = format!("[sweep.grid]\n\"agent.gamma\" = [{}]", values(10_000));
    let time = timed(&trials, 0, &[]);
    assert!(time < Duration::from_secs(4), "checked in {time:?}");
    // Each trial has an environment of its own.
    let lists = "[sweep.grid]\n\"env.parameters.slip_probability\" = ";
    let time = timed(&format!("{lists}[{}]", values(10_000)), 0, &[]);
    assert!(time < Duration::from_secs(4), "checked in {time:?}");
    // The last of them is found to be wrong, and named.
    let wrong = format!("{lists}[{}, 1.5]", values(9_999));
    let message =
        "with env.parameters.slip_probability = 1.5: env.parameters.slip_probability: is 1.5";
    let time = timed(&wrong, 2, &[message, "from 0 to 1"]);
    assert!(time < Duration::from_secs(4), "refused after {time:?}");
    let draws = "[sweep.search]\ntrials = 10_000\n\
                 env.parameters.fall_reward = { uniform = [-200, -50] }";
    let time = timed(draws, 0, &[]);
    assert!(time < Duration::from_secs(4), "checked in {time:?}");
}

/// How often [`Counted`] was made.
static MADE: AtomicUsize = AtomicUsize::new(0);

/// The cliff walk, and how often it was made.
#[derive(Clone)]
struct Counted(Cliff);

impl Parametric for Counted {
    type Parameters = CliffParameters;

    fn new(parameters: CliffParameters) -> Result<Self, ParameterError> {
        MADE.fetch_add(1, Ordering::Relaxed);
        Cliff::new(parameters).map(Counted)
    }
}

impl Environment for Counted {
    fn spec(&self) -> Spec {
        self.0.spec()
    }

    fn reset(&mut self, rng: &mut Rng) {
        self.0.reset(rng);
    }

    fn step(&mut self, action: Action<'_>, rng: &mut Rng) -> Step {
        self.0.step(action, rng)
    }

    fn observe(&self, observation: &mut [f32]) {
        self.0.observe(observation);
    }

    fn state(&self) -> Vec<f64> {
        self.0.state()
    }

    fn set_state(&mut self, state: &[f64]) -> Result<(), StateError> {
        self.0.set_state(state)
    }
}

/// To make an environment may mean to read a file.
#[test]
fn a_sweep_is_checked_with_each_environment_made_once() {
    let counted = Entry::with_parameters::<Counted>("counted", "made how often?");
    let registry = Registry::default().with_environment(counted);
    let grid = "[sweep.grid]\nagent.gamma = [0.5, 0.6, 0.7, 0.8, 0.9]\n\
                env.parameters.slip_probability = [0.1, 0.2, 0.3]\n";
    let text = TINY.replace("cliff", "counted") + grid;
    let source = Source::new(Path::new("counted.toml"), text, &[]);
    let sweep = Sweep::parse(&source).expect("a sweep").expect("a sweep");
    let trials = sweep.trials(&registry).expect("good ones");
    assert_eq!((trials.len(), MADE.load(Ordering::Relaxed)), (15, 3));
    let slips = |trial: usize| trials[trial].experiment.env.parameters["slip_probability"].clone();
    assert_eq!((slips(0), slips(4)), (0.1.into(), 0.2.into()));
    assert_eq!(slips(14), 0.3);
    let parameters = &trials[14].experiment.env.parameters;
    assert_eq!(parameters["fall_reward"], -100.0, "what is not given is filled in");
}

#[test]
fn a_trial_that_fails_is_recorded_and_the_sweep_goes_on() {
    let place = place("[sweep]\nseeds = 2\n[sweep.grid]\n\"agent.learning_rate\" = [1e-3, 1e-2]");
    // A run directory that is a file can't be made: as good a reason to fail as any, and a sure one.
    fs::create_dir_all(place.path("s/trials/2")).expect("a directory");
    fs::write(place.path("s/trials/2/1"), "").expect("a file");
    let ended = place.trainer(&["run", "sweep.toml", "--out", "s", "--jobs", "1"]);
    let ended = ended.expect(1, &["1 of 2 trials failed", "s/results.csv"]);
    assert!(ended.stdout.contains("trial 2 failed: seed 1: "), "{}", ended.stdout);
    let rows = rows(place.path("s/results.csv"));
    assert_eq!(column(&rows, "status"), ["finished", "failed"]);
    assert!(rows[1]["reason"].contains("is a file"), "{rows:?}");
    assert_eq!(rows[1]["objective"], "");
    // What was in the way is gone: what is missing is made up for.
    fs::remove_file(place.path("s/trials/2/1")).expect("it is removed");
    place.trainer(&["resume", "s", "--quiet"]).expect(0, &[]);
    assert_eq!(column(&self::rows(place.path("s/results.csv")), "status"), ["finished"; 2]);
}

#[test]
fn a_winner_is_confirmed_on_fresh_seeds() {
    let place = place(
        "[sweep]\nseeds = [2, 7]\nconfirm_seeds = 2\nobjective = \"steps_to_threshold\"\n\
         threshold = -1000.0\n[sweep.grid]\n\"agent.gamma\" = [0.9, 0.99]",
    );
    let ended = place.trainer(&["run", "sweep.toml"]).expect(0, &[]);
    assert!(ended.stdout.contains("won with") && ended.stdout.contains("8,9"), "{}", ended.stdout);
    let rows = rows(place.path("runs/tiny/confirm.csv"));
    assert_eq!(column(&rows, "winner"), ["won", "confirmed"]);
    // Every evaluation is better than that, so the first one reaches it.
    assert_eq!(column(&rows, "objective"), ["128", "128"]);
    for seed in [8, 9] {
        let run = summary(&place.path(&format!("runs/tiny/confirm/{seed}")));
        assert_eq!(run["seed"], seed);
    }
    place.trainer(&["resume", "runs/tiny", "--quiet"]).expect(0, &[]);
}

#[test]
fn a_search_is_the_same_for_the_same_seed_and_any_number_of_jobs() {
    for method in ["random", "tpe"] {
        let place = place(&format!(
            "[sweep.search]\ntrials = 12\nmethod = \"{method}\"\n\
             agent.learning_rate = {{ log_uniform = [1e-4, 1e-1] }}\n\
             agent.epochs = {{ integer = [1, 4] }}\nagent.rollout_steps = {{ choice = [16, 32] }}"
        ));
        let run = |out: &str, flags: &[&str]| {
            place
                .trainer(&[&["run", "sweep.toml", "--quiet", "--out", out], flags].concat())
                .expect(0, &[]);
            let rows = rows(place.path(&format!("{out}/results.csv")));
            assert_eq!(column(&rows, "status"), vec!["finished"; 12]);
            ["agent.learning_rate", "agent.epochs", "agent.rollout_steps", "objective"]
                .map(|name| column(&rows, name))
        };
        let one = run("a", &["--jobs", "1"]);
        assert_eq!(one, run("b", &["--jobs", "4"]), "{method}");
        assert_ne!(one, run("c", &["--set", "sweep.search.seed=2"]), "{method}");
    }
}

#[test]
fn shards_put_together_are_the_whole() {
    let place = place("[sweep]\nseeds = 2\n[sweep.grid]\n\"agent.gamma\" = [0.8, 0.9, 0.95]");
    place.trainer(&["run", "sweep.toml", "--out", "whole", "--quiet"]).expect(0, &[]);
    place.trainer(&["run", "sweep.toml", "--shard", "1/2", "--quiet"]).expect(0, &[]);
    let collect = ["collect", "runs/tiny-shard-1-of-2"];
    let ended = place.trainer(&collect).expect(0, &[]);
    assert!(ended.stdout.contains("1 of 3 trials are missing"), "{}", ended.stdout);
    place.trainer(&["run", "sweep.toml", "--shard", "2/2", "--quiet"]).expect(0, &[]);
    assert!(place.path("runs/tiny-shard-2-of-2/trials/2").is_dir());
    assert!(!place.path("runs/tiny-shard-2-of-2/trials/1").exists());
    let ended = place.trainer(&["collect", "runs/tiny-shard-1-of-2", "runs/tiny-shard-2-of-2"]);
    assert!(!ended.expect(0, &[]).stdout.contains("missing"));
    let [whole, parts] =
        ["whole", "runs/tiny"].map(|root| rows(place.path(root).join("results.csv")));
    for name in ["trial", "status", "agent.gamma", "objective", "eval.mean_length"] {
        assert_eq!(column(&whole, name), column(&parts, name), "{name}");
    }
    let best = |root: &str| fs::read_to_string(place.path(root).join("best.toml")).unwrap();
    assert_eq!(best("whole"), best("runs/tiny"));
    // What is put together is a sweep like any other.
    place.trainer(&["resume", "runs/tiny", "--quiet"]).expect(0, &[]);
    let other = place.trainer(&["collect", "whole", "nowhere"]);
    other.expect(2, &["nowhere: holds no sweep; give the directories of its parts"]);
    place.write("other.toml", format!("{TINY}[sweep.grid]\n\"agent.gamma\" = [0.1]\n"));
    place.trainer(&["run", "other.toml", "--out", "other", "--quiet"]).expect(0, &[]);
    place
        .trainer(&["collect", "whole", "other", "--out", "x"])
        .expect(2, &["other: is not a part"]);
}

/// Steps that a run has done.
fn rows_done(run: &Path) -> usize {
    fs::read_to_string(run.join("metrics.csv")).map_or(0, |text| text.lines().count())
}

fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < PATIENCE, "{what} does not come");
        sleep(Duration::from_millis(10));
    }
}

/// A second a run or more, so that there is time to disturb it.
fn long(lines: &str) -> Place {
    let place = Place::new();
    let config = TINY.replace("= 512", "= 300_000").replace("every_steps = 128", "every_steps = 0");
    place.write("sweep.toml", format!("{config}{lines}\n"));
    place
}

#[cfg(unix)]
#[test]
fn an_interrupted_or_killed_sweep_goes_on_where_it_was() {
    for (signal, code) in [("-INT", Some(130)), ("-KILL", None)] {
        let place = long("[sweep]\nseeds = 2\n[sweep.grid]\n\"agent.gamma\" = [0.9, 0.99]");
        let flags = ["run", "sweep.toml", "--out", "s", "--jobs", "2", "--quiet"];
        let mut child =
            place.command(&flags).stderr(Stdio::piped()).spawn().expect("the trainer starts");
        let runs = [place.path("s/trials/1/1"), place.path("s/trials/1/2")];
        wait_for("a first checkpoint", || runs.iter().all(|run| rows_done(run) > 3));
        let kill = Command::new("kill").args([signal, &child.id().to_string()]).status();
        assert!(kill.expect("kill starts").success());
        let status = child.wait().expect("it ends");
        assert_eq!(status.code(), code, "{signal}");
        let mut stderr = String::new();
        child.stderr.take().expect("a pipe").read_to_string(&mut stderr).expect("text");
        let message = "interrupted with 0 of 4 runs finished; go on with\n  trainer resume s";
        assert_eq!(stderr.contains(message), code.is_some(), "{signal}: {stderr}");
        // Its runs stop with a checkpoint, also when nobody was left to tell them.
        assert!(runs.iter().all(|run| !run.join("summary.json").exists()), "{signal}: too late");
        place.trainer(&["resume", "s", "--quiet"]).expect(0, &[]);
        let rows = rows(place.path("s/results.csv"));
        assert_eq!(column(&rows, "status"), ["finished"; 2]);
        // An event file a process that worked on a run: the first run was resumed, not repeated.
        let names = fs::read_dir(&runs[0]).expect("a run").map(|entry| entry.unwrap().file_name());
        let events = names.filter(|name| name.to_string_lossy().contains("tfevents")).count();
        assert_eq!(events, 2, "{signal}");
        let one = ["--set", "sweep.seeds=1", "--set", "sweep.grid.agent.gamma=[0.9]"];
        let flags = [&["run", "sweep.toml", "--out", "u", "--quiet"][..], &one].concat();
        place.trainer(&flags).expect(0, &[]);
        let [a, b] = ["s", "u"].map(|root| summary(&place.path(root).join("trials/1/1")));
        assert_eq!(a["eval"], b["eval"], "{signal}: as if nothing had happened");
    }
}

#[test]
fn the_median_pruner_stops_what_is_without_hope() {
    // Four that learn, and one whose learning rate is 0.
    let place = long(
        "[sweep]\npruner = \"median\"\n[sweep.grid]\n\
         \"agent.learning_rate\" = [1e-1, 9e-2, 8e-2, 7e-2, 0.0]",
    );
    let ended = place.trainer(&["run", "sweep.toml", "--out", "s", "--jobs", "1"]).expect(0, &[]);
    let rows = rows(place.path("s/results.csv"));
    assert_eq!(rows[4]["status"], "pruned", "{rows:?}");
    assert!(rows[4]["reason"].contains("median of"), "{rows:?}");
    assert!(column(&rows, "status").iter().filter(|status| *status == "finished").count() >= 2);
    assert!(ended.stdout.contains("trial 5 pruned: seed 1 at "), "{}", ended.stdout);
    assert!(!place.path("s/trials/5/1/summary.json").exists());
    // A pruned trial is done with.
    place.trainer(&["resume", "s", "--quiet"]).expect(0, &[]);
    assert!(!place.path("s/trials/5/1/summary.json").exists());
}
