//! Environments in other processes: Gymnasium's, our own in Python and C++, and some that misbehave.
#![cfg(unix)]

mod support;

use envs::{
    ActionDelay, Environments, ObservationNoise, ParameterError, Rng, Space, Stream, Task,
    TaskConfig, VectorEnv, stream,
};
use rand::RngExt;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use support::{Ended, Place, python_if_any};

/// Nothing here takes longer, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(120);

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A command with the package on Python's path; `None` where there is no Python with what it needs.
fn with_package(arguments: &[&str]) -> Option<Vec<String>> {
    let python = python_if_any()?;
    let path = root().join("crates/envs/python/src");
    let path = format!("PYTHONPATH={}", path.display());
    let command = ["env", &path, &python.display().to_string()];
    Some(command.iter().chain(arguments).map(|&word| word.to_owned()).collect())
}

/// The command of a script of this folder.
fn script(name: &str, argument: &str) -> Option<Vec<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    with_package(&[&path.display().to_string(), argument])
}

fn gymnasium(id: &str) -> Option<Vec<String>> {
    with_package(&["-m", "backburn_env", id])
}

fn task_of(parameters: Value, config: TaskConfig) -> Result<Task, ParameterError> {
    let parameters = parameters.as_object().expect("a table").clone();
    let entry = Environments::default().get("process").expect("it is built in");
    entry.task(&TaskConfig { parameters, ..config })
}

fn task(command: &[String], processes: usize) -> Task {
    let parameters = json!({ "command": command, "processes": processes });
    task_of(parameters, TaskConfig::default()).expect("it works")
}

/// The two numbers that copy `index` does at this time; a third of the first ones are 0.
fn action(index: usize, time: usize) -> [f32; 2] {
    let mut rng: Rng = stream((1000 * time + index) as u64, Stream::Sampling(0));
    [rng.random_range(-2..=3) as f32, rng.random_range(-5.0..5.0)]
}

#[test]
fn ends_of_all_kinds_final_observations_and_all_that_has_a_name() {
    let Some(command) = script("process_env.py", "counter") else { return };
    let mut envs = VectorEnv::new(&task(&command, 2), 3, 0, 5);
    let spec = envs.spec().clone();
    assert_eq!(
        (&*spec.reward_terms, &*spec.costs),
        (&["before", "one"].map(String::from)[..], &["even", "odd"].map(String::from)[..])
    );
    assert!(spec.reports_success && spec.saves_state);
    let (mut ended, mut terminated, mut truncated, mut firsts) = (0, 0, 0, [0; 2]);
    for time in 0..60 {
        let actions: Vec<f32> = (0..5).flat_map(|index| action(index, time)).collect();
        let before: Vec<f32> = envs.observations().chunks(3).map(|row| row[0]).collect();
        let transitions = envs.step(&actions).to_vec();
        assert_eq!(envs.failure(), None);
        for (k, transition) in transitions.iter().enumerate() {
            let count = before[k] + 1.0;
            let arrived = [actions[2 * k].clamp(-1.0, 2.0), actions[2 * k + 1]];
            assert_eq!(transition.reward, f64::from(count));
            assert_eq!(transition.terminated, count == 3.0 && arrived[0] == 0.0);
            assert_eq!(transition.truncated, count == 4.0);
            let terms = &envs.reward_terms()[2 * k..2 * k + 2];
            assert_eq!(terms, [f64::from(count) - 1.0, 1.0]);
            let mut costs = [0.0; 2];
            costs[count as usize % 2] = f64::from(count);
            assert_eq!(envs.costs()[2 * k..2 * k + 2], costs);
            let seen = &envs.observations()[3 * k..3 * k + 3];
            let last = [count, arrived[0], arrived[1]];
            if transition.ended() {
                assert_eq!(envs.final_observations()[3 * k..3 * k + 3], last);
                assert!(seen == [0.0; 3] || seen == [1.0, 0.0, 0.0], "{seen:?}");
                firsts[seen[0] as usize] += 1;
                let episode = transition.episode.expect("it has ended");
                assert_eq!(episode.success, Some(count == 3.0));
            } else {
                assert_eq!(seen, last);
            }
            ended += usize::from(transition.ended());
            terminated += usize::from(transition.terminated);
            truncated += usize::from(transition.truncated);
        }
    }
    assert!(terminated > 10 && truncated > 10 && terminated + truncated == ended);
    assert!(firsts.iter().all(|&count| count > 10), "seeds differ: {firsts:?}");
}

