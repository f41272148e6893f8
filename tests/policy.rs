//! Policies at work without Burn: the crate `policy` does what the trainer does, from the exported file alone, in
//! Rust and in C.

use agents::{Activation, ExportFormat, NetworkConfig, Training, TrainingConfig, record};
use envs::{Environments, Space, Stream, TaskConfig, stream};
use policy::{ActError, Action, Policy};
use rand::RngExt;
use std::fs;
use std::hint::black_box;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

/// Observations of each policy: most from episodes, the rest at random.
const OBSERVATIONS: usize = 100_000;
/// What rounding may change of a number of an action.
const TOLERANCE: f32 = 1e-5;

/// A policy after a few iterations, and its exported file.
fn train(environment: &str, normalize: bool, network: NetworkConfig) -> (Training, Vec<u8>) {
    let entry = Environments::default().get(environment).expect("it is built in");
    let task = entry.task(&TaskConfig::default()).expect("a task");
    let config = TrainingConfig {
        total_steps: 4096,
        normalize_observations: normalize,
        network,
        ..TrainingConfig::default()
    };
    let mut training = config.build(&task).expect("it fits");
    while !training.is_finished() {
        training.iterate().expect("finite numbers");
    }
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("policy.safetensors");
    training.export(ExportFormat::Safetensors, &path).expect("it is written");
    (training, fs::read(path).expect("the file"))
}

