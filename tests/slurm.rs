//! `trainer submit` on a real Slurm with two nodes on this machine (tests/slurm.sh). Where that can't run, the tests say
//! so and do nothing.

mod support;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use support::{Ended, Place, assert_same, mpi_trainer, trainer_binary};

/// What `tests/slurm.sh` ends with where there can be no Slurm.
const IMPOSSIBLE: i32 = 77;

/// A sweep of two values and two seeds: long enough to be disturbed.
const SWEEP: &str = "\
total_steps = 120_000
env = { name = 'pendulum', num_envs = 8 }
agent = { algorithm = 'ppo', rollout_steps = 64 }
network = { hidden = [16] }
eval = { episodes = 2 }
checkpoint = { every_steps = 5_000 }
[sweep]
seeds = 2
confirm_seeds = 1
grid.agent.learning_rate = [1e-3, 1e-4]
";

const RUN: &str = "\
total_steps = 200_000
env = { name = 'pendulum', num_envs = 8 }
agent = { algorithm = 'ppo', rollout_steps = 64 }
network = { hidden = [16] }
eval = { episodes = 2 }
checkpoint = { every_steps = 5_000 }
";

/// What the commands of a shell script beside a Slurm come to; `$trainer` is the program. `None`, with a line that
/// says so, where there can be no Slurm.
fn beside_slurm(place: &Place, program: &Path, script: &str) -> Option<Ended> {
    const HELPERS: &str = r#"
set -eu
until_there() {  # PATTERN: waits for a file
    for _ in $(seq 1200); do
        ls $1 >/dev/null 2>&1 && return
        sleep 0.1
    done
    echo "no $1 in time" >&2
    squeue >&2
    tail -n 20 "$BACKBURN_SLURM"/*.log */slurm-*.log >&2
    exit 1
}
start_again() {  # JOB: which would wait longer once it has been stopped
    for _ in $(seq 300); do
        squeue --noheader --job "$1" --states=PENDING | grep -q BeginTime && break
        sleep 0.1
    done
    # A node takes a job for revoked that starts again in the second in which it was stopped.
    sleep 2
    scontrol update jobid="$1" StartTime=now
}
"#;
    // First of all: while it is built, cargo's own name for it has another program, and no core is free.
    let _ = mpi_trainer();
    let output = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/slurm.sh"))
        .args(["bash", "-c", &format!("{HELPERS}{script}")])
        .current_dir(place.path("."))
        .env("trainer", program)
        .stdin(Stdio::null())
        .output()
        .expect("bash starts");
    let ended = Ended {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    };
    if ended.code == Some(IMPOSSIBLE) {
        // Past the test harness, which keeps to itself what a passing test prints.
        let _ = writeln!(
            std::io::stderr().lock(),
            "\nSKIPPED what needs Slurm: {}",
            ended.stderr.trim()
        );
        return None;
    }
    Some(ended)
}

/// A place with a sweep and what it comes to on one machine, in `alone`.
fn place_with(sweep: &str) -> Place {
    let place = Place::new();
    place.write("sweep.toml", sweep);
    place
        .trainer(&["run", "sweep.toml", "--quiet", "--out", "alone", "--jobs", "2"])
        .expect(0, &[]);
    place
}

/// Every run of both sweeps has the same bits, the winner's among them.
fn assert_same_sweep(place: &Place) {
    for run in ["trials/1/1", "trials/1/2", "trials/2/1", "trials/2/2", "confirm/3"] {
        assert_same(place, &format!("alone/{run}"), &format!("jobs/{run}"));
    }
    let best = |sweep: &str| fs::read_to_string(place.path(sweep).join("best.toml")).expect("best");
    assert_eq!(best("alone"), best("jobs"));
}

#[test]
fn a_sweep_is_an_array_that_survives_its_limit_of_time_and_a_lost_node() {
    // Long enough that no worker is done with its trial before all commands of the script have come to it.
    // With two cores a worker has a node to itself, so that one is lost and not both.
    let sweep = SWEEP.replace("120_000", "6_000_000").replace("= 5_000", "= 100_000");
    let place = place_with(&sweep);
    let script = r#"
"$trainer" submit sweep.toml --out jobs --time 30 --cpus 2 --parallel 8 --json >submitted.json
for _ in $(seq 600); do
    [ "$(squeue --noheader --array --job 1 --states=RUNNING | wc -l)" = 2 ] && break
    sleep 0.1
done
until_there 'jobs/trials/1/*/checkpoints/step-*'
until_there 'jobs/trials/2/*/checkpoints/step-*'
[ "$(squeue --noheader --array --job 1 --states=RUNNING | wc -l)" = 2 ] || { echo "a worker is done" >&2; exit 1; }
# As at the limit of time, twice.
scancel --signal=TERM --batch 1_1
scancel --signal=TERM --batch 1_1 || true
# A node is lost with all that it runs.
node=$(squeue --noheader --array --job 1_2 --format %N)
for process in /proc/[0-9]*; do
    tr '\0' '\n' <"$process/environ" 2>/dev/null | grep -qx "SLURMD_NODENAME=$node" && kill -KILL "${process#/proc/}" || true
done
pkill -KILL -f "slurmd.*-N $node" || true
start_again 1_1
# Slurm notices the loss, and queues the worker again; another node would take it at once.
for _ in $(seq 300); do
    squeue --noheader --job 1_2 --states=PENDING | grep -q . && break
    sleep 0.1
done
squeue >&2
scontrol update jobid=1_2 StartTime=now || true
until_there 'jobs/confirm.csv'
cat jobs/slurm-1_1.log
"#;
    let Some(ended) = beside_slurm(&place, trainer_binary(), script) else { return };
    let ended = ended.expect(0, &[]);
    assert!(ended.stdout.contains("interrupted with"), "{ended:#?}");
    let text = fs::read_to_string(place.path("submitted.json")).expect("what was submitted");
    let submitted: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((&submitted["job"], &submitted["last"]), (&"1".into(), &"2".into()));
    assert_same_sweep(&place);
}