/// Observations, final ones where there are some, and rewards of some copies over 60 steps.
fn play(envs: &mut VectorEnv, first: usize, from: usize) -> Vec<Vec<f32>> {
    let width = envs.observation_space().width();
    let mut rows = vec![Vec::new(); envs.num_envs()];
    for time in from..from + 60 {
        let copies = first..first + envs.num_envs();
        let actions: Vec<f32> = copies.flat_map(|index| action(index, time)).collect();
        let transitions = envs.step(&actions).to_vec();
        assert_eq!(envs.failure(), None);
        for (k, (row, transition)) in rows.iter_mut().zip(transitions).enumerate() {
            row.extend(&envs.observations()[k * width..(k + 1) * width]);
            row.push(transition.reward as f32);
            if transition.ended() {
                row.extend(&envs.final_observations()[k * width..(k + 1) * width]);
            }
        }
    }
    rows
}

#[test]
fn a_copy_does_the_same_in_any_company_and_process_and_goes_on_from_its_state() {
    let Some(command) = script("process_env.py", "counter") else { return };
    let disturbed = TaskConfig {
        max_episode_steps: Some(2),
        observation_noise: Some(ObservationNoise::All(0.1)),
        action_delay: Some(ActionDelay::Uniform { uniform: [0, 2] }),
        action_repeat: 2,
        ..TaskConfig::default()
    };
    for config in [TaskConfig::default(), disturbed] {
        let task = |processes: usize| {
            let parameters = json!({ "command": command, "processes": processes });
            task_of(parameters, config.clone()).expect("it works")
        };
        let mut whole = VectorEnv::new(&task(1), 7, 0, 6);
        let all = play(&mut whole, 0, 0);
        for (processes, first, count) in [(3, 0, 6), (2, 2, 3), (4, 5, 1)] {
            let task = task(processes);
            // Two at once, as in training and evaluation: they share the processes.
            let mut other = VectorEnv::new(&task, 1, 0, 4);
            let mut part = VectorEnv::new(&task, 7, first as u32, count);
            play(&mut other, 0, 0);
            assert_eq!(play(&mut part, first, 0), all[first..first + count], "{processes}");
        }
        let state = whole.state();
        let expected = play(&mut whole, 0, 60);
        let mut restored = VectorEnv::new(&task(2), 8, 0, 6);
        restored.set_state(state).expect("it fits");
        assert_eq!(play(&mut restored, 0, 60), expected);
    }
}

/// Gymnasium's environment in a process beside our own from the same states, with the same actions.
fn same_as_built_in(id: &str, name: &str, tolerance: f64) {
    let Some(command) = gymnasium(id) else { return };
    let built_in = Environments::default().get(name).expect("it is built in");
    let built_in = built_in.task(&TaskConfig::default()).expect("the defaults are good");
    let task = task(&command, 1);
    assert_eq!(task.spec().observation_space, built_in.spec().observation_space);
    assert_eq!(task.spec().action_space, built_in.spec().action_space);
    assert_eq!(task.spec().max_episode_steps, built_in.spec().max_episode_steps);
    assert_eq!(task.spec().step_seconds, built_in.spec().step_seconds);
    let width = task.spec().observation_space.width();
    let (mut theirs, mut ours) = (task.make(), built_in.make());
    let mut rng = stream(5, Stream::Environment(0));
    let mut seen = [vec![0.0; width], vec![0.0; width]];
    let mut ends = 0;
    for episode in 0..8 {
        theirs.reset(&mut rng);
        ours.reset(&mut rng);
        let state = theirs.state();
        let own = ours.state().len();
        ours.set_state(&state[state.len() - own..]).expect("the same state");
        for step in 0..200 {
            theirs.observe(&mut seen[0]);
            ours.observe(&mut seen[1]);
            for (theirs, ours) in seen[0].iter().zip(&seen[1]) {
                let difference = f64::from((theirs - ours).abs());
                assert!(difference <= tolerance, "{id} {episode} {step}: {seen:?}");
            }
            let numbers = match &task.spec().action_space {
                // Now and then the same for a while, to get far from the middle.
                Space::Discrete { n } => vec![((step / (1 + episode) + episode) % n) as f32],
                Space::Box { .. } => vec![rng.random_range(-2.0..2.0)],
            };
            let action = task.spec().action_space.action(&numbers);
            let (one, other) = (theirs.step(action, &mut rng), ours.step(action, &mut rng));
            assert!((one.reward - other.reward).abs() <= tolerance * 20.0, "{one:?} {other:?}");
            assert_eq!((one.terminated, one.success), (other.terminated, other.success));
            if one.terminated {
                ends += 1;
                break;
            }
            // Gymnasium keeps the limit itself, ours is kept by `VectorEnv`.
            assert_eq!(one.truncated, step + 1 == task.spec().max_episode_steps as usize);
        }
    }
    assert!(ends > 3 || name == "pendulum", "{ends}");
}

