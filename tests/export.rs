//! Exported policies: what Python makes of the files is what the trainer itself does.

mod support;

use agents::{Activation, Actor, Agent, ExportFormat, NetworkConfig, TrainingConfig, record};
use envs::{Environments, ObservationNormalizer, Rng, Space, Spec, Stream, Task, stream};
use rand::RngExt;
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use support::{Place, python};
use trainer::Trained;

/// Observations of each policy: half from episodes, half at random, where there are episodes.
const OBSERVATIONS: usize = 1000;

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs")
}

/// Trains a policy for a few iterations.
fn train(place: &Place, name: &str, environment: &str, algorithm: &str, lines: &str) {
    let config = format!(
        "name = '{name}'\ntotal_steps = 4096\neval.episodes = 1\nenv.name = '{environment}'\n\
         agent.algorithm = '{algorithm}'\n{lines}\n"
    );
    place.write("config.toml", config);
    place.trainer(&["run", "config.toml", "--quiet", "--out", name]).expect(0, &[]);
}

/// The trainer's own actions.
fn own_actions(actor: &Actor, space: &Space, observations: &[Vec<f32>]) -> Vec<Vec<f32>> {
    let act = |row: &Vec<f32>| actor.act(space, row, None).expect("finite");
    observations.iter().map(act).collect()
}

/// Observations from the trainer's own episodes, then ones that no episode has.
fn observations(actor: &Actor, task: &Task) -> Vec<Vec<f32>> {
    let mut observations = Vec::new();
    for episode in 0.. {
        let left = OBSERVATIONS / 2 - observations.len();
        let mut recording = record(actor, task, 1, episode, true, left).expect("a finite episode");
        recording.observations.truncate(recording.actions.len());
        observations.extend(recording.observations);
        if observations.len() == OBSERVATIONS / 2 {
            break;
        }
    }
    let width = actor.policy().observation_width();
    observations.extend(random(width, OBSERVATIONS / 2, 5.0));
    observations
}

fn random(width: usize, rows: usize, bound: f32) -> Vec<Vec<f32>> {
    let mut rng: Rng = stream(1, Stream::Sampling(0));
    let mut row = || (0..width).map(|_| rng.random_range(-bound..bound)).collect();
    (0..rows).map(|_| row()).collect()
}

/// A policy in two files, and what it should do.
struct Case {
    name: &'static str,
    files: [PathBuf; 2],
    observations: Vec<Vec<f32>>,
    actions: Vec<Vec<f32>>,
    space: Space,
}

impl Case {
    /// A run, exported by the command.
    fn of_run(place: &Place, name: &'static str) -> Case {
        let export = |format: &str| {
            let ended = place.trainer(&["export", name, "--format", format]).expect(0, &[]);
            let path = format!("{name}/policy.{format}");
            assert!(ended.stdout.starts_with(&format!("wrote {path}, ")), "{}", ended.stdout);
            place.path(&path)
        };
        let Trained { agent, task, .. } =
            Trained::read(place.path(name), &Environments::default().into())
                .expect("a trained policy");
        let observations = observations(agent.actor(), &task);
        let space = task.spec().action_space.clone();
        let actions = own_actions(agent.actor(), &space, &observations);
        Case { name, files: ["safetensors", "onnx"].map(export), observations, actions, space }
    }

    /// A policy that no built-in environment has, exported by the library.
    fn of_agent(
        place: &Place,
        name: &'static str,
        agent: &Agent,
        space: Space,
        observations: Vec<Vec<f32>>,
    ) -> Case {
        let policy = agent.actor().greedy(&space);
        let files = [ExportFormat::Safetensors, ExportFormat::Onnx].map(|format| {
            let content = format.encode(&policy, &[("environment", name.into())]).expect("content");
            place.write(&format!("{name}.{}", format.extension()), content)
        });
        let actions = own_actions(agent.actor(), &space, &observations);
        Case { name, files, observations, actions, space }
    }
}