fn cases() -> [(&'static str, Training, Vec<u8>); 5] {
    let network = NetworkConfig::default;
    [
        ("cartpole", false, network()),
        ("pendulum", true, network()),
        ("reach", true, NetworkConfig { squash: true, ..network() }),
        ("pendulum", false, NetworkConfig { activation: Activation::Relu, ..network() }),
        ("cliff", false, NetworkConfig { hidden: vec![], ..network() }),
    ]
    .map(|(name, normalize, network)| {
        let (training, bytes) = train(name, normalize, network);
        (name, training, bytes)
    })
}

/// Observations that the policy comes to, with sampled actions, and ones that no episode has.
fn observations(training: &Training, count: usize) -> Vec<Vec<f32>> {
    let mut all = Vec::new();
    for episode in 0.. {
        let left = count * 9 / 10 - all.len();
        if left == 0 {
            break;
        }
        let actor = training.agent.actor();
        let recording = record(actor, &training.task, 1, episode, false, left);
        let mut recording = recording.expect("a finite episode");
        recording.observations.truncate(recording.actions.len());
        all.extend(recording.observations);
    }
    let width = training.task.spec().observation_space.width();
    let mut rng = stream(1, Stream::Sampling(0));
    while all.len() < count {
        all.push((0..width).map(|_| rng.random_range(-5.0..5.0)).collect());
    }
    all
}

#[test]
fn actions_are_the_trainers_on_100_000_observations() {
    for (name, training, bytes) in cases() {
        let mut policy = Policy::read(&bytes).expect("a policy");
        let space = &training.task.spec().action_space;
        let (mut largest, mut distinct) = (0.0_f32, std::collections::BTreeSet::new());
        for observation in observations(&training, OBSERVATIONS) {
            let own = training.agent.actor().act(space, &observation, None).expect("finite");
            match policy.act(&observation).expect("finite") {
                Action::Discrete(index) => {
                    assert_eq!(index, own[0] as usize, "{name}: {observation:?}")
                }
                Action::Continuous(numbers) => {
                    assert_eq!(numbers.len(), own.len());
                    for (found, expected) in numbers.iter().zip(&own) {
                        largest = largest.max((found - expected).abs());
                    }
                }
            }
            distinct.insert(own[0].to_bits());
        }
        println!("{name}: largest difference {largest:.1e}, {} actions", distinct.len());
        assert!(largest <= TOLERANCE, "{name}: {largest}");
        assert!(distinct.len() >= 2, "{name} does always the same");
    }
}

#[test]
fn the_file_says_what_numbers_are() {
    let (_, bytes) = train("cartpole", false, NetworkConfig::default());
    let policy = Policy::read(&bytes).expect("a policy");
    assert!(policy.is_discrete());
    assert_eq!([policy.observation_width(), policy.action_width()], [4, 2]);
    for (name, value) in [
        ("environment", "cartpole"),
        ("algorithm", "ppo"),
        ("steps", "4096"),
        ("step_seconds", "0.02"),
        ("action_names", r#"["push left","push right"]"#),
        (
            "observation_names",
            r#"["cart position [m]","cart velocity [m/s]","pole angle [rad]","pole angular velocity [rad/s]"]"#,
        ),
    ] {
        assert_eq!(policy.about(name), Some(value), "{name}");
    }
    assert_eq!(policy.about("nothing"), None);
}

#[test]
fn what_is_not_finite_is_an_error() {
    let (_, bytes) = train("pendulum", false, NetworkConfig::default());
    let mut policy = Policy::read(&bytes).expect("a policy");
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        assert_eq!(policy.act(&[0.0, bad, 0.0]), Err(ActError::Observation { index: 1 }));
    }
    assert_eq!(policy.act(&[0.0]), Err(ActError::Length { expected: 3, found: 1 }));
    // Sums of the first layer overflow, and with both signs they are not a number.
    let huge = policy.act(&[f32::MAX, -f32::MAX, f32::MAX]);
    assert!(huge.is_ok() || huge == Err(ActError::Overflow), "{huge:?}");
    assert!(policy.act(&[1.0, 0.0, 0.0]).is_ok(), "it goes on");
}

#[test]
fn damaged_files_are_errors() {
    let (_, bytes) =
        train("pendulum", true, NetworkConfig { squash: true, ..NetworkConfig::default() });
    for length in 0..bytes.len() {
        assert!(Policy::read(&bytes[..length]).is_err(), "{length} bytes");
    }
    let error = Policy::read(b"PK\x03\x04 an archive of another program").expect_err("no policy");
    assert!(error.to_string().contains("is no safetensors file"), "{error}");
    let newer = String::from_utf8_lossy(&bytes).find("\\\"format\\\":1").expect("a format");
    let mut changed = bytes.clone();
    changed[newer + "\\\"format\\\":".len()] = b'2';
    let error = Policy::read(&changed).expect_err("another format").to_string();
    assert_eq!(error, "has format 2; this program reads format 1");
    // Whatever is changed: no panic, in reading or in acting.
    let mut rng = stream(1, Stream::Sampling(1));
    for _ in 0..20_000 {
        let mut changed = bytes.clone();
        for _ in 0..rng.random_range(1..4) {
            let header = rng.random_range(0..1200);
            changed[header] = rng.random();
        }
        if let Ok(mut policy) = Policy::read(&changed) {
            let observation = vec![0.5; policy.observation_width()];
            let _ = policy.act(&observation);
        }
    }
}

/// The fastest of many rounds, which other work on the machine does not change.
#[test]
fn an_action_of_a_64_64_network_takes_less_than_2_us() {
    let (_, bytes) =
        train("reach", true, NetworkConfig { squash: true, ..NetworkConfig::default() });
    let mut policy = Policy::read(&bytes).expect("a policy");
    let observation = [0.1; 10];
    let round = |_| {
        let begun = Instant::now();
        for _ in 0..100 {
            let _ = black_box(policy.act(black_box(&observation)));
        }
        begun.elapsed().as_secs_f64() / 100.0
    };
    let fastest = (0..2000).map(round).fold(f64::INFINITY, f64::min) * 1e6;
    println!("{fastest:.2} us an action");
    assert!(fastest < 2.0, "{fastest} us");
}

/// The static library and its header, with the example as it stands.
#[cfg(unix)]
#[test]
fn a_program_in_c_acts_the_same() {
    let directory = tempfile::tempdir().expect("a directory");
    let crate_directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/policy");
    let run = |command: &mut Command| {
        let output = command.output().expect("it starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let flags = ["rustc", "--release", "--offline", "--features", "c", "--crate-type", "staticlib"];
    run(Command::new(env!("CARGO"))
        .args(flags)
        .arg("--target-dir")
        .arg(directory.path())
        .current_dir(&crate_directory));
    let program = directory.path().join("act");
    run(Command::new("cc")
        .args(["-std=c99", "-Wall", "-Wextra", "-Werror", "-I"])
        .arg(crate_directory.join("include"))
        .arg(crate_directory.join("examples/act.c"))
        .arg(directory.path().join("release/libpolicy.a"))
        .args(["-lm", "-lpthread", "-ldl", "-o"])
        .arg(&program));
    for (name, training, bytes) in cases() {
        let file = directory.path().join(format!("{name}.safetensors"));
        fs::write(&file, &bytes).expect("it is written");
        let observations = observations(&training, 1000);
        let mut lines = String::new();
        for row in &observations {
            let numbers: Vec<String> = row.iter().map(f32::to_string).collect();
            lines += &(numbers.join(" ") + "\n");
        }
        let width = observations[0].len();
        lines += &("nan ".repeat(width) + "\n");
        let (pipe, input) = (Stdio::piped(), lines.into_bytes());
        let mut process = Command::new(&program)
            .arg(&file)
            .stdin(pipe)
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut stdin = process.stdin.take().expect("a pipe");
        let writer = std::thread::spawn(move || stdin.write_all(&input));
        let output = process.wait_with_output().expect("it ends");
        writer.join().expect("no panic").expect("it reads");
        assert!(output.status.success(), "{name}");
        let said = String::from_utf8(output.stdout).expect("text");
        let mut said = said.lines();
        let mut policy = Policy::read(&bytes).expect("a policy");
        for row in &observations {
            let line = said.next().expect("an action for each observation");
            let found: Vec<f32> =
                line.split(' ').map(|number| number.parse().expect("a number")).collect();
            match policy.act(row).expect("finite") {
                Action::Discrete(index) => assert_eq!(found, [index as f32], "{name}"),
                Action::Continuous(numbers) => assert_eq!(found, numbers, "{name}"),
            }
        }
        assert_eq!((said.next(), said.next()), (Some("error 1"), None), "{name}");
        let is_choice = matches!(training.task.spec().action_space, Space::Discrete { .. });
        assert_eq!(policy.is_discrete(), is_choice);
    }
    let output = Command::new(&program).arg(&program).output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(2) && said.contains("is no safetensors file"), "{said}");
}