#[test]
fn cartpole_is_the_built_in_one() {
    same_as_built_in("CartPole-v1", "cartpole", 0.0);
}

#[test]
fn pendulum_is_the_built_in_one() {
    // numpy computes the action's square and sines in other precisions.
    same_as_built_in("Pendulum-v1", "pendulum", 1e-4);
}

#[test]
fn a_time_limit_around_a_state_of_ones_own_goes_on() {
    let Some(command) = script("process_env.py", "limited") else { return };
    assert_eq!(task(&command, 1).spec().max_episode_steps, 2);
    // The trainer's own limit is not what ends the episodes.
    let config = TaskConfig { max_episode_steps: Some(50), ..TaskConfig::default() };
    let task = task_of(json!({ "command": command }), config).expect("it works");
    let mut one = VectorEnv::new(&task, 7, 0, 6);
    play(&mut one, 0, 0);
    // In the middle of an episode.
    one.step(&[1.0; 12]);
    let state = one.state();
    let expected = play(&mut one, 0, 60);
    let mut other = VectorEnv::new(&task, 8, 0, 6);
    other.set_state(state).expect("it fits");
    assert_eq!(play(&mut other, 0, 60), expected);
}

#[test]
fn gymnasiums_own_go_on_from_their_state_bit_for_bit() {
    let Some(python) = python_if_any() else { return };
    let imports = Command::new(python).args(["-c", "import mujoco"]).stderr(Stdio::null()).status();
    if !imports.expect("Python starts").success() {
        support::skipped("MuJoCo's states: there is no mujoco in this Python");
        return;
    }
    for name in [
        "HalfCheetah",
        "Hopper",
        "Walker2d",
        "Swimmer",
        "Ant",
        "Humanoid",
        "HumanoidStandup",
        "Reacher",
        "Pusher",
        "InvertedPendulum",
        "InvertedDoublePendulum",
        "MountainCarContinuous",
    ] {
        let version = if name == "MountainCarContinuous" { 0 } else { 5 };
        let id = &format!("{name}-v{version}");
        // MuJoCo leaves warnings in a file where it is run.
        let place = Place::new();
        let directory = place.path(".").display().to_string();
        let mut command =
            ["sh", "-c", "cd \"$0\" && exec \"$@\"", &directory].map(String::from).to_vec();
        command.extend(gymnasium(id).expect("Python is there"));
        let task = task(&command, 1);
        let width = task.spec().action_space.width();
        let mut one = VectorEnv::new(&task, 1, 0, 2);
        let steps = |envs: &mut VectorEnv, from: usize| {
            let mut seen = Vec::new();
            for time in from..from + 60 {
                let number = |index: usize| (time * (index + 1)) as f32;
                let actions: Vec<f32> = (0..2 * width).map(|index| number(index).sin()).collect();
                let rewards = envs.step(&actions).iter().map(|one| one.reward.to_bits());
                seen.extend(rewards.collect::<Vec<_>>());
                seen.extend(envs.observations().iter().map(|one| u64::from(one.to_bits())));
            }
            seen
        };
        steps(&mut one, 0);
        let state = one.state();
        let expected = steps(&mut one, 60);
        let mut other = VectorEnv::new(&task, 2, 0, 2);
        other.set_state(state).expect("it fits");
        assert!(steps(&mut other, 60) == expected, "{id}");
    }
}