/// A run that is submitted with these options, and stopped before its limit of time, comes to what one comes to
/// that is not.
fn assert_goes_on_after_its_limit(program: &Path, options: &str) {
    let place = Place::new();
    place.write("run.toml", RUN);
    place.trainer(&["run", "run.toml", "--quiet", "--out", "alone"]).expect(0, &[]);
    let submit = format!("\"$trainer\" submit run.toml --out jobs --time 30 {options}");
    let rest = r#"
until_there 'jobs/checkpoints/step-*'
scancel --signal=TERM --batch 1
start_again 1
until_there 'jobs/summary.json'
cat jobs/slurm-1.log
"#;
    let Some(ended) = beside_slurm(&place, program, &(submit + rest)) else { return };
    let ended = ended.expect(0, &[]);
    assert!(ended.stdout.contains("interrupted at step"), "{ended:#?}");
    assert_same(&place, "alone", "jobs");
}

#[test]
fn a_run_is_a_job_that_goes_on_after_its_limit_of_time() {
    assert_goes_on_after_its_limit(trainer_binary(), "--cpus 2");
}

#[test]
fn two_nodes_train_one_policy() {
    let Some(program) = mpi_trainer() else { return };
    assert_goes_on_after_its_limit(program, "--nodes 2");
}

#[test]
fn a_dry_run_submits_nothing_and_the_script_is_one_that_bash_takes() {
    let _ = mpi_trainer();
    let place = Place::new();
    place.write("sweep.toml", SWEEP);
    place.write("run.toml", RUN);
    let sweep = ["submit", "sweep.toml", "--dry-run", "--time", "2h", "--cpus", "4"];
    let more = ["--partition", "long", "--sbatch=--mem=4G", "--out", "a sweep", "--parallel", "1"];
    let script = place.trainer(&[&sweep[..], &more].concat()).expect(0, &[]).stdout;
    for line in ["time=2:00:00", "cpus-per-task=4", "partition=long", "array=1-1", "mem=4G"] {
        assert!(script.contains(&format!("#SBATCH --{line}\n")), "{line}: {script}");
    }
    assert_eq!(script, fs::read_to_string(place.path("a sweep/job.sh")).expect("it is kept"));
    place
        .trainer(&["submit", "run.toml", "--dry-run", "--time", "9", "--out", "run"])
        .expect(0, &[]);
    for script in ["a sweep/job.sh", "a sweep/last.sh", "run/job.sh"] {
        let checked = Command::new("bash").arg("-n").arg(place.path(script)).status();
        assert!(checked.expect("bash starts").success(), "{script}");
    }
}

#[test]
fn what_can_not_be_a_job_is_refused() {
    let _ = mpi_trainer();
    let place = Place::new();
    place.write("sweep.toml", SWEEP);
    place.write("run.toml", RUN);
    for (arguments, message) in [
        (&["submit", "run.toml"][..], "--time"),
        (&["submit", "run.toml", "--time", "2x"], "a limit of time is 2h, 90m"),
        (&["submit", "sweep.toml", "--time", "9", "--nodes", "2"], "--nodes: is for one run"),
        (&["submit", "run.toml", "--time", "9", "--nodes", "2"], "built without MPI"),
        (&["resume", "nothing", "--shared"], "nothing: "),
    ] {
        place.trainer(arguments).expect(2, &[message]);
    }
    let mut command = place.command(&["submit", "run.toml", "--time", "9"]);
    let output = command.env("PATH", place.path("nowhere")).output().expect("it starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.code() == Some(2) && stderr.contains("sbatch can't be started"),
        "{stderr}"
    );
}

/// Makes the directory `jobs` of a sweep that workers share.
fn prepare(place: &Place) {
    let sweep = ["submit", "sweep.toml", "--dry-run", "--time", "9", "--out", "jobs"];
    place.trainer(&sweep).expect(0, &[]);
}