/// Asks Python, which must do what the trainer does.
fn check(cases: &[Case]) -> Vec<Value> {
    let questions: Vec<Value> = cases
        .iter()
        .map(|case| {
            json!({
                "safetensors": case.files[0],
                "onnx": case.files[1],
                "observations": case.observations,
            })
        })
        .collect();
    let mut process = Command::new(python())
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/export.py"))
        .arg(docs().join("examples"))
        // The book's folder stays as it is.
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Python starts");
    let mut stdin = process.stdin.take().expect("a pipe");
    stdin.write_all(Value::from(questions).to_string().as_bytes()).expect("Python reads");
    drop(stdin);
    let output = process.wait_with_output().expect("Python ends");
    assert!(output.status.success(), "Python failed");
    let answers: Vec<Value> = serde_json::from_slice(&output.stdout).expect("answers");

    for (case, answer) in cases.iter().zip(&answers) {
        for format in ["numpy", "onnx"] {
            let actions: Vec<Vec<f64>> =
                serde_json::from_value(answer[format]["actions"].clone()).expect("actions");
            assert_eq!(actions.len(), OBSERVATIONS);
            let mut largest: f64 = 0.0;
            for (found, expected) in actions.iter().zip(&case.actions) {
                assert_eq!(found.len(), expected.len());
                for (found, expected) in found.iter().zip(expected) {
                    largest = largest.max((found - f64::from(*expected)).abs());
                }
            }
            println!("{} by {format}: largest difference {largest:.1e}", case.name);
            let tolerance = if matches!(case.space, Space::Discrete { .. }) { 0.0 } else { 1e-5 };
            assert!(largest <= tolerance, "{} by {format}: {largest}", case.name);
        }
        let observation = case.observations[0].len();
        let input = json!(["observation", "tensor(float)", ["batch", observation]]);
        assert_eq!(answer["onnx"]["input"], input);
        let output = match case.space {
            Space::Discrete { .. } => json!(["action", "tensor(int64)", ["batch"]]),
            Space::Box { .. } => {
                json!(["action", "tensor(float)", ["batch", case.space.width()]])
            }
        };
        assert_eq!(answer["onnx"]["output"], output);
    }
    answers
}

/// How many different actions are among these, a sign that the comparison says something.
fn distinct(actions: &[Vec<f32>]) -> usize {
    let mut bits: Vec<Vec<u32>> =
        actions.iter().map(|action| action.iter().map(|x| x.to_bits()).collect()).collect();
    bits.sort();
    bits.dedup();
    bits.len()
}

#[test]
fn python_gets_the_trainers_own_actions_from_both_files() {
    let place = Place::new();
    let normalize = "env.normalize_observations = true";
    train(&place, "plain", "cartpole", "ppo", "");
    train(&place, "normalized", "pendulum", "ppo", normalize);
    train(&place, "squashed", "reach", "trpo", &format!("{normalize}\nnetwork.squash = true"));
    train(&place, "relu", "pendulum", "trpo", "network.activation = 'relu'");
    train(&place, "linear", "cliff", "ppo", "network.hidden = []");
    let names = ["plain", "normalized", "squashed", "relu", "linear"];
    let cases = names.map(|name| Case::of_run(&place, name));
    for case in &cases {
        let enough = if matches!(case.space, Space::Discrete { .. }) { 2 } else { 500 };
        assert!(distinct(&case.actions) >= enough, "{} does always the same", case.name);
    }
    let answers = check(&cases);

    let has = |case: usize, tensor: &str| {
        answers[case]["numpy"]["tensors"].as_array().is_some_and(|all| all.contains(&tensor.into()))
    };
    let normalizes: Vec<bool> = (0..5).map(|case| has(case, "observation.mean")).collect();
    assert_eq!(normalizes, [false, true, true, false, false]);
    let squashes: Vec<bool> = (0..5).map(|case| has(case, "action.center")).collect();
    assert_eq!(squashes, [false, false, true, false, false]);

    let expected = [
        ("environment", "reach"),
        ("algorithm", "trpo"),
        ("experiment", "squashed"),
        ("seed", "1"),
        ("checkpoint", "step-000000004096.ckpt"),
        ("backburn", env!("CARGO_PKG_VERSION")),
    ];
    for (key, value) in expected {
        for format in ["numpy", "onnx"] {
            assert_eq!(answers[2][format]["about"][key], value, "{key} by {format}");
        }
    }
    let about = &answers[3]["numpy"]["about"];
    assert_eq!([&about["format"], &about["layers"]], [1, 3]);
    assert_eq!([&about["activation"], &about["actions"]], ["relu", "continuous"]);
}