#[test]
fn spaces_are_flattened_or_refused() {
    let Some(command) = script("process_env.py", "nested") else { return };
    let envs = VectorEnv::new(&task(&command, 1), 1, 0, 2);
    assert_eq!(envs.observations(), [0.0, 1.0, 0.0, 0.5, -0.5, 0.0, 1.0, 0.0, 0.5, -0.5]);
    assert_eq!(envs.spec().observation_names, ["low", "middle", "high", "speed x", "speed y"]);
    let refused = |command: Option<Vec<String>>, expected: &str| {
        let parameters = json!({ "command": command.expect("Python is there") });
        let error = task_of(parameters, TaskConfig::default()).expect_err("no such environment");
        assert_eq!(error.key.as_deref(), Some("parameters.command"));
        assert!(error.message.contains(expected), "{expected}: {error}");
    };
    refused(script("process_env.py", "choices"), "the trainer knows Discrete and Box");
    refused(script("process_env.py", "misnamed"), "`observation_names` are 1; Box(-inf, inf, (3,)");
    refused(gymnasium("NoSuch-v0"), "NoSuch-v0: Environment `NoSuch` doesn't exist");
    let wrapped =
        |more: &[&str]| with_package(&[&["-m", "backburn_env", "CartPole-v1"], more].concat());
    refused(wrapped(&["--wrapper", "Nothing"]), "'Nothing' is no wrapper");
    refused(wrapped(&["--arg", "gravity"]), "'gravity' is not key=value");
    let command = wrapped(&["--wrapper", "TimeAwareObservation(flatten=True)"]).expect("Python");
    let aware = task(&command, 1).spec().clone();
    assert_eq!((aware.observation_space.width(), aware.saves_state), (5, false));
    let command = wrapped(&["--arg", "max_episode_steps=7"]).expect("Python");
    assert_eq!(task(&command, 1).spec().max_episode_steps, 7);
    // An observation of another shape than its space says.
    let command = script("process_env.py", "broken").expect("Python is there");
    let envs = VectorEnv::new(&task(&command, 2), 1, 0, 4);
    let failure = envs.failure().expect("it can't work");
    assert!(failure.contains("has the shape (2,); its space has (3,)"), "{failure}");
}

#[test]
fn what_can_not_be_drawn_or_is_not_there_is_refused() {
    for (parameters, key, expected) in [
        (json!({}), "command", "is empty; give a program"),
        (json!({ "command": ["/nowhere/at/all"] }), "command", "can't be started: No such file"),
        (json!({ "command": ["false"] }), "command", "ended with exit code 1; it printed nothing"),
        (json!({ "command": ["true"], "processes": 0 }), "processes", "is 0; must be"),
        (
            json!({ "command": ["true"], "processes": { "choice": [1, 2] } }),
            "processes",
            "can't be drawn",
        ),
    ] {
        let error = task_of(parameters, TaskConfig::default()).expect_err(expected);
        assert_eq!(error.key, Some(format!("parameters.{key}")), "{error}");
        assert!(error.message.contains(expected), "{expected}: {error}");
    }
}

/// Two copies in one process, checkpoints every 64 steps of them.
fn config(command: &[String], more: &str) -> String {
    format!(
        "total_steps = 640\n[env]\nname = 'process'\nnum_envs = 2\n[env.parameters]\n\
         command = {command:?}\nanswer_timeout = 2.0\n{more}\n[network]\nhidden = [8]\n\
         [agent]\nalgorithm = 'ppo'\nrollout_steps = 32\nminibatch_size = 64\nepochs = 1\n\
         [eval]\nepisodes = 2\n[checkpoint]\nevery_steps = 64\n"
    )
}

