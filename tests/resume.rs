//! Exact resume, the same bits twice, and what becomes of damaged checkpoints: with real processes.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use support::{Ended, Place, assert_same, checkpoints, timeless_csv};
use trainer::Checkpoint;

/// Nothing here takes longer, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// Discrete actions, PPO with everything that has state: schedules, both normalisers.
const PPO: &str = "\
total_steps = 30_000
[env]
name = \"cartpole\"
num_envs = 4
normalize_observations = true
normalize_rewards = true
[network]
hidden = [16]
[agent]
algorithm = \"ppo\"
rollout_steps = 32
minibatch_size = 48
epochs = 4
learning_rate = { start = 1e-3, end = 0.0 }
clip_range = { start = 0.3, end = 0.1 }
[eval]
episodes = 2
every_steps = 1500
[checkpoint]
every_steps = 700
";

/// Continuous actions, TRPO.
const TRPO: &str = "\
total_steps = 30_000
[env]
name = \"pendulum\"
num_envs = 4
normalize_observations = true
training_episode_steps = 50
[network]
hidden = [16]
noise_correlation = 0.5
[agent]
algorithm = \"trpo\"
rollout_steps = 64
cg_warm_start = 0.9
reuse_batches = 2
critic_minibatch_size = 48
[eval]
episodes = 2
every_steps = 4000
[checkpoint]
every_steps = 700
";

/// Everything that can be drawn and delayed in an environment, in the middle of whose episodes a checkpoint
/// is saved.
const DISTURBED: &str = "\
total_steps = 20_000
[env]
name = \"reach\"
num_envs = 4
max_episode_steps = 70
observation_noise = 0.02
action_delay = { uniform = [0, 3] }
action_repeat = 2
[env.parameters]
link1_mass = { uniform = [0.5, 2.0] }
joint_friction = { log_uniform = [0.05, 0.5] }
grasp_distance = { choice = [0.05, 0.2] }
max_torque = 3.0
[network]
hidden = [16]
[agent]
algorithm = \"ppo\"
rollout_steps = 32
epochs = 2
[eval]
episodes = 2
every_steps = 4000
[checkpoint]
every_steps = 700
";

/// A few iterations, each large enough for the backends to use several threads.
const SHORT: &str = "\
total_steps = 6144
[env]
name = \"pendulum\"
num_envs = 8
[agent]
rollout_steps = 256
[eval]
episodes = 2
[checkpoint]
every_steps = 2048
keep = 5
";

/// `SHORT` for one algorithm.
fn short(algorithm: &str) -> String {
    let critic = if algorithm == "ppo" { "" } else { "critic_" };
    let lines = format!(
        "[agent]\nalgorithm = \"{algorithm}\"\n{critic}minibatch_size = 1024\n{critic}epochs = 3"
    );
    SHORT.replace("[agent]", &lines)
}

/// A place with `config.toml`, and a run of it in `whole` that nobody disturbed.
fn place_with_whole_run(config: &str, flags: &[&str]) -> Place {
    let place = Place::new();
    place.write("config.toml", config);
    place.trainer(&run("whole", flags)).expect(0, &[]);
    place
}