/// An untrained agent with weights of a size that training leads to.
fn agent(network: &NetworkConfig, normalize: bool, spaces: [&Space; 2]) -> Agent {
    let config = TrainingConfig {
        network: network.clone(),
        normalize_observations: normalize,
        ..TrainingConfig::default()
    };
    let [observations, actions] = spaces.map(Space::clone);
    let spec = Spec::new(observations, actions, 1);
    let mut agent = config.agent(&spec).expect("an agent");
    let mut state = agent.state().expect("a state");
    let mut rng = stream(2, Stream::Sampling(0));
    state.policy.fill_with(|| rng.random_range(-0.5..0.5));
    agent.set_state(state).expect("the same shape");
    agent
}

#[test]
fn special_cases_are_the_same_in_python() {
    let place = Place::new();
    let two = Space::symmetric_box(2, f32::INFINITY);
    let free = f32::INFINITY;
    let half_open = Space::Box { low: vec![-0.2, -free, -free], high: vec![free, 0.1, free] };
    let network =
        NetworkConfig { hidden: vec![8], activation: Activation::Relu, ..NetworkConfig::default() };
    let unbounded = agent(&network, false, [&two, &half_open]);

    // All outputs are equal: the first action is taken.
    let five = Space::Discrete { n: 5 };
    let mut tied = agent(&network, false, [&two, &five]);
    let mut state = tied.state().expect("a state");
    state.policy.fill(0.0);
    tied.set_state(state).expect("the same shape");

    // Far from 0 beside the deviation, a constant, and outliers that are clipped.
    let three = Space::symmetric_box(3, f32::INFINITY);
    let uneven = Space::Box { low: vec![-1.0, 2.0], high: vec![3.0, 2.5] };
    let squash = NetworkConfig { squash: true, ..NetworkConfig::default() };
    let mut far = agent(&squash, true, [&three, &uneven]);
    let mut rows = random(3, OBSERVATIONS, 1.0);
    for row in &mut rows {
        row[0] += 1e5;
        row[1] = 7.0;
    }
    let mut state = far.state().expect("a state");
    let mut normalizer = ObservationNormalizer::new(3);
    normalizer.update(&rows.concat());
    state.observation_normalizer = Some(normalizer);
    far.set_state(state).expect("the same shape");
    rows.iter_mut().step_by(10).for_each(|row| row[2] = 1e6);

    let cases = [
        Case::of_agent(&place, "unbounded", &unbounded, half_open, random(2, OBSERVATIONS, 8.0)),
        Case::of_agent(&place, "tied", &tied, five, random(2, OBSERVATIONS, 2.0)),
        Case::of_agent(&place, "far", &far, uneven, rows),
    ];
    let at = |dimension: usize, bound: f32| {
        cases[0].actions.iter().filter(|action| action[dimension] == bound).count()
    };
    assert!(at(0, -0.2) > 10 && at(1, 0.1) > 10, "bounds are met");
    assert_eq!(distinct(&cases[1].actions), 1);
    assert!(distinct(&cases[2].actions) > 500);
    check(&cases);
}