fn worker(place: &Place) -> Child {
    let mut command = place.command(&["resume", "jobs", "--shared", "--quiet", "--jobs", "1"]);
    command.stderr(Stdio::null()).spawn().expect("a worker starts")
}

#[test]
fn workers_share_a_sweep_and_a_killed_one_costs_nothing_twice() {
    let place = place_with(SWEEP);
    prepare(&place);
    let worker = || worker(&place);
    let (mut one, mut other) = (worker(), worker());
    while !place.path("jobs/trials/2").is_dir() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    // Nobody may have for himself what is shared.
    place.trainer(&["resume", "jobs"]).expect(2, &["another process is working on this sweep"]);
    one.kill().expect("it is killed");
    one.wait().expect("it ends");
    assert!(other.wait().expect("it ends").success());
    // One that joins late.
    assert!(worker().wait().expect("it ends").success());
    place.trainer(&["resume", "jobs", "--quiet"]).expect(0, &[]);
    assert_same_sweep(&place);
}

/// A search that draws its last two trials from the results of those before.
const SEARCH: &str = "\
seeds = 1
[sweep.search]
method = 'tpe'
trials = 10
\"agent.learning_rate\" = { log_uniform = [1e-5, 1e-1] }
";

#[test]
fn workers_share_a_search_that_learns_from_its_trials() {
    let (head, _) = SWEEP.split_once("seeds = 2").expect("a sweep");
    let place = place_with(&format!("{}{SEARCH}", head.replace("120_000", "12_000")));
    prepare(&place);
    let mut workers = [worker(&place), worker(&place)];
    // One that dies leaves its trial to the other one, which waits for it before it chooses further.
    while !place.path("jobs/trials/2/1").is_dir() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    workers[0].kill().expect("it is killed");
    for worker in &mut workers {
        worker.wait().expect("it ends");
    }
    for trial in 1..=10 {
        let run = format!("trials/{trial}/1");
        assert_same(&place, &format!("alone/{run}"), &format!("jobs/{run}"));
    }
    place.trainer(&["resume", "jobs", "--quiet"]).expect(0, &[]);
    let best = |sweep: &str| fs::read_to_string(place.path(sweep).join("best.toml")).expect("best");
    assert_eq!(best("alone"), best("jobs"));
}

/// A sweep whose last trial learns nothing, so that it is pruned when three others are done.
fn pruned(rates: &str) -> String {
    let pruned = SWEEP.replace("confirm_seeds = 1", "pruner = 'median'");
    pruned.replace("seeds = 2", "seeds = 1").replace("[1e-3, 1e-4]", rates)
}

#[test]
fn a_search_and_a_pruned_sweep_are_arrays() {
    let (head, _) = SWEEP.split_once("seeds = 2").expect("a sweep");
    let place = place_with(&format!("{}{SEARCH}", head.replace("120_000", "12_000")));
    // Four at once: when the last one is half done, more than three others are.
    place.write("pruned.toml", pruned("[1e-3, 2e-3, 3e-3, 4e-3, 5e-3, 6e-3, 7e-3, 1e-9]"));
    let script = r#"
"$trainer" submit sweep.toml --out jobs --time 30 --cpus 1 --parallel 2
"$trainer" submit pruned.toml --out pruned --time 30 --cpus 1 --parallel 2
until_there 'jobs/best.toml'
until_there 'pruned/best.toml'
"#;
    let Some(ended) = beside_slurm(&place, trainer_binary(), script) else { return };
    ended.expect(0, &[]);
    for trial in 1..=10 {
        let run = format!("trials/{trial}/1");
        assert_same(&place, &format!("alone/{run}"), &format!("jobs/{run}"));
    }
    let best = |sweep: &str| fs::read_to_string(place.path(sweep).join("best.toml")).expect("best");
    assert_eq!(best("alone"), best("jobs"));
    let record = fs::read_to_string(place.path("pruned/trials/8/trial.toml")).expect("a record");
    assert!(record.contains("status = \"pruned\""), "{record}");
}

#[test]
fn workers_prune_by_trials_that_others_have_done() {
    let place = Place::new();
    // The three before the last one are done by another worker when it begins.
    place.write("sweep.toml", pruned("[1e-3, 2e-3, 3e-3, 1e-9]"));
    prepare(&place);
    let other = place.path("jobs/trials/4");
    fs::create_dir_all(&other).expect("a directory");
    let lock = fs::File::create(other.join(".lock")).expect("a lock");
    lock.lock().expect("nobody has it");
    assert!(worker(&place).wait().expect("it ends").success());
    drop(lock);
    assert!(worker(&place).wait().expect("it ends").success());
    let record = fs::read_to_string(other.join("trial.toml")).expect("a record");
    assert!(record.contains("status = \"pruned\""), "{record}");
}