/// The processes that have run here are gone, or become so at once.
#[track_caller]
fn leaves_no_orphan(place: &Place) {
    let entries = fs::read_dir(place.path(".")).expect("a directory");
    let names = entries.map(|entry| entry.expect("an entry").file_name().into_string().unwrap());
    let ids: Vec<String> =
        names.filter_map(|name| name.strip_prefix("process-").map(str::to_owned)).collect();
    assert!(!ids.is_empty(), "none has run");
    let begun = Instant::now();
    for id in ids {
        let lives = || {
            let mut kill = Command::new("kill");
            kill.args(["-0", &id]).stderr(Stdio::null());
            kill.status().expect("kill starts").success()
        };
        while lives() {
            assert!(begun.elapsed() < Duration::from_secs(20), "{id} still runs");
            sleep(Duration::from_millis(10));
        }
    }
}

#[test]
fn a_process_that_misbehaves_ends_the_run_with_a_message_and_the_last_checkpoint_good() {
    if python_if_any().is_none() {
        return;
    }
    for (way, fragments) in [
        ("die", &["ended with exit code 3; its last lines are:\n  before\n  the spring broke"][..]),
        ("killed", &["was ended by SIGKILL; it printed nothing"]),
        ("hang", &["did not answer for 2 s"]),
        ("nan", &["sent a reward that is NaN, of its copy 0"]),
        ("infinite", &["sent a number of its observation that is inf, of its copy 0"]),
        ("short", &["with 25 bytes, where its spaces and names make 26"]),
        ("noise", &["sent \"hello, here I am", "which is no message of the protocol"]),
        ("flood", &["sent m"]),
        ("twice", &["sent m"]),
        ("error", &["says: no more fuel"]),
    ] {
        let place = Place::new();
        let command = script("process_raw.py", way).expect("Python is there");
        place.write("config.toml", config(&command, ""));
        let ended = place.trainer(&["run", "config.toml", "--quiet", "--out", "run"]);
        let ended = ended.expect(1, fragments);
        let about =
            ["the environment failed: process 0 (`env ", "the last good checkpoint is run/"];
        ended.expect(1, &about);
        leaves_no_orphan(&place);
        // The checkpoint is good: the policy in it can be played, where the process lasts for it.
        let exported = place.trainer(&["export", "run", "--format", "onnx"]);
        exported.expect(0, &[]);
    }
}

#[test]
fn a_process_that_can_not_begin_is_a_mistake_of_the_configuration() {
    if python_if_any().is_none() {
        return;
    }
    for (way, more, fragment) in [
        ("version", "", "speaks version 7 of the protocol, and this trainer version 1"),
        ("silent", "start_timeout = 0.5", "did not answer for 0.5 s"),
        ("nowhere", "", "process 0 (`/nowhere/at/all`) can't be started: No such file"),
    ] {
        let place = Place::new();
        let command = match way {
            "nowhere" => vec!["/nowhere/at/all".to_owned()],
            way => script("process_raw.py", way).expect("Python is there"),
        };
        place.write("config.toml", config(&command, more));
        for verb in ["check", "run"] {
            let ended = place.trainer(&[verb, "config.toml"]);
            ended.expect(2, &["config.toml:6: env.parameters.command", fragment]);
        }
        assert!(!place.path("runs").exists());
    }
}

#[test]
fn what_a_process_prints_is_in_nobodys_way() {
    let Some(command) = script("process_raw.py", "prints") else { return };
    let place = Place::new();
    place.write("config.toml", config(&command, ""));
    let ended = place.trainer(&["run", "config.toml", "--quiet", "--out", "run"]).expect(0, &[]);
    assert!(!(ended.stdout + &ended.stderr).contains("a line for people"));
}

/// A run of the counter's that does not end by itself, once it has a checkpoint.
fn endless(kind: &str) -> Option<(Place, Child)> {
    let command = script("process_env.py", kind)?;
    let place = Place::new();
    let endless = config(&command, "processes = 2").replace("640", "1_000_000_000");
    place.write("config.toml", endless.replace("every_steps = 64", "every_steps = 128"));
    let mut run = place.command(&["run", "config.toml", "--quiet", "--out", "run"]);
    let child = run.stderr(Stdio::piped()).spawn().expect("the trainer starts");
    let begun = Instant::now();
    let has_begun = || match kind {
        "hang" => sleep_until_hung(&place),
        _ => fs::read_dir(place.path("run/checkpoints")).is_ok_and(|all| all.count() > 0),
    };
    while !has_begun() {
        assert!(begun.elapsed() < PATIENCE, "it does not begin");
        sleep(Duration::from_millis(5));
    }
    Some((place, child))
}