#[test]
fn the_checkpoint_is_the_one_that_is_asked_for_and_the_bytes_are_always_the_same() {
    let place = Place::new();
    let lines = "eval.every_steps = 2048\ncheckpoint = { every_steps = 2048, keep = 5 }";
    train(&place, "run", "cartpole", "ppo", lines);
    for format in ["safetensors", "onnx"] {
        let export = |checkpoint: &str, output: &str| {
            let arguments =
                ["export", "run", "--format", format, "--checkpoint", checkpoint, "-o", output];
            let ended = place.trainer(&arguments).expect(0, &[]);
            assert!(ended.stderr.is_empty(), "{ended:?}");
            (ended.stdout, fs::read(place.path(output)).expect("the file"))
        };
        let file = format!("a.{format}");
        let (said, early) = export("2048", &file);
        assert!(said.contains("step-000000002048.ckpt"), "{said}");
        assert!(said.contains("observation  float32 [batch, 4]"), "{said}");
        assert!(said.contains("action       int64 [batch]"), "{said}");
        assert_eq!(early, export("2048", &file).1);
        assert_ne!(early, export("latest", &file).1);
        assert!(export("best", &format!("B.{}", format.to_uppercase())).0.contains("best.ckpt"));
        place.trainer(&["export", "run", "--format", format]).expect(0, &[]);
    }
    // What another run left does not pass for this one's.
    place.trainer(&["run", "config.toml", "-q", "--out", "run", "--overwrite"]).expect(0, &[]);
    assert!(!place.path("run/policy.onnx").exists());
    assert!(!place.path("run/policy.safetensors").exists());
}

/// The commands of the book's chapter, word for word.
#[test]
fn the_commands_of_the_book_run_and_score_500() {
    let place = Place::new();
    for directory in ["configs", "docs", "docs/examples"] {
        fs::create_dir(place.path(directory)).expect("a directory");
    }
    for file in ["configs/ppo_cartpole.toml", "docs/examples/play_cartpole.py"] {
        fs::copy(docs().join("..").join(file), place.path(file)).expect("a copy");
    }
    let python = python();
    let (_, printed) = place.run_chapter_with("export.md", python.parent());
    let scores: Vec<&str> = printed.lines().filter(|line| line.starts_with("episode ")).collect();
    assert_eq!(scores.len(), 10, "{printed}");
    assert!(scores.iter().all(|score| score.ends_with(": 500")), "{printed}");
}

#[test]
fn bad_arguments_are_refused() {
    let place = Place::new();
    train(&place, "run", "cliff", "ppo", "");
    let refused = |arguments: &[&str], fragments: &[&str]| {
        let arguments = [&["export"], arguments].concat();
        place.trainer(&arguments).expect(2, fragments);
    };
    refused(&["run"], &["--format"]);
    refused(&["run", "--format", "onx"], &["onx", "similar value exists: 'onnx'", "safetensors"]);
    refused(&["nowhere", "--format", "onnx"], &["nowhere", "is no directory"]);
    fs::create_dir(place.path("empty")).expect("a directory");
    refused(&["empty", "--format", "onnx"], &["holds no config.toml", "give a run directory"]);
    refused(
        &["run", "--format", "onnx", "-o", "policy.safetensors"],
        &["policy.safetensors", "must end in .onnx"],
    );
    refused(&["run", "--format", "safetensors", "-o", "policy"], &["must end in .safetensors"]);
    refused(&["run", "--format", "onnx", "-o", "no/x.onnx"], &["no/x.onnx", "mkdir -p no"]);
    refused(&["run", "--format", "onnx", "--checkpoint", "7"], &["step-000000000007", "there is"]);
    refused(&["run", "--format", "onnx", "--checkpoint", "last"], &["best, latest or a number"]);
    fs::create_dir(place.path("run/policy.onnx")).expect("a directory");
    refused(&["run", "--format", "onnx"], &["run/policy.onnx: is a directory"]);
    fs::remove_dir_all(place.path("run/checkpoints")).expect("they are there");
    refused(&["run", "--format", "onnx"], &["run/checkpoints", "holds no checkpoint"]);
}
