//! Parameters of environments, and what else a task is made of, from the configuration to every place where
//! a run is used; and the terms of the reward that it logs.

mod support;

use agents::{Agent, Collector, PpoConfig, TrainingConfig, evaluate};
use envs::{
    Action, Entry, Environment, Environments, ParameterError, Parametric, Rng, Space, Spec,
    StateError, Step, Task, TaskConfig, VectorEnv,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use support::Place;

/// A run of half a second of a policy that learns nothing in it. The pole drifts: nothing pulls and nothing
/// pushes it, so that each episode lasts as long as it may, where it falls earlier otherwise.
const DRIFT: &str = "\
total_steps = 512
[env]
name = \"cartpole\"
num_envs = 2
max_episode_steps = 150
[env.parameters]
gravity = 0
force = 0
[agent]
algorithm = \"ppo\"
rollout_steps = 256
minibatch_size = 256
epochs = 1
[eval]
episodes = 3
";

/// The rows of a CSV file, each by the names of its columns.
fn rows(path: &Path) -> Vec<BTreeMap<String, String>> {
    let mut reader = csv::Reader::from_path(path).expect("the table is there");
    let header = reader.headers().expect("a header").clone();
    let row = |row: csv::StringRecord| {
        header.iter().zip(&row).map(|(name, cell)| (name.to_owned(), cell.to_owned())).collect()
    };
    reader.records().map(|record| row(record.expect("a whole row"))).collect()
}

fn summary(run: &Path) -> Value {
    let text = fs::read_to_string(run.join("summary.json")).expect("a finished run");
    serde_json::from_str(&text).expect("JSON")
}

/// The numbers of a tensor in a safetensors file.
fn tensor(path: &Path, name: &str) -> Vec<f32> {
    let bytes = fs::read(path).expect("the file");
    let (length, rest) = bytes.split_first_chunk().expect("a header");
    let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let header: Value = serde_json::from_slice(header).expect("JSON");
    let offset = |end: usize| header[name]["data_offsets"][end].as_u64().expect("one") as usize;
    let numbers = data[offset(0)..offset(1)].chunks_exact(4);
    numbers.map(|four| f32::from_le_bytes(four.try_into().expect("four"))).collect()
}

#[test]
fn whatever_is_done_with_a_run_is_done_in_its_own_environment() {
    let place = Place::new();
    place.write("drift.toml", DRIFT);
    let run = |out: &str, flags: &[&str]| {
        let arguments = ["run", "drift.toml", "--quiet", "--out", out];
        place.trainer(&[&arguments, flags].concat()).expect(0, &[]);
    };
    let usual = ["--set", "env.parameters={}", "--set", "env.max_episode_steps=500"];
    run("drift", &[]);
    run("usual", &usual);
    let length = |run: &str| summary(&place.path(run))["eval"]["mean_length"].as_f64();
    assert_eq!(length("drift"), Some(150.0));
    assert!(length("usual").is_some_and(|length| length < 140.0), "{:?}", length("usual"));
    let trained = rows(&place.path("drift/metrics.csv"));
    assert_eq!(trained[0]["rollout/ep_len_mean"], "150");

    let config = fs::read_to_string(place.path("drift/config.toml")).expect("the configuration");
    let config: toml::Table = config.parse().expect("TOML");
    let parameters = config["env"]["parameters"].as_table().expect("parameters");
    assert_eq!((parameters.len(), parameters["force"].as_float()), (9, Some(0.0)));

    let eval = place.trainer(&["eval", "drift", "--episodes", "5", "--seed", "9", "--json"]);
    let eval: Value = serde_json::from_str(&eval.expect(0, &[]).stdout).expect("JSON");
    assert_eq!(eval["mean_length"], 150.0);
    place.trainer(&["replay", "drift", "--episodes", "1", "--gif", "x.gif"]).expect(0, &[]);
    let file = fs::File::open(place.path("x.gif")).expect("the GIF");
    let mut gif = gif::DecodeOptions::new().read_info(file).expect("a GIF");
    let mut hundredths = 0;
    while let Some(frame) = gif.read_next_frame().expect("a whole GIF") {
        hundredths += u32::from(frame.delay);
    }
    assert_eq!(hundredths, 300 + 100, "150 steps of 20 ms, and a second at the end");
    place.trainer(&["report", "drift", "-o", "report.html"]).expect(0, &[]);
    let page = fs::read_to_string(place.path("report.html")).expect("the page");
    let (_, rest) = page.split_once("id=\"data\">").expect("the page has data");
    let (data, _) = rest.split_once("</script>").expect("the data ends");
    let data: Value = serde_json::from_str(data).expect("JSON");
    let frames = data["replays"][0]["episodes"][0]["rewards"].as_array().map(Vec::len);
    assert_eq!(frames, Some(150), "{:?}", data["replays"][0]["episodes"][0]);
    assert!(page.contains("env.parameters.force"), "the configuration is on the page");

    // A run that goes on does so in the same environment.
    place.trainer(&["resume", "drift", "--quiet", "--set", "total_steps=1024"]).expect(0, &[]);
    assert_eq!(
        (length("drift"), summary(&place.path("drift"))["steps"].as_u64()),
        (Some(150.0), Some(1024))
    );
    assert_eq!(rows(&place.path("drift/metrics.csv"))[1]["rollout/ep_len_mean"], "150");

    // Another one may begin with what it has learned, whatever its own environment is.
    run("warm", &[&usual[..], &["--set", "warm_start=drift"]].concat());
    assert!(length("warm").is_some_and(|length| length < 140.0), "{:?}", length("warm"));
}

#[test]
fn an_exported_policy_has_the_bounds_of_its_own_environment() {
    let place = Place::new();
    let config =
        DRIFT.replace("cartpole", "pendulum").replace("gravity = 0\nforce = 0", "max_torque = 5");
    place.write("strong.toml", config);
    place.trainer(&["run", "strong.toml", "--quiet", "--out", "strong"]).expect(0, &[]);
    place.trainer(&["export", "strong", "--format", "safetensors"]).expect(0, &[]);
    let file = place.path("strong/policy.safetensors");
    assert_eq!(
        (tensor(&file, "action.low"), tensor(&file, "action.high")),
        (vec![-5.0], vec![5.0])
    );
}

#[test]
fn a_sweep_sweeps_parameters() {
    let place = Place::new();
    let sweep = |name: &str, table: &str| {
        place.write(&format!("{name}.toml"), format!("{DRIFT}{table}\n"));
        place.trainer(&["run", &format!("{name}.toml"), "--quiet"]).expect(0, &[]);
        let rows = rows(&place.path(&format!("runs/{name}/results.csv")));
        rows.into_iter()
            .map(|row| {
                assert_eq!(row["status"], "finished", "{row:?}");
                let path = format!("runs/{name}/trials/{}/1/config.toml", row["trial"]);
                let text = fs::read_to_string(place.path(&path)).expect("the configuration");
                let config: toml::Table = text.parse().expect("TOML");
                (row, config["env"].clone())
            })
            .collect::<Vec<_>>()
    };
    let length = |row: &BTreeMap<String, String>| row["eval.mean_length"].parse::<f64>().ok();

    let grid = sweep(
        "grid",
        "[sweep.grid]\nenv.parameters.force = [0, { choice = [0, 0.0] }, 1000]\n\
         \"env.max_episode_steps\" = [40, 50]",
    );
    let lengths: Vec<Option<f64>> = grid.iter().map(|(row, _)| length(row)).collect();
    // The last key changes fastest; the keys are in order of the alphabet.
    assert_eq!(lengths[..2], [Some(40.0), Some(40.0)]);
    assert_eq!(lengths[3..5], [Some(50.0), Some(50.0)]);
    for strong in [2, 5] {
        assert!(lengths[strong].is_some_and(|length| length < 20.0), "{lengths:?}");
    }
    let (row, env) = &grid[1];
    assert_eq!(row["env.parameters.force"], "{ choice = [0, 0.0] }");
    assert_eq!(env["parameters"]["force"].to_string(), "{ choice = [0.0, 0.0] }");
    assert_eq!(env["parameters"]["gravity"].as_float(), Some(0.0));

    let search = sweep(
        "search",
        "[sweep.search]\ntrials = 4\nenv.parameters.force = { uniform = [0, 1000] }\n\
         \"env.parameters.pole_mass\" = { choice = [0.1, { uniform = [0.1, 0.2] }] }",
    );
    let mut drawn = Vec::new();
    for (row, env) in &search {
        let force = env["parameters"]["force"].as_float().expect("a number");
        assert_eq!(row["env.parameters.force"].parse(), Ok(force), "{row:?}");
        drawn.push((force, env["parameters"]["pole_mass"].to_string()));
    }
    assert!(drawn.iter().all(|(force, _)| (0.0..=1000.0).contains(force)), "{drawn:?}");
    assert!(drawn.windows(2).all(|pair| pair[0].0 != pair[1].0), "{drawn:?}");

    // Groups of the trials are named after what differs.
    let compared = place.trainer(&["compare", "runs/grid/trials"]).expect(0, &[]);
    assert!(compared.stdout.contains("max_episode_steps 40, force 0  "), "{}", compared.stdout);

    // What is wrong is named before anything starts, with the line of the sweep.
    for (line, fragment) in [
        (
            "env.parameters.force = [1, -1]",
            "with env.parameters.force = -1: env.parameters.force: is -1",
        ),
        ("env.parameters.forse = [1]", "did you mean `force`?"),
        ("env.name = ['reach']", "is a parameter of cartpole, and env.name is reach"),
    ] {
        place.write("bad.toml", format!("{DRIFT}[sweep.grid]\n{line}\n"));
        place.trainer(&["run", "bad.toml"]).expect(2, &["bad.toml:", fragment]);
    }
    place.write(
        "bad.toml",
        format!(
            "{DRIFT}[sweep.search]\ntrials = 9\nenv.parameters.force = {{ uniform = [0, 1e6] }}\n"
        ),
    );
    place.trainer(&["run", "bad.toml"]).expect(2, &["bad.toml:18: ", "from 0 to 100000"]);
    assert!(!place.path("runs/bad").exists(), "nothing is left of a sweep that never began");
}

fn task(name: &str, config: Value) -> Task {
    let config: TaskConfig = serde_json::from_value(config).expect("a task's configuration");
    Environments::default()
        .get(name)
        .expect("a built-in environment")
        .task(&config)
        .expect("a task")
}

fn agent(task: &Task) -> Agent {
    let ppo = PpoConfig { rollout_steps: 300, ..PpoConfig::default() };
    let config = TrainingConfig { seed: 5, ..TrainingConfig::new(ppo) };
    config.agent(task.spec()).expect("an agent")
}

/// An episode is one step, whose reward is the parameter.
#[derive(Clone)]
struct Told(ToldParameters);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct ToldParameters {
    /// The reward.
    #[schemars(range(min = 0.0, max = 1.0))]
    reward: f64,
}

impl Default for ToldParameters {
    fn default() -> Self {
        ToldParameters { reward: 0.5 }
    }
}

impl Parametric for Told {
    type Parameters = ToldParameters;

    fn new(parameters: ToldParameters) -> Result<Self, ParameterError> {
        Ok(Told(parameters))
    }
}

impl Environment for Told {
    fn spec(&self) -> Spec {
        Spec::new(Space::symmetric_box(1, 1.0), Space::Discrete { n: 2 }, 1)
    }

    fn reset(&mut self, _rng: &mut Rng) {}

    fn step(&mut self, _action: Action<'_>, _rng: &mut Rng) -> Step {
        Step { reward: self.0.reward, terminated: true, ..Step::default() }
    }

    fn observe(&self, observation: &mut [f32]) {
        observation[0] = 0.0;
    }

    fn state(&self) -> Vec<f64> {
        Vec::new()
    }

    fn set_state(&mut self, state: &[f64]) -> Result<(), StateError> {
        StateError::read::<0>(state).map(drop)
    }
}

#[test]
fn an_evaluation_draws_parameters_from_seeds_of_its_own() {
    let entry = Entry::with_parameters::<Told>("told", "");
    let config = json!({ "parameters": { "reward": { "uniform": [0.0, 1.0] } } });
    let config: TaskConfig = serde_json::from_value(config).expect("a task's configuration");
    let task = entry.task(&config).expect("a task");
    let agent = agent(&task);
    let evaluated = |episodes, seed| -> Vec<f64> {
        let evaluation = evaluate(agent.actor(), &task, episodes, seed, true).expect("finite");
        evaluation.episodes().iter().map(|episode| episode.episode_return).collect()
    };
    let drawn = evaluated(20, 7);
    assert!(drawn.iter().all(|reward| (0.0..=1.0).contains(reward)), "{drawn:?}");
    assert!((0..20).all(|i| !drawn[..i].contains(&drawn[i])), "an episode, a draw: {drawn:?}");
    // The same for every policy and however often it is asked; an episode's is its own.
    assert_eq!(evaluated(20, 7), drawn);
    assert_eq!(evaluated(5, 7), drawn[..5]);
    assert!(evaluated(20, 8).iter().all(|reward| !drawn.contains(reward)));
    // Training with the same seed draws others.
    let mut training = VectorEnv::new(&task, 7, 0, 20);
    for _ in 0..20 {
        let transitions = training.step(&[0.0; 20]);
        assert!(transitions.iter().all(|transition| !drawn.contains(&transition.reward)));
    }
}

#[test]
fn the_terms_of_the_reward_sum_to_it() {
    let disturbed = json!({
        "max_episode_steps": 40, "observation_noise": 0.1, "action_delay": 2, "action_repeat": 3,
    });
    for (name, names, config) in [
        ("pendulum", &["angle", "velocity", "torque"][..], json!({})),
        ("reach", &["distance", "effort", "grasp"], json!({})),
        ("reach", &["distance", "effort", "grasp"], disturbed),
        ("cartpole", &[], json!({})),
    ] {
        let task = task(name, config);
        let mean = |rewards: &[f32]| {
            rewards.iter().map(|&reward| f64::from(reward)).sum::<f64>() / rewards.len() as f64
        };
        let rollouts = [false, true].map(|normalizes| {
            let mut agent = agent(&task);
            let envs = VectorEnv::new(&task, 5, 0, 4);
            let mut collector = Collector::new(envs, &mut agent, normalizes, 5).expect("finite");
            // Of the last rollout alone.
            for _ in 0..2 {
                collector.collect(&mut agent).expect("finite");
            }
            let terms = collector.reward_terms();
            let terms: Vec<(String, f64)> = terms.map(|(name, mean)| (name.into(), mean)).collect();
            (terms, mean(&collector.batch(&agent).expect("finite").reward().rewards))
        });
        let [(terms, reward), (of_normalized, normalized)] = &rollouts;
        assert_eq!(terms, of_normalized, "whatever normalises rewards");
        assert_eq!(terms.iter().map(|(name, _)| name).collect::<Vec<_>>(), names);
        if names.is_empty() {
            continue;
        }
        assert!((reward - normalized).abs() > 1e-3, "{name}: rewards are not normalised");
        let sum: f64 = terms.iter().map(|(_, mean)| mean).sum();
        assert!((sum - reward).abs() < 1e-5 * reward.abs(), "{name}: {terms:?} and {reward}");

        let evaluation = evaluate(agent(&task).actor(), &task, 7, 5, false).expect("finite");
        let sum: f64 = evaluation.reward_terms().map(|(_, mean)| mean).sum();
        let a_step = evaluation.mean_return() / evaluation.mean_length();
        assert!((sum - a_step).abs() < 1e-9 * a_step.abs(), "{name}: {sum} and {a_step}");
        assert_eq!(evaluation.reward_terms().map(|(name, _)| name).collect::<Vec<_>>(), names);
        if name == "reach" {
            let (_, effort) = evaluation.reward_terms().nth(1).expect("it is there");
            assert!((-0.1..-0.001).contains(&effort), "{effort} of -0.01 |action|^2");
        }
    }
}

#[test]
fn the_terms_of_the_reward_are_logged() {
    let place = Place::new();
    let run = |name: &str| {
        let config = DRIFT.replace("cartpole", name).replace("gravity = 0\nforce = 0", "");
        place.write("run.toml", config);
        let ended =
            place.trainer(&["run", "run.toml", "--overwrite", "--out", name]).expect(0, &[]);
        (
            rows(&place.path(&format!("{name}/metrics.csv"))),
            summary(&place.path(name)),
            ended.stdout,
        )
    };
    let terms = ["distance", "effort", "grasp"];
    let (rows, summary, table) = run("reach");
    let header = fs::read_to_string(place.path("reach/metrics.csv")).expect("the metrics");
    let expected = "rollout/success_rate,reward/distance,reward/effort,reward/grasp,train/";
    assert!(header.contains(expected), "{header}");
    for row in &rows {
        let means =
            terms.map(|name| row[&format!("reward/{name}")].parse::<f64>().expect("a number"));
        assert!(means[0] < 0.0 && means[1] < 0.0 && means[2] >= 0.0, "{row:?}");
    }
    let files = fs::read_dir(place.path("reach")).expect("the run");
    let events = files.map(|entry| entry.expect("an entry").path()).find(|path| {
        path.file_name().is_some_and(|name| name.to_string_lossy().contains("tfevents"))
    });
    let events = fs::read(events.expect("events")).expect("they are read");
    for name in terms {
        let tag = format!("reward/{name}");
        let found = events.windows(tag.len()).filter(|bytes| *bytes == tag.as_bytes()).count();
        assert_eq!(found, rows.len(), "{tag}");
    }
    let eval = &summary["eval"];
    let means = terms.map(|name| eval["reward_terms"][name].as_f64().expect("a mean"));
    let a_step = eval["mean_return"].as_f64().zip(eval["mean_length"].as_f64());
    let a_step = a_step.map(|(whole, length)| whole / length).expect("an evaluation");
    assert!((means.iter().sum::<f64>() - a_step).abs() < 1e-9, "{eval}");
    let line = format!(
        "  reward      distance {:.3}, effort {:.3}, grasp {:.3} a step",
        means[0], means[1], means[2]
    );
    assert!(table.contains(&line), "{line} in {table}");
    let again = place.trainer(&["eval", "reach", "--json"]).expect(0, &[]);
    let again: Value = serde_json::from_str(&again.stdout).expect("JSON");
    assert_eq!(again["reward_terms"], eval["reward_terms"]);

    // Where the reward is one term, there is nothing to say.
    let (rows, summary, table) = run("cartpole");
    assert!(rows[0].keys().all(|name| !name.starts_with("reward/")), "{rows:?}");
    assert!(summary["eval"].get("reward_terms").is_none(), "{summary}");
    assert!(!table.contains("a step"), "{table}");
}