/// It hangs after its 100th step, in the second iteration or later.
fn sleep_until_hung(place: &Place) -> bool {
    let is_there = fs::read_dir(place.path("run/checkpoints")).is_ok_and(|all| all.count() > 0);
    if is_there {
        sleep(Duration::from_millis(500));
    }
    is_there
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([name, &child.id().to_string()]).status();
    assert!(sent.expect("kill starts").success());
}

fn end(mut child: Child) -> Ended {
    let mut stderr = String::new();
    let pipe = child.stderr.as_mut().expect("a pipe");
    std::io::Read::read_to_string(pipe, &mut stderr).expect("text");
    Ended { code: child.wait().expect("it ends").code(), stdout: String::new(), stderr }
}

#[test]
fn an_interrupt_saves_a_checkpoint_and_ends_the_processes() {
    for name in ["-INT", "-TERM"] {
        let Some((place, child)) = endless("counter") else { return };
        signal(&child, name);
        end(child).expect(130, &["error: interrupted at step", "trainer resume run"]);
        leaves_no_orphan(&place);
    }
}

#[test]
fn a_trainer_that_is_killed_leaves_no_orphan() {
    for kind in ["counter", "hang"] {
        let Some((place, mut child)) = endless(kind) else { return };
        child.kill().expect("SIGKILL is sent");
        child.wait().expect("it ends");
        leaves_no_orphan(&place);
    }
}

/// The last checkpoint of a run of so many steps, which is begun with `first` of them and resumed.
fn checkpoint(
    place: &Place,
    name: &str,
    first: u64,
    steps: u64,
    hints: usize,
) -> trainer::Checkpoint {
    let set = format!("total_steps={first}");
    let run = ["run", "config.toml", "--quiet", "--out", name, "--set", &set];
    place.trainer(&run).expect(0, &[]);
    let longer = format!("total_steps={steps}");
    // With another number of processes, which does not matter.
    let resume =
        ["resume", name, "--quiet", "--set", &longer, "--set", "env.parameters.processes=1"];
    let resumed = place.trainer(&resume).expect(0, &[]);
    assert_eq!(resumed.stderr.matches("goes on with new episodes").count(), hints, "{resumed:?}");
    let path = place.path(&format!("{name}/checkpoints/step-{steps:012}.ckpt"));
    let mut checkpoint = trainer::Checkpoint::read(&path).expect("a whole checkpoint");
    checkpoint.training.progress.seconds = 0.0;
    checkpoint.elapsed_seconds = 0.0;
    // A run that ended once has been evaluated once more.
    checkpoint.best_return = None;
    checkpoint
}

#[test]
fn a_resumed_run_is_the_one_that_was_not_stopped_where_there_is_a_state() {
    let Some(command) = gymnasium("CartPole-v1") else { return };
    let place = Place::new();
    let normalized = "[env]\nnormalize_observations = true\nnormalize_rewards = true";
    let text = config(&command, "processes = 2").replace("[env]", normalized);
    place
        .write("config.toml", text.replace("num_envs = 2", "num_envs = 3").replace("= 64", "= 96"));
    let bytes = |name: &str, first| {
        let copy = place.path("copy.ckpt");
        checkpoint(&place, name, first, 576, 0).write(&copy).expect("it is written");
        fs::read(copy).expect("it is read")
    };
    assert!(bytes("resumed", 192) == bytes("whole", 576), "not the same bits");
}

#[test]
fn a_resumed_run_without_a_state_says_so_once_and_goes_on_with_new_episodes() {
    let Some(command) = script("process_env.py", "stateless") else { return };
    let place = Place::new();
    let normalized = "[env]\nnormalize_observations = true\nnormalize_rewards = true";
    place.write("config.toml", config(&command, "").replace("[env]", normalized));
    let end = checkpoint(&place, "resumed", 256, 640, 1);
    assert_eq!(end.training.progress.steps, 640);
}