fn run<'a>(out: &'a str, flags: &[&'a str]) -> Vec<&'a str> {
    [&["run", "config.toml", "--quiet", "--out", out], flags].concat()
}

/// A process that is ended when the test fails.
struct Running(Child);

impl Running {
    fn start(place: &Place, arguments: &[&str]) -> Running {
        let mut command = place.command(arguments);
        Running(command.stderr(Stdio::piped()).spawn().expect("the trainer starts"))
    }

    /// Waits for a checkpoint newer than `than`; false when the process ended instead.
    fn reaches_checkpoint(&mut self, run: &Path, than: Option<&PathBuf>) -> bool {
        let started = Instant::now();
        while checkpoints(run).last() <= than {
            assert!(started.elapsed() < PATIENCE, "no checkpoint in time");
            if self.0.try_wait().expect("its state").is_some() {
                return false;
            }
            sleep(Duration::from_millis(1));
        }
        true
    }

    fn kill(mut self) {
        self.0.kill().expect("SIGKILL is sent");
        self.0.wait().expect("it ends");
    }

    fn end(mut self) -> Ended {
        let mut stderr = String::new();
        let pipe = self.0.stderr.as_mut().expect("a pipe");
        std::io::Read::read_to_string(pipe, &mut stderr).expect("text");
        let status = self.0.wait().expect("it ends");
        Ended { code: status.code(), stdout: String::new(), stderr }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a run, kills it with SIGKILL at no particular moment, and so again with the resumed run;
/// returns how often it was killed before its end.
fn start_and_kill(place: &Place, killed: &Path) -> usize {
    let mut arguments = run("killed", &[]);
    for (kills, pause) in [0, 3, 11].into_iter().enumerate() {
        let before = checkpoints(killed).pop();
        let mut running = Running::start(place, &arguments);
        if !running.reaches_checkpoint(killed, before.as_ref()) {
            return kills;
        }
        sleep(Duration::from_millis(pause));
        running.kill();
        if killed.join("summary.json").exists() {
            return kills;
        }
        arguments = vec!["resume", "killed", "--quiet"];
    }
    3
}

/// Kills a run, resumes it, and compares it with one that was not killed.
fn killed_and_resumed(config: &str) {
    let place = place_with_whole_run(config, &[]);
    let killed = place.path("killed");
    // On a busy machine a run may end before this process gets to kill it.
    let mut attempts = 10;
    while start_and_kill(&place, &killed) == 0 {
        attempts -= 1;
        assert!(attempts > 0, "the run always ended before it could be killed");
        fs::remove_dir_all(&killed).expect("it is removed");
    }
    fs::remove_file(killed.join("summary.json")).ok();
    let arguments = ["resume", "killed", "--quiet"];
    place.write("killed/checkpoints/.tmp-step-000000099999.ckpt", "left by a killed process");
    place.trainer(&arguments).expect(0, &[]);
    assert_same(&place, "whole", "killed");
    assert!(!killed.join("checkpoints/.tmp-step-000000099999.ckpt").exists());
    assert_eq!(checkpoints(&killed).len(), 3, "the newest three are kept");

    // A finished run stays as it is; its summary can be had again.
    let ended = place.trainer(&["resume", "killed"]).expect(0, &[]);
    assert!(ended.stdout.contains("finished"), "{ended:?}");
    fs::remove_file(killed.join("summary.json")).expect("it is removed");
    place.trainer(&arguments).expect(0, &[]);
    assert_same(&place, "whole", "killed");
}

#[test]
fn ppo_killed_and_resumed_is_the_run_that_was_not() {
    killed_and_resumed(PPO);
}

#[test]
fn trpo_killed_and_resumed_is_the_run_that_was_not() {
    killed_and_resumed(TRPO);
}

#[test]
fn a_disturbed_environment_goes_on_where_it_was() {
    killed_and_resumed(DISTURBED);
}

#[test]
fn killed_before_the_first_checkpoint_begins_anew() {
    let config = PPO.replace("total_steps = 30_000", "total_steps = 5_000");
    let place = place_with_whole_run(&config, &[]);
    // What such a process leaves: the configuration, and rows that no checkpoint counts.
    fs::create_dir(place.path("killed")).expect("a directory");
    for name in ["config.toml", "metrics.csv"] {
        fs::copy(place.path("whole").join(name), place.path("killed").join(name)).expect("a copy");
    }
    place.trainer(&["resume", "killed", "--quiet"]).expect(0, &[]);
    assert_same(&place, "whole", "killed");
}

#[test]
fn the_same_seed_gives_the_same_bits_with_any_number_of_threads() {
    // Of `reach` a step of so many copies is worth several threads.
    let many = [("\"pendulum\"\nnum_envs = 8", "\"reach\"\nnum_envs = 64"), ("= 256", "= 32")];
    let acting = many.iter().fold(short("ppo"), |config, (from, to)| config.replace(from, to));
    assert!(acting.contains("num_envs = 64") && acting.contains("rollout_steps = 32"));
    for config in [short("ppo"), short("trpo"), acting] {
        for backend in ["flex", "ndarray"] {
            let place = Place::new();
            place.write("config.toml", &config);
            for threads in ["1", "2", "3", "7", "16"] {
                let arguments = ["--backend", backend, "--threads", threads];
                place.trainer(&run(threads, &arguments)).expect(0, &[]);
                assert_same(&place, "1", threads);
            }
            // The rest of it, from a checkpoint of one thread on, with three.
            let (whole, changed) = (place.path("1"), place.path("changed"));
            fs::create_dir_all(changed.join("checkpoints")).expect("a directory");
            let first = checkpoints(&whole).remove(0);
            let name = Path::new("checkpoints").join(first.file_name().expect("a name"));
            for name in [Path::new("config.toml"), Path::new("metrics.csv"), &name] {
                fs::copy(whole.join(name), changed.join(name)).expect("a copy");
            }
            place.trainer(&["resume", "changed", "--threads", "3", "--quiet"]).expect(0, &[]);
            assert_same(&place, "1", "changed");
        }
    }
}

#[test]
fn another_seed_gives_another_run() {
    let config = short("ppo");
    let place = place_with_whole_run(&config, &[]);
    place.trainer(&run("other", &["--seed", "2"])).expect(0, &[]);
    assert_ne!(timeless_csv(&place.path("whole")), timeless_csv(&place.path("other")));
}

#[test]
fn damaged_checkpoints_are_refused_and_an_earlier_one_is_used() {
    let config = short("ppo");
    let place = place_with_whole_run(&config, &[]);
    let whole = place.path("whole");
    let good = checkpoints(&whole);
    assert_eq!(good.len(), 3);
    let latest = fs::read(&good[2]).expect("a checkpoint");
    let flipped = |position: usize| {
        let mut bytes = latest.clone();
        bytes[position] ^= 0x10;
        bytes
    };
    let newer = [&latest[..8], &9_u32.to_le_bytes(), &latest[12..]].concat();
    let longer = [&latest[..], b"x"].concat();
    let middle = latest.len() / 2;
    let damages: [(Vec<u8>, &str); 10] = [
        (latest[..middle].to_vec(), "is truncated"),
        (latest[..latest.len() - 1].to_vec(), "is truncated"),
        (latest[..10].to_vec(), "is truncated"),
        (Vec::new(), "is empty"),
        (flipped(middle), "is damaged"),
        (flipped(latest.len() - 1), "is damaged"),
        (flipped(21), "is damaged"),
        (longer, "is damaged"),
        (b"PK\x03\x04 an archive of another program".to_vec(), "is no Backburn checkpoint"),
        (newer, "has format 9; this program reads format 8"),
    ];
    for (bytes, message) in &damages {
        fs::remove_file(whole.join("summary.json")).expect("it is removed");
        fs::write(&good[2], bytes).expect("it is damaged");
        let steps = good[2].file_name().unwrap().to_string_lossy();
        place.trainer(&["eval", "whole", "--checkpoint", "6144"]).expect(2, &[message, &steps]);

        let fragments = ["warning: ", message, &steps, "using whole/checkpoints/step-000000004096"];
        place.trainer(&["resume", "whole"]).expect(0, &fragments);
        let mended = fs::read(&good[2]).expect("it is there again");
        assert_eq!(mended.len(), latest.len(), "{message}");
    }
    place.trainer(&run("fresh", &[])).expect(0, &[]);
    assert_same(&place, "whole", "fresh");

    // With none left there is nothing to go on with, and the run is left as it is.
    for path in &good {
        fs::write(path, &latest[..middle]).expect("it is damaged");
    }
    let names = ["step-000000002048.ckpt", "step-000000004096.ckpt", "step-000000006144.ckpt"];
    let ended = place.trainer(&["resume", "whole"]).expect(2, &names);
    ended.expect(2, &["no checkpoint is usable", "is truncated"]);
    place.trainer(&["eval", "whole", "--checkpoint", "best"]).expect(0, &[]);
}

#[test]
fn a_checkpoint_of_another_configuration_is_refused() {
    let config = short("ppo");
    let place = place_with_whole_run(&config, &[]);
    let path = place.path("whole/config.toml");
    let resolved = fs::read_to_string(&path).expect("the resolved configuration");
    let changes = [
        ("hidden = [64, 64]", "hidden = [8]", "network.hidden is [64, 64] there and [8] here"),
        ("num_envs = 8", "num_envs = 4", "env.num_envs is 8 there and 4 here"),
        ("rollout_steps = 256", "rollout_steps = 128", "agent.rollout_steps is 256 there and 128"),
        ("name = \"pendulum\"", "name = \"reach\"", "env.name is pendulum there and reach here"),
        (
            "normalize_observations = false",
            "normalize_observations = true",
            "env.normalize_observations is false there and true here",
        ),
        ("normalize_rewards = false", "normalize_rewards = true", "env.normalize_rewards is false"),
        // What no length gives away.
        ("seed = 1", "seed = 2", "seed is 1 there and 2 here"),
        ("gamma = 0.99", "gamma = 0.9", "agent.gamma is 0.99 there and 0.9 here"),
        ("\"tanh\"", "\"relu\"", "network.activation is tanh there and relu here"),
        ("squash = false", "squash = true", "network.squash is false there and true here"),
        ("torque = 2.0", "torque = 3", "env.parameters.max_torque is 2.0 there and 3.0 here"),
        (
            "\nmass = 1.0",
            "\nmass = { uniform = [0.5, 2] }",
            "env.parameters.mass is 1.0 there and { uniform = [0.5, 2.0] } here",
        ),
        ("action_repeat = 1", "action_repeat = 2", "env.action_repeat is 1 there and 2 here"),
        (
            "action_repeat = 1",
            "action_repeat = 1\nmax_episode_steps = 50",
            "env.max_episode_steps is not given there and 50 here",
        ),
    ];
    for (from, to, difference) in &changes {
        let mut changed = resolved.replace(from, to);
        if difference.starts_with("env.name") {
            // Another environment has other parameters.
            let (before, rest) = changed.split_once("[env.parameters]").expect("parameters");
            let (_, after) = rest.split_once("\n[").expect("a table that follows");
            changed = format!("{before}[{after}");
        }
        assert_ne!(changed, resolved, "{from}");
        fs::write(&path, changed).expect("it is changed");
        let cure = "change config.toml back";
        let message = "step-000000006144.ckpt: belongs to another configuration: ";
        place.trainer(&["resume", "whole"]).expect(2, &[message, difference, cure]);
    }
    // All that differs is named.
    let both = resolved.replace("gamma = 0.99", "gamma = 0.9").replace("\"tanh\"", "\"relu\"");
    fs::write(&path, both).expect("it is changed");
    place.trainer(&["resume", "whole"]).expect(2, &["agent.gamma is", "network.activation is"]);
    // The same on the command line; and what says how the run goes on is not changed in the file, either.
    fs::write(&path, &resolved).expect("it is changed back");
    let gamma = ["resume", "whole", "--set", "agent.gamma=0.9"];
    place.trainer(&gamma).expect(2, &["agent.gamma is 0.99 there and 0.9 here"]);
    fs::write(&path, resolved.replace("epochs = 3", "epochs = 4")).expect("it is changed");
    let said = [
        "whole/config.toml: was changed after the run had begun",
        "agent.epochs is 3 there and 4 here",
    ];
    let cure = "resume whole --set KEY=VALUE";
    place.trainer(&["resume", "whole"]).expect(2, &said).expect(2, &[cure]);
    fs::write(&path, &resolved).expect("it is changed back");
    assert!(!place.path("whole/changes.toml").exists());

    // A longer run is welcome, and so is another way to go on: it is written down, with the step.
    let other = [
        "total_steps=8192",
        "name=longer",
        "agent.learning_rate=1e-4",
        "agent.gae_lambda=0.9",
        "agent.epochs=2",
        "eval.episodes=3",
        "checkpoint.every_steps=4096",
        "checkpoint.keep=2",
        "agent.clip_range={ start = 0.2, end = 0.1 }",
    ];
    let changes = other.iter().flat_map(|&change| ["--set", change]);
    let resume: Vec<&str> = ["resume", "whole", "--quiet"].into_iter().chain(changes).collect();
    place.trainer(&resume).expect(0, &[]);
    assert_eq!(timeless_csv(&place.path("whole")).len(), 1 + 4);
    assert_eq!(fs::read_to_string(&path).expect("the configuration"), resolved, "as it began");
    let changes = || {
        let text = fs::read_to_string(place.path("whole/changes.toml")).expect("the changes");
        text.parse::<toml::Table>().expect("TOML")["change"].as_array().expect("a list").clone()
    };
    let keys: Vec<String> =
        changes().iter().map(|change| change["key"].as_str().expect("a key").to_owned()).collect();
    let expected = other.map(|change| change.split_once('=').expect("a value").0);
    assert_eq!(keys.iter().map(String::as_str).collect::<BTreeSet<_>>(), BTreeSet::from(expected));
    assert!(changes().iter().all(|change| change["step"].as_integer() == Some(6144)));
    place.trainer(&["eval", "whole"]).expect(0, &[]);
    // What holds is what is changed next, and what is said again changes nothing.
    let again =
        ["--set", "total_steps=10240", "--set", "agent.epochs=2", "--set", "agent.gae_lambda=0.8"];
    place.trainer(&[&["resume", "whole", "--quiet"], &again[..]].concat()).expect(0, &[]);
    let later: Vec<(i64, String)> = changes()[other.len()..]
        .iter()
        .map(|change| (change["step"].as_integer().unwrap(), change["key"].to_string()))
        .collect();
    assert_eq!(later, [(8192, "\"agent.gae_lambda\"".into()), (8192, "\"total_steps\"".into())]);
    // The report says so, and of what was begun otherwise it is no seed.
    place.trainer(&run("fresh", &["--set", "total_steps=10240", "--seed", "2"])).expect(0, &[]);
    place.trainer(&["report", "whole", "fresh"]).expect(0, &[]);
    let page = fs::read_to_string(place.path("report.html")).expect("the page");
    for text in ["2 groups", "0.95, from step 6144 0.9, from step 8192 0.8", "3, from step 6144 2"]
    {
        assert!(page.contains(text), "no {text:?} in the page");
    }
}

#[test]
fn a_policy_says_where_its_task_is_another_one_and_is_not_used_where_it_does_not_fit() {
    let place = place_with_whole_run(&short("ppo"), &[]);
    let path = place.path("whole/config.toml");
    let resolved = fs::read_to_string(&path).expect("the resolved configuration");
    let written = |text: String| fs::write(&path, text).expect("it is changed");

    written(resolved.replace("\nmass = 1.0", "\nmass = 3.0"));
    let warning = "step-000000006144.ckpt: its policy was trained on another task: parameters.mass is 1.0 \
                   there and 3.0 here";
    for arguments in [
        &["eval", "whole", "--episodes", "2"][..],
        &["replay", "whole", "--episodes", "1"],
        &["export", "whole", "--format", "onnx"],
    ] {
        place.trainer(arguments).expect(0, &["warning: ", warning]);
    }

    for (from, to, difference) in [
        ("hidden = [64, 64]", "hidden = [8]", "network.hidden is [64, 64] there and [8] here"),
        ("\"tanh\"", "\"relu\"", "network.activation is tanh there and relu here"),
    ] {
        written(resolved.replace(from, to));
        let refused = ["its policy is another function here: ", difference];
        place.trainer(&["eval", "whole"]).expect(2, &refused);
    }
    let (before, rest) = resolved.split_once("[env.parameters]").expect("parameters");
    let (_, after) = rest.split_once("\n[").expect("a table that follows");
    written(format!("{before}[{after}").replace("\"pendulum\"", "\"cartpole\""));
    let refused = [
        "the environment is pendulum there and cartpole here",
        "an action is 1 numbers there and one of 2 here",
        "an observation is 3 numbers there and 4 numbers here",
    ];
    for arguments in [&["eval", "whole"][..], &["export", "whole", "--format", "onnx"]] {
        place.trainer(arguments).expect(2, &refused);
    }
    let warm = run("warm", &["--set", "env.name=cartpole", "--set", "warm_start=whole"]);
    written(resolved.clone());
    place.trainer(&warm).expect(2, &refused);
    // What is compared says so, too.
    place.trainer(&run("heavy", &["--set", "env.parameters.mass=3"])).expect(0, &[]);
    let ended = place.trainer(&["compare", "whole", "heavy"]).expect(0, &[]);
    let note =
        "returns are of different tasks: parameters.mass is 3.0 there and 1.0 here (there: heavy";
    assert!(ended.stdout.contains(note), "{ended:?}");
}

#[test]
fn one_line_begins_goes_on_and_says_that_it_is_finished() {
    let place = place_with_whole_run(PPO, &["--set", "total_steps=20_000"]);
    let again = run("job", &["--resume", "--set", "total_steps=20_000"]);
    let mut running = Running::start(&place, &again);
    running.reaches_checkpoint(&place.path("job"), None);
    running.kill();
    place.trainer(&again).expect(0, &[]);
    assert_same(&place, "whole", "job");
    let loud = ["run", "config.toml", "--resume", "--out", "job", "--set", "total_steps=20_000"];
    let ended = place.trainer(&loud).expect(0, &[]);
    assert!(ended.stdout.contains("job: finished, 19968 steps are done"), "{ended:?}");
    // Nobody has changed the file, whatever the run was told later.
    place.trainer(&["resume", "job", "--set", "total_steps=22_000", "--quiet"]).expect(0, &[]);
    place.trainer(&loud).expect(0, &[]);
    let other = [&loud[..], &["--set", "agent.epochs=5"]].concat();
    let refused = ["job: was begun with another configuration: agent.epochs is 4 there and 5 here"];
    place
        .trainer(&other)
        .expect(2, &refused)
        .expect(2, &["resume job --set KEY=VALUE", "--out DIR"]);
    place.trainer(&[&loud[..], &["--overwrite"]].concat()).expect(2, &["cannot be used with"]);
}

#[test]
fn an_evaluation_that_is_good_enough_ends_a_run_and_so_does_the_clock() {
    let place = Place::new();
    place.write("config.toml", PPO);
    let summary = |run: &str| {
        let text = fs::read_to_string(place.path(run).join("summary.json")).expect("a summary");
        serde_json::from_str::<serde_json::Value>(&text).expect("JSON")
    };
    let easy = run("easy", &["--set", "eval.stop_at=20"]);
    place.trainer(&easy).expect(0, &[]);
    let ended = summary("easy");
    let steps = ended["steps"].as_u64().expect("steps");
    assert!(ended["ended_by"] == "stop_at" && steps < 29_000, "{ended}");
    assert!(ended["eval"]["mean_return"].as_f64() >= Some(20.0), "{ended}");
    let said = place.trainer(&["resume", "easy"]).expect(0, &[]).stdout;
    assert!(said.contains(&format!("finished, {steps} steps are done")), "{said}");
    // A goal that is raised is one to go on to.
    place.trainer(&["resume", "easy", "--quiet", "--set", "eval.stop_at=1e6"]).expect(0, &[]);
    assert_eq!(
        (&summary("easy")["steps"], &summary("easy")["ended_by"]),
        (&29_952.into(), &().into())
    );

    let endless = ["--set", "total_steps=1_000_000_000", "--set", "max_seconds=0.3"];
    place.trainer(&run("clock", &endless)).expect(0, &[]);
    let ended = summary("clock");
    let seconds = ended["seconds"].as_f64().expect("seconds");
    assert!(ended["ended_by"] == "max_seconds" && (0.3..60.0).contains(&seconds), "{ended}");
    place.trainer(&["eval", "clock"]).expect(0, &[]);

    let never = run("never", &["--set", "eval.stop_at=1", "--set", "eval.every_steps=0"]);
    place.trainer(&never).expect(0, &["warning: eval.stop_at: there is no evaluation on the way"]);
}

#[test]
fn a_run_does_not_move_in_among_other_things() {
    let place = Place::new();
    place.write("config.toml", PPO.replace("total_steps = 30_000", "total_steps = 1_280"));
    place.trainer(&run("runs/one", &[])).expect(0, &[]);
    fs::create_dir(place.path("configs")).expect("a directory");
    place.write("configs/config.toml", PPO);
    for (out, what) in
        [("runs", "(one)"), ("configs", "(config.toml)"), (".", "(config.toml, configs, runs)")]
    {
        for flags in [&[][..], &["--overwrite"], &["--resume"]] {
            let ended = place.trainer(&run(out, flags));
            let said = [": holds other things than a run ", what, "--out DIR"];
            // A configuration that lies there for itself is no run that could go on.
            ended.expect(2, &said);
        }
    }
    let sweep = PPO.replace("[agent]", "[sweep]\nseeds = 2\ngrid.agent.epochs = [1, 2]\n[agent]");
    place.write("sweep.toml", sweep);
    for out in ["runs", "runs/one"] {
        let ended = place.trainer(&["run", "sweep.toml", "--out", out]);
        ended.expect(2, &[": holds other things than a sweep ("]);
    }
    assert!(
        place.path("configs/config.toml").exists() && place.path("runs/one/summary.json").exists()
    );
}

/// A run of `config.toml` with these flags whose `summary.json` says so many steps.
#[track_caller]
fn assert_summary_of(place: &Place, run: &str, steps: u64) {
    let text = fs::read_to_string(place.path(run).join("summary.json")).expect("a summary");
    let summary: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(summary["steps"], steps);
}

#[test]
fn a_summary_is_about_the_steps_that_are_done() {
    let config = short("ppo");
    let place = place_with_whole_run(&config, &[]);
    let whole = place.path("whole");
    assert_summary_of(&place, "whole", 6144);
    let old = fs::read(whole.join("summary.json")).expect("a summary");

    // A run that goes on is not finished, and what is compared knows that.
    let longer = |steps| ["resume", "whole", "--quiet", "--set", steps];
    let mut running = Running::start(&place, &longer("total_steps=1_000_000_000"));
    let begun = Instant::now();
    while timeless_csv(&whole).len() < 1 + 4 {
        assert!(begun.elapsed() < PATIENCE, "it does not go on");
        assert!(running.0.try_wait().expect("its state").is_none(), "it goes on");
        sleep(Duration::from_millis(1));
    }
    running.kill();
    assert!(!whole.join("summary.json").exists(), "the summary of fewer steps");
    place.trainer(&["compare", "whole"]).expect(2, &["whole: no run is finished"]);

    // One that is left from before, as by a process that was killed when it wrote the new one.
    place.trainer(&longer("total_steps=65536")).expect(0, &[]);
    assert_summary_of(&place, "whole", 65536);
    fs::write(whole.join("summary.json"), old).expect("it is put back");
    let ended = place.trainer(&["resume", "whole", "--json"]).expect(0, &[]);
    let json: serde_json::Value = serde_json::from_str(&ended.stdout).expect("JSON");
    assert_eq!(json["steps"], 65536);
    assert_summary_of(&place, "whole", 65536);
}

#[test]
fn an_editor_that_replaces_the_configuration_does_not_let_a_second_process_in() {
    let place = Place::new();
    place.write("config.toml", TRPO);
    let endless = ["--set", "total_steps=1_000_000_000"];
    let mut running = Running::start(&place, &run("edited", &endless));
    let edited = place.path("edited");
    assert!(running.reaches_checkpoint(&edited, None));
    // As editors save: a new file under the old name.
    let text = fs::read_to_string(edited.join("config.toml")).expect("the configuration");
    place.write("edited/config.toml.new", text);
    fs::rename(edited.join("config.toml.new"), edited.join("config.toml")).expect("it is saved");
    let busy = place.trainer(&["resume", "edited", "--quiet"]);
    busy.expect(2, &["edited: another process is working on this run", "--out DIR"]);
    running.kill();
}

#[test]
fn of_runs_that_begin_in_one_directory_at_once_one_goes_on() {
    let place = Place::new();
    // An iteration in a few milliseconds.
    let config = PPO.replace("total_steps = 30_000", "total_steps = 1_280");
    place.write("config.toml", config);
    for round in 0..20 {
        let out = format!("new-{round}");
        let begun: Vec<Running> = (0..6).map(|_| Running::start(&place, &run(&out, &[]))).collect();
        let ended: Vec<Ended> = begun.into_iter().map(Running::end).collect();
        let (done, refused): (Vec<_>, Vec<_>) =
            ended.into_iter().partition(|ended| ended.code == Some(0));
        assert_eq!((done.len(), refused.len()), (1, 5), "{refused:#?}");
        for ended in refused {
            let working = ended.stderr.contains("another process is working on this run");
            let done = ended.stderr.contains("holds a run already");
            assert!(ended.code == Some(2) && (working || done), "{ended:#?}");
        }
        assert_eq!(timeless_csv(&place.path(&out)).len(), 1 + 10, "a row an iteration");
    }
}

#[test]
fn a_directory_of_a_run_that_never_began_is_taken() {
    let place = Place::new();
    place.write("config.toml", PPO.replace("total_steps = 30_000", "total_steps = 1_280"));
    // What is left by a process that was killed, or had no room on the disk, at its very beginning.
    fs::create_dir_all(place.path("new/checkpoints")).expect("a directory");
    place.write("new/.tmp-config.toml", "half of");
    let ended = place.trainer(&["resume", "new"]);
    ended.expect(2, &["new: holds no config.toml"]);
    place.trainer(&run("new", &[])).expect(0, &[]);
    assert!(!place.path("new/.tmp-config.toml").exists(), "what was unfinished is gone");
    // Whenever a process is killed, either `run` takes the directory or it says truly that `resume` does.
    for pause in 0..20 {
        let out = format!("killed-{pause}");
        let running = Running::start(&place, &run(&out, &[]));
        sleep(Duration::from_millis(pause));
        running.kill();
        let again = place.trainer(&run(&out, &[]));
        if again.code != Some(0) {
            again.expect(2, &["holds a run already; go on with it"]);
            place.trainer(&["resume", &out, "--quiet"]).expect(0, &[]);
        }
    }
    // But results are not thrown away because a file is missing.
    fs::remove_file(place.path("new/config.toml")).expect("it is removed");
    let refused = ["new: holds what a run has left, without its config.toml", "--overwrite"];
    place.trainer(&run("new", &[])).expect(2, &refused);
    assert!(!checkpoints(&place.path("new")).is_empty());
    place.trainer(&run("new", &["--overwrite"])).expect(0, &[]);
}

#[test]
fn no_more_checkpoints_are_kept_than_asked_for_after_a_kill_either() {
    let place = place_with_whole_run(PPO, &["--set", "total_steps=5000"]);
    let whole = place.path("whole");
    let kept = checkpoints(&whole);
    assert_eq!(kept.len(), 3);
    // Killed between the new one and the oldest one's end.
    let older = kept[0].with_file_name("step-000000000128.ckpt");
    fs::copy(&kept[0], &older).expect("a copy");
    place.trainer(&["resume", "whole", "--quiet"]).expect(0, &[]);
    assert_eq!(checkpoints(&whole), kept);
}

/// Every checkpoint of a run with something about it changed, as JSON.
fn forge(run: &Path, change: impl Fn(&mut serde_json::Value)) {
    for path in checkpoints(run) {
        let mut json = serde_json::to_value(Checkpoint::read(&path).expect("a whole one")).unwrap();
        change(&mut json);
        let forged: Checkpoint = serde_json::from_value(json).expect("a checkpoint's form");
        forged.write(&path).expect("it is written");
    }
}

#[test]
fn checkpoints_that_no_run_can_have_saved_are_refused() {
    let place = Place::new();
    place.write("config.toml", PPO);
    let far = f64::from(f32::MAX) * 10.0;
    let forgeries: [(&str, serde_json::Value, &str); 10] = [
        (
            "/training/agent/observation_normalizer/statistics/variance",
            [0.0; 0].into(),
            "normaliser",
        ),
        (
            "/training/agent/observation_normalizer/statistics/variance/0",
            (-1.0).into(),
            "normaliser",
        ),
        ("/training/agent/observation_normalizer/statistics/count", 0.0.into(), "normaliser"),
        ("/training/agent/policy/3", far.into(), "policy's parameters"),
        ("/training/agent/critics/0/params/3", far.into(), "critic's parameters"),
        ("/training/agent/critics/0/optimizer/v/1", (-1.0).into(), "critic's optimiser"),
        ("/training/agent/critics/0/optimizer/m/1", far.into(), "critic's optimiser"),
        ("/elapsed_seconds", (-1.0).into(), "seconds"),
        ("/training/progress/seconds", (-1.0).into(), "seconds"),
        (
            "/training/recent/episodes",
            vec![(1.0, 1, ()); 101]
                .into_iter()
                .map(|(a, b, ())| {
                    serde_json::json!({
                        "episode_return": a, "length": b, "success": null, "costs": [],
                    })
                })
                .collect(),
            "recent episodes",
        ),
    ];
    for (at, value, what) in forgeries {
        place.trainer(&run("forged", &["--set", "total_steps=1280", "--overwrite"])).expect(0, &[]);
        forge(&place.path("forged"), |json| {
            *json.pointer_mut(at).unwrap_or_else(|| panic!("no {at}")) = value.clone();
        });
        for arguments in
            [&["resume", "forged", "--set", "total_steps=2560"][..], &["eval", "forged"]]
        {
            let ended = place.trainer(arguments);
            ended.expect(2, &["step-000000001280.ckpt: holds what no run can have saved: ", what]);
        }
    }
}

#[cfg(unix)]
#[test]
fn a_second_interrupt_ends_at_once_and_says_what_is_lost() {
    let place = Place::new();
    // An iteration takes longer than the test.
    place.write("config.toml", TRPO);
    let slow = ["--set", "agent.rollout_steps=1_000_000", "--set", "total_steps=1_000_000_000"];
    let mut running = Running::start(&place, &run("slow", &slow));
    let interrupt = |running: &Running| {
        let id = running.0.id().to_string();
        let sent = Command::new("kill").args(["-INT", &id]).status();
        assert!(sent.expect("kill starts").success());
    };
    let started = Instant::now();
    while !place.path("slow/metrics.csv").exists() {
        assert!(started.elapsed() < PATIENCE, "it does not begin");
        sleep(Duration::from_millis(1));
    }
    interrupt(&running);
    sleep(Duration::from_millis(100));
    assert!(running.0.try_wait().expect("its state").is_none(), "it ends its iteration");
    interrupt(&running);
    let lost = "warning: stopped at once; what was done since the last checkpoint is lost";
    running.end().expect(130, &["warning: stopping after this iteration", lost]);
}

#[cfg(unix)]
#[test]
fn an_interrupt_saves_a_checkpoint_and_the_run_goes_on_from_it() {
    let place = Place::new();
    place.write("config.toml", TRPO);
    let interrupted = place.path("interrupted");
    // Nothing in this configuration depends on the length of the run, which is endless at first.
    let endless = ["--set", "total_steps=1_000_000_000"];
    let mut running = Running::start(&place, &run("interrupted", &endless));
    assert!(running.reaches_checkpoint(&interrupted, None));

    // Meanwhile nobody else may touch the run.
    let busy = place.trainer(&["resume", "interrupted"]);
    busy.expect(2, &["another process is working on this run"]);
    let replace = [&endless[..], &["--overwrite"]].concat();
    let busy = place.trainer(&run("interrupted", &replace));
    busy.expect(2, &["another process is working on this run"]);

    let id = running.0.id().to_string();
    let sent = Command::new("kill").args(["-INT", &id]).status();
    assert!(sent.expect("kill starts").success());
    let ended = running.end().expect(130, &["warning: stopping after this iteration"]);
    ended.expect(130, &["error: interrupted at step", "trainer resume interrupted"]);
    assert!(!interrupted.join("summary.json").exists());

    let last = checkpoints(&interrupted).pop().expect("a checkpoint");
    let steps = Checkpoint::read(&last).expect("a whole one").training.progress.steps + 2048;
    let shorter = format!("total_steps={steps}");
    place.trainer(&["resume", "interrupted", "--quiet", "--set", &shorter]).expect(0, &[]);
    place.trainer(&run("whole", &["--set", &format!("total_steps={steps}")])).expect(0, &[]);
    assert_same(&place, "whole", "interrupted");
}

/// A run of one iteration that takes seconds, with the shell's words before it; once it has begun.
#[cfg(unix)]
fn long_iteration(place: &Place, before: &str) -> Running {
    place.write("config.toml", TRPO);
    let trainer = support::trainer_binary().display();
    let slow = "--set agent.rollout_steps=300_000 --set total_steps=1_000_000_000";
    let line = format!("{before} exec '{trainer}' run config.toml --quiet --out slow {slow}");
    let mut command = Command::new("sh");
    command.args(["-c", &line]).current_dir(place.path(".")).stdin(Stdio::null());
    let running = Running(command.stderr(Stdio::piped()).spawn().expect("a shell"));
    let started = Instant::now();
    while !place.path("slow/metrics.csv").exists() {
        assert!(started.elapsed() < PATIENCE, "it does not begin");
        sleep(Duration::from_millis(1));
    }
    running
}

#[cfg(unix)]
fn send(running: &Running, signal: &str) {
    let sent = Command::new("kill").args([signal, &running.0.id().to_string()]).status();
    assert!(sent.expect("kill starts").success());
}

#[cfg(unix)]
#[test]
fn what_a_scheduler_sends_stops_with_a_checkpoint_as_often_as_it_comes() {
    for first in ["-TERM", "-HUP", "-USR1", "-USR2"] {
        let place = Place::new();
        let running = long_iteration(&place, "");
        for signal in [first, "-TERM", "-TERM", "-HUP", "-USR1", "-USR2", "-INT"] {
            send(&running, signal);
            sleep(Duration::from_millis(10));
        }
        running
            .end()
            .expect(130, &["warning: stopping after this iteration", "error: interrupted"]);
        assert_eq!(checkpoints(&place.path("slow")).len(), 1, "{first}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn what_nohup_ignores_stays_ignored() {
    let place = Place::new();
    let mut running = long_iteration(&place, "trap '' HUP;");
    send(&running, "-HUP");
    assert!(running.reaches_checkpoint(&place.path("slow"), None), "it goes on");
    sleep(Duration::from_millis(100));
    assert!(running.0.try_wait().expect("its state").is_none(), "it goes on");
    send(&running, "-TERM");
    running.end().expect(130, &["warning: stopping after this iteration"]);
}

#[test]
fn a_number_that_is_not_finite_stops_the_run_and_the_last_good_checkpoint_stays() {
    let place = Place::new();
    // Twelve layers multiply what a learning rate that rises without bounds makes of their weights: with
    // any seed, being wide.
    let config = short("ppo")
        .replace("= 6144", "= 20480")
        .replace("minibatch_size = 1024", "")
        .replace("[agent]", "[agent]\nlearning_rate = { start = 1e-4, end = 10.0 }");
    place.write("config.toml", config);
    let layers = "network.hidden=[64,64,64,64,64,64,64,64,64,64,64,64]";
    let settings = ["--set", layers, "--set", "network.activation=relu"];
    let ended = place.trainer(&run("diverging", &settings));
    let ended =
        ended.expect(1, &["error: iteration ", " is not finite", "the last good checkpoint is "]);
    let last = checkpoints(&place.path("diverging")).pop().expect("a checkpoint");
    let name = last.file_name().unwrap().to_string_lossy();
    assert!(ended.stderr.contains(&*name), "{name} in {ended:?}");
    Checkpoint::read(&last).expect("it is whole");
    assert!(!place.path("diverging/summary.json").exists());
}

#[test]
fn a_warm_start_takes_over_the_policy() {
    let place = place_with_whole_run(PPO, &["--set", "total_steps=5000"]);
    // One iteration that learns nothing: what it ends with is what it began with.
    let still = ["--set", "agent.learning_rate=0", "--set", "total_steps=128", "--seed", "7"];
    let warm = ["--set", "warm_start=whole"];
    place.trainer(&run("warm", &[&still[..], &warm].concat())).expect(0, &[]);
    place.trainer(&run("cold", &still)).expect(0, &[]);
    let policy = |run: &str| {
        let path = checkpoints(&place.path(run)).pop().expect("a checkpoint");
        Checkpoint::read(&path).expect("a whole checkpoint").training.agent.policy
    };
    assert_eq!(policy("warm"), policy("whole"));
    assert_ne!(policy("cold"), policy("whole"));

    // The same numbers in another network are another policy.
    for (key, difference) in [
        ("network.activation=relu", "network.activation is tanh there and relu here"),
        ("network.hidden=[8]", "network.hidden is [16] there and [8] here"),
        ("env.normalize_observations=false", "env.normalize_observations is true there and false"),
    ] {
        let other = [&still[..], &warm, &["--set", key]].concat();
        let refused = ["--set warm_start=whole: warm_start: whole: its policy", difference];
        place.trainer(&run("other", &other)).expect(2, &refused);
    }
}

#[test]
fn a_warm_start_takes_the_critic_and_holds_the_policy_while_it_is_fitted() {
    let place = place_with_whole_run(PPO, &["--set", "total_steps=5000"]);
    let last = |run: &str| {
        let path = checkpoints(&place.path(run)).pop().expect("a checkpoint");
        Checkpoint::read(&path).expect("a whole checkpoint")
    };
    let critic = |run: &str| last(run).training.agent.critics[0].params.clone();
    let warm = |out: &str, table: &str, more: &[&str]| {
        let table = format!("warm_start={{ run = 'whole', {table} }}");
        place.trainer(&[&run(out, &["--seed", "7", "--set", &table]), more].concat())
    };
    let still = ["--set", "agent.learning_rate=0", "--set", "total_steps=128"];
    warm("both", "critic = true", &still).expect(0, &[]);
    assert_eq!(critic("both"), critic("whole"));
    warm("one", "critic = false", &still).expect(0, &[]);
    assert_ne!(critic("one"), critic("whole"));
    // The scale of rewards is the critic's unit: it goes on from where it was.
    let count = |run: &str| {
        let state = last(run).training.collector;
        state.reward_statistics().expect("rewards are normalised").count()
    };
    assert!(count("both") > count("whole") && count("one") < 200.0);

    // Four iterations of the critic alone, the fifth of both.
    let table = "critic = true, critic_warmup = 4";
    let entropy = ["--set", "agent.entropy_coef=0.1"];
    for (steps, is_held) in [("total_steps=512", true), ("total_steps=640", false)] {
        let out = steps.replace('=', "-");
        warm(&out, table, &[&entropy[..], &["--set", steps]].concat()).expect(0, &[]);
        assert_eq!(
            last(&out).training.agent.policy == last("whole").training.agent.policy,
            is_held,
            "{steps}"
        );
        assert_ne!(critic(&out), critic("whole"), "{steps}");
    }
    warm("other", "critic = true", &["--set", "env.normalize_rewards=false"]).expect(
        2,
        &["warm_start: whole: its critic can't be taken: env.normalize_rewards is true"],
    );
    warm("other", "critics = true", &[]).expect(2, &["warm_start", "critic_warmup = 10"]);
}

#[test]
fn an_evaluation_repeats_the_one_at_the_end_of_the_run() {
    let place = place_with_whole_run(PPO, &["--set", "total_steps=5000"]);
    let text = fs::read_to_string(place.path("whole/summary.json")).expect("a summary");
    let summary: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let mean = format!("return      {:.2} ", summary["eval"]["mean_return"].as_f64().unwrap());
    let greedy = place.trainer(&["eval", "whole"]).expect(0, &[]);
    assert!(greedy.stdout.contains(&mean), "{mean} in {}", greedy.stdout);
    let sampled = place.trainer(&["eval", "whole", "--stochastic"]).expect(0, &[]);
    assert_ne!(greedy.stdout, sampled.stdout);
}
