//! Several processes that train one policy over MPI: the same bits with any number of them, and what becomes of the
//! others when one fails. With real `mpirun`, more processes than this machine may have cores.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use support::{Ended, Place, assert_same};

/// The trainer with MPI; `None`, with a line that says so, where there is none.
fn trainer() -> Option<&'static Path> {
    static BINARY: OnceLock<Option<PathBuf>> = OnceLock::new();
    BINARY.get_or_init(build).as_deref()
}

fn build() -> Option<PathBuf> {
    let is_there = |program| Command::new(program).arg("--version").output().is_ok();
    if !is_there("mpirun") || !is_there("mpicc") {
        use std::io::Write;
        let line = "SKIPPED training over MPI: there is no mpirun and mpicc (Debian: openmpi-bin, libopenmpi-dev)";
        // Past the test harness, which keeps to itself what a passing test prints.
        let _ = writeln!(std::io::stderr().lock(), "\n{line}");
        return None;
    }
    let build = Command::new(env!("CARGO"))
        .args([
            "build",
            "--release",
            "--workspace",
            "--features",
            "trainer/mpi",
            "--bin",
            "trainer",
        ])
        .args(["--quiet", "--message-format", "json"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo starts");
    assert!(build.status.success(), "the trainer does not build with MPI");
    let built = String::from_utf8_lossy(&build.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .expect("cargo names the binary");
    // The next build without MPI replaces it.
    let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join("trainer-mpi");
    let _ = fs::remove_file(&copy);
    fs::copy(built, &copy).expect("a copy");
    Some(copy)
}

/// So many ranks of a program, not yet started.
fn mpirun(place: &Place, program: &Path, ranks: usize, arguments: &[&str]) -> Command {
    let mut command = Command::new("mpirun");
    command
        .args(["--oversubscribe", "--allow-run-as-root", "-n", &ranks.to_string()])
        .arg(program)
        .args(arguments)
        .env("BACKBURN_RANK_TIMEOUT", "60")
        .current_dir(place.path("."))
        .stdin(Stdio::null());
    command
}

fn ended(output: Output) -> Ended {
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn finish(mut command: Command) -> Ended {
    ended(command.output().expect("mpirun starts"))
}

/// Everything whose order could show: both normalisers, drawn parameters, noise, delays, truncation, minibatches that
/// are no power of two, a target KL, constraints.
const RUNS: [(&str, &str); 5] = [
    (
        "clip",
        "total_steps = 4000
        env = { name = 'reach', num_envs = 9, max_episode_steps = 70, observation_noise = 0.02, \
            normalize_observations = true, normalize_rewards = true, \
            action_delay = { uniform = [0, 3] }, \
            parameters = { link1_mass = { uniform = [0.5, 2.0] } } }
        agent = { algorithm = 'ppo', rollout_steps = 96, minibatch_size = 500, epochs = 4, \
            target_kl = 0.01, entropy_coef = 0.01 }
        network = { hidden = [24, 16] }
        eval = { episodes = 5, every_steps = 1500 }",
    ),
    (
        "penalty",
        "total_steps = 4000
        env = { name = 'cartpole', num_envs = 8 }
        agent = { algorithm = 'ppo', rollout_steps = 128, minibatch_size = 1024, epochs = 3, \
            kl_penalty = { target = 0.01 } }
        network = { hidden = [16], activation = 'relu' }
        eval = { episodes = 3 }",
    ),
    (
        "trpo",
        "total_steps = 4000
        env = { name = 'pendulum', num_envs = 8, max_episode_steps = 50, \
            normalize_observations = true }
        agent = { algorithm = 'trpo', rollout_steps = 100, critic_minibatch_size = 300, \
            critic_epochs = 2 }
        network = { hidden = [16] }
        eval = { episodes = 9, every_steps = 1000 }",
    ),
    (
        "cpo",
        "total_steps = 4000
        env = { name = 'gusty', num_envs = 8 }
        agent = { algorithm = 'cpo', rollout_steps = 128, critic_epochs = 2, \
            constraint = { cost = 'fall', limit = 0.3 } }
        network = { hidden = [] }
        eval = { episodes = 5, every_steps = 1000 }",
    ),
    (
        "lagrangian",
        "total_steps = 4000
        env = { name = 'budget', num_envs = 8, normalize_rewards = true }
        agent = { algorithm = 'ppo', rollout_steps = 64, minibatch_size = 200, epochs = 2, \
            constraint = { cost = 'energy', limit = 3.0 } }
        network = { hidden = [16], squash = true }
        eval = { episodes = 5, every_steps = 1000 }",
    ),
];

/// A place with a run of each name by one process, in directories of the same names.
fn place_with(program: &Path, names: &[&str]) -> Place {
    let place = Place::new();
    for (name, config) in RUNS.iter().filter(|(name, _)| names.contains(name)) {
        let file = format!("{name}.toml");
        place.write(&file, config);
        let mut command = Command::new(program);
        command.args(["run", &file, "--quiet", "--out", name, "--threads", "2"]);
        command.current_dir(place.path("."));
        finish(command).expect(0, &[]);
    }
    place
}

fn train(place: &Place, program: &Path, name: &str, ranks: usize, threads: usize) {
    let (file, out) = (format!("{name}.toml"), format!("{name}-{ranks}-{threads}"));
    let threads = threads.to_string();
    let arguments = ["run", &file, "--quiet", "--out", &out, "--threads", &threads];
    finish(mpirun(place, program, ranks, &arguments)).expect(0, &[]);
    assert_same(place, name, &out);
}

#[test]
fn any_number_of_ranks_and_threads_gives_the_same_bits() {
    let Some(program) = trainer() else { return };
    let place = place_with(program, &["clip"]);
    for ranks in [1, 2, 3, 4, 8] {
        for threads in [1, 2] {
            train(&place, program, "clip", ranks, threads);
        }
    }
}

#[test]
fn every_algorithm_gives_the_same_bits_on_ranks() {
    let Some(program) = trainer() else { return };
    let names = ["penalty", "trpo", "cpo", "lagrangian"];
    let place = place_with(program, &names);
    for name in names {
        for (ranks, threads) in [(2, 1), (3, 2), (8, 1)] {
            train(&place, program, name, ranks, threads);
        }
    }
}