#[test]
fn frames_are_seen_in_a_gif_in_the_terminal_and_on_a_page() {
    let Some(command) = script("process_env.py", "colors") else { return };
    let place = Place::new();
    place.write("config.toml", config(&command, ""));
    place.trainer(&["run", "config.toml", "--quiet", "--out", "run"]).expect(0, &[]);
    place.trainer(&["replay", "run", "--gif", "run.gif"]).expect(0, &[]);
    let mut options = gif::DecodeOptions::new();
    options.set_color_output(gif::ColorOutput::RGBA);
    let file = fs::File::open(place.path("run.gif")).expect("the GIF");
    let mut gif = options.read_info(file).expect("a GIF");
    let width = usize::from(gif.width());
    let frame = gif.read_next_frame().expect("a whole GIF").expect("a frame").clone();
    let pixel = |x: usize, y: usize| {
        let first = 4 * (y * usize::from(frame.width) + x);
        [0, 1, 2].map(|channel| i32::from(frame.buffer[first + channel]))
    };
    assert_eq!((usize::from(frame.width), frame.delay), (width, 10));
    // Above on the left it is red, below blue: within what 256 colors can tell apart.
    for (at, expected) in [([60, 60], [200, 0, 0]), ([60, 300], [0, 0, 200])] {
        let found = pixel(at[0], at[1]);
        let far = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).max();
        assert!(far <= Some(8), "{found:?} where {expected:?} was rendered");
    }
    let shown = place.trainer(&["replay", "run"]).expect(0, &[]);
    assert!(shown.stdout.contains('⣿'), "{}", shown.stdout);
    place.trainer(&["report", "run", "-o", "page.html"]).expect(0, &[]);
    let page = fs::read_to_string(place.path("page.html")).expect("the page");
    let images = page.matches("data:image/png;base64,iVBORw0KGgo").count();
    assert!(images > 2, "{images} images");
}

#[test]
fn where_nothing_can_be_rendered_it_is_tried_once_and_observations_are_drawn() {
    let Some(command) = script("process_env.py", "blind") else { return };
    let place = Place::new();
    place.write("config.toml", config(&command, ""));
    place.trainer(&["run", "config.toml", "--quiet", "--out", "run"]).expect(0, &[]);
    let shown = place.trainer(&["replay", "run"]).expect(0, &[]);
    assert!(shown.stdout.contains("observation 2"), "{}", shown.stdout);
}

#[test]
fn what_numbers_are_stands_in_the_exported_policy_and_each_process_is_started_once() {
    let Some(command) = script("process_env.py", "counter") else { return };
    let place = Place::new();
    let config = config(&command, "processes = 2").replace("[env]", "[env]\naction_repeat = 3");
    place.write("config.toml", config);
    place.trainer(&["run", "config.toml", "--quiet", "--out", "run"]).expect(0, &[]);
    let entries = fs::read_dir(place.path(".")).expect("a directory");
    let names = entries.map(|entry| entry.expect("an entry").file_name().into_string().unwrap());
    assert_eq!(names.filter(|name| name.starts_with("process-")).count(), 2);
    place.trainer(&["export", "run", "--format", "safetensors"]).expect(0, &[]);
    let file = fs::read(place.path("run/policy.safetensors")).expect("the policy");
    let policy = policy::Policy::read(&file).expect("a policy");
    for (name, value) in [
        ("environment", "Remembered"),
        ("observation_names", r#"["count","push [N]","pull [N]"]"#),
        ("action_names", r#"["push [N]","pull [N]"]"#),
    ] {
        assert_eq!(policy.about(name), Some(value), "{name}");
    }
    let seconds: f64 =
        policy.about("step_seconds").expect("it is known").parse().expect("a number");
    assert!((seconds - 0.3).abs() < 1e-9, "{seconds}");
}

#[test]
fn the_commands_of_the_book_run() {
    let Some(python) = python_if_any() else { return };
    let place = Place::new();
    for name in ["room.py", "room.toml"] {
        fs::copy(root().join("docs/examples").join(name), place.path(name)).expect("the example");
    }
    // `python3` is the one that has the packages, ours among them.
    let program = format!(
        "#!/bin/sh\nPYTHONPATH='{}' exec '{}' \"$@\"\n",
        root().join("crates/envs/python/src").display(),
        python.display()
    );
    let path = place.write("programs/python3", program);
    let mut rights = fs::metadata(&path).expect("its rights").permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut rights, 0o755);
    fs::set_permissions(&path, rights).expect("it can be run");
    let (commands, printed) = place.run_chapter_with("process.md", path.parent());
    assert!(
        commands.contains("init process ppo") && printed.contains("success     1.00"),
        "{printed}"
    );
    let file = fs::read_to_string(place.path("cartpole.toml")).expect("the file to start from");
    let found =
        "# It has: observations of 4 numbers; actions of 2 choices; episodes of 500 steps at most.";
    assert!(file.contains(found), "{file}");
    let command = r#"command = ["python3", "-m", "backburn_env", "CartPole-v1"]"#;
    assert!(file.contains(command), "{file}");
    let named = "# PPO on CartPole-v1.\n";
    assert!(file.starts_with(named) && file.contains("name = \"ppo_CartPole-v1\" "), "{file}");
    let cure = "init process ppo --command \"python3 -m backburn_env HalfCheetah-v5\"";
    for (arguments, expected) in [
        (&["init", "HalfCheetah-v5", "ppo"][..], cure),
        (&["init", "--env", "HalfCheetah-v5"], cure),
        (&["init", "process", "ppo"], "say which program has the environment"),
        (
            &["init", "cartpole", "ppo", "--command", "x"],
            "--command is for the environment process",
        ),
        (&["init", "process", "ppo", "--command", "'x"], "a quote is not closed"),
        (&["init", "process", "ppo", "--command", "false"], "ended with exit code 1"),
    ] {
        place.trainer(arguments).expect(2, &[expected]);
    }
    let list = place.trainer(&["list"]).expect(0, &[]).stdout;
    assert!(list.contains("process    any environment in another process"), "{list}");
    assert!(list.contains("backburn_env CartPole-v1\" asks one what it is"), "{list}");
}

#[test]
fn the_double_pendulum_in_cpp_keeps_its_energy_and_is_trained() {
    let place = Place::new();
    let source = root().join("docs/examples/double_pendulum/double_pendulum.cpp");
    let built = Command::new("g++")
        .args(["-std=c++17", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread"])
        .arg(source)
        .args(["-o", "double_pendulum"])
        .current_dir(place.path("."))
        .status();
    let Ok(status) = built else {
        support::skipped("the example in C++: there is no g++");
        return;
    };
    assert!(status.success(), "it does not compile");
    let command = [place.path("double_pendulum").display().to_string()];
    let task = task(&command, 2);
    assert_eq!((task.spec().step_seconds, task.spec().observation_names.len()), (Some(0.05), 6));
    let mut envs = VectorEnv::new(&task, 1, 0, 3);
    // Of the first copy, J: two masses of 1 kg on rods of 1 m.
    let energy = |envs: &VectorEnv| {
        let seen: Vec<f64> = envs.observations()[..6].iter().map(|&x| f64::from(x)).collect();
        let (a, b) = (seen[1].atan2(seen[0]), seen[3].atan2(seen[2]));
        let (da, db) = (5.0 * seen[4], 10.0 * seen[5]);
        let kinetic =
            0.5 * da * da + 0.5 * (da * da + (da + db).powi(2) + 2.0 * da * (da + db) * b.cos());
        kinetic - 9.81 * (2.0 * a.cos() + (a + b).cos())
    };
    for _ in 0..20 {
        envs.step(&[1.0; 3]);
    }
    let before = energy(&envs);
    for _ in 0..100 {
        envs.step(&[0.0; 3]);
    }
    assert!((energy(&envs) - before).abs() < 1e-3, "{before} J becomes {} J", energy(&envs));
    assert!(before > -29.0, "the motor has done something: {before} J");
    let state = envs.state();
    let expected = envs.step(&[0.5; 3]).to_vec();
    let mut restored = VectorEnv::new(&task, 2, 0, 3);
    restored.set_state(state).expect("it fits");
    assert_eq!(restored.step(&[0.5; 3]), expected);
    place.write("config.toml", config(&command, "processes = 2"));
    place.trainer(&["run", "config.toml", "--quiet", "--out", "run"]).expect(0, &[]);
}
