//! The errors that no other test is about: each is brought about once, with real processes, and must
//! name the place and the cure. Errors of a configuration file are in `cli.rs`, of checkpoints in
//! `resume.rs`.

mod support;

use std::fs::{self, File};
use support::Place;

/// A run of it takes a tenth of a second.
const TINY: &str = "\
total_steps = 128
[env]
name = \"cliff\"
num_envs = 2
[agent]
algorithm = \"ppo\"
rollout_steps = 32
minibatch_size = 16
[eval]
episodes = 1
";

/// A place with `tiny.toml` and a finished run of it in `run`.
fn place() -> Place {
    let place = Place::new();
    place.write("tiny.toml", TINY);
    place.trainer(&["run", "tiny.toml", "--out", "run", "--quiet"]).expect(0, &[]);
    place
}

/// A place with `tiny.toml` as a sweep, and one that ran in `sweep`.
fn place_with_sweep() -> Place {
    let place = Place::new();
    place.write("tiny.toml", format!("{TINY}[sweep.grid]\n\"agent.gamma\" = [0.9]\n"));
    place.trainer(&["run", "tiny.toml", "--out", "sweep", "--quiet"]).expect(0, &[]);
    place
}

#[test]
fn configurations() {
    let place = Place::new();
    let ppo = |line: &str| TINY.replace("minibatch_size = 16", line);
    let trpo = |line: &str| ppo(line).replace("ppo", "trpo");
    let hidden = format!("{TINY}[network]\nhidden = [{}]", "1, ".repeat(33));
    for (text, key, cure) in [
        (hidden, "network.hidden", "at most 32 layers"),
        (ppo("learning_rate = { start = 0, end = 11 }"), "agent.learning_rate", "to 10"),
        (ppo("clip_range = { start = 1, end = -1 }"), "agent.clip_range", "from 0 to 100"),
        (ppo("kl_penalty = 3"), "agent.kl_penalty", "a table like { target = 0.01 }"),
        (trpo("max_kl = { start = 1, end = 0 }"), "agent.max_kl", "above 0"),
        (trpo("critic_minibatch_size = 65"), "agent.critic_minibatch_size", "1 to 64"),
        (format!("warm_start = 3\n{TINY}"), "warm_start", "a path in quotes"),
    ] {
        place.write("bad.toml", text);
        let ended = place.trainer(&["check", "bad.toml"]).expect(2, &["bad.toml:", key, cure]);
        assert_eq!(ended.stdout, "", "nothing but the error is printed");
    }
}

#[test]
fn sweeps_that_can_not_be() {
    let place = Place::new();
    let search = "[sweep.search]\ntrials = 3\n'agent.gamma' = { uniform = [0.1, 0.2] }";
    let in_search = |value: &str| format!("[sweep.search]\ntrials = 3\n'agent.gamma' = {value}");
    let long: Vec<String> = (0..400).map(|i| i.to_string()).collect();
    let long = long.join(",");
    for (lines, key, cure) in [
        ("[sweep]\nseeds = 10001".to_owned(), "sweep.seeds", "1 to 10000 seeds"),
        ("[sweep]\nseeds = []".into(), "sweep.seeds", "1 to 10000 seeds"),
        ("[sweep]\nseeds = [9223372036854775807]".into(), "sweep.seeds", "whole numbers from 0 to"),
        ("[sweep]\nconfirm_seeds = 10001".into(), "sweep.confirm_seeds", "from 0 to 10000"),
        (
            "[sweep]\nobjective = 'steps_to_threshold'\nthreshold = 3".into(),
            "sweep.objective",
            "set eval.every_steps",
        ),
        (
            search.replace("trials", "method = 'tpe'\ntrials") + "\n[sweep]\nshard = '1/2'",
            "sweep.shard",
            "use method = \"random\"",
        ),
        ("[sweep.grid]\nname = ['x']".into(), "name", "the name of the whole sweep"),
        ("[sweep.grid]\n'sweep.seeds' = [1]".into(), "sweep.seeds", "can't sweep itself"),
        ("[sweep.grid]\n'agent.gamma' = [0.9, 0.9]".into(), "agent.gamma", "a value twice"),
        (
            format!("[sweep.grid]\ntotal_steps = [{long}]\n'agent.epochs' = [{long}]"),
            "sweep.grid",
            "more than 100000 combinations",
        ),
        (
            "[sweep.grid]\ntotal_steps = [99999999999999999999]".into(),
            "tiny.toml:",
            "too large for a whole number",
        ),
        ("[sweep]\ngrid = 3".into(), "sweep.grid", "a table [sweep.grid]"),
        ("[sweep]\nsearch = 3".into(), "sweep.search", "a table [sweep.search]"),
        ("[sweep.search]\ntrials = 3".into(), "sweep.search", "log_uniform = [1e-4, 1e-2]"),
        (search.replace("= 3", "= 0"), "sweep.search.trials", "from 1 to 100000"),
        (in_search("{}"), "sweep.search.agent.gamma", "one distribution"),
        (
            in_search("{ uniform = [0.1, 0.2], choice = [0.3] }"),
            "sweep.search.agent.gamma",
            "one distribution",
        ),
        (in_search("{ choice = [] }"), "sweep.search.agent.gamma", "an array that is not empty"),
        (in_search("{ uniform = ['a', 'b'] }"), "sweep.search.agent.gamma", "two numbers"),
    ] {
        place.write("tiny.toml", format!("{TINY}{lines}"));
        place.trainer(&["check", "tiny.toml"]).expect(2, &["tiny.toml", key, cure]);
    }
    place.write("tiny.toml", format!("sweep = 3\n{TINY}"));
    place.trainer(&["check", "tiny.toml"]).expect(2, &["tiny.toml:1: sweep", "a table [sweep]"]);
}

#[test]
fn directories_of_sweeps() {
    let place = place_with_sweep();
    let run = |out: &str, flags: &[&str]| {
        place.trainer(&[&["run", "tiny.toml", "--quiet", "--out", out], flags].concat())
    };
    run("tiny.toml", &[]).expect(2, &["tiny.toml: is a file; a sweep needs a directory"]);
    run("sweep/trials/1/1", &[])
        .expect(2, &["1/1: holds other things than a sweep", "(--out DIR)"]);
    let ended = place.trainer(&["resume", "sweep", "--backend", "ndarray"]);
    ended.expect(2, &["--backend: ", "sweep.toml"]);

    // Another process has it.
    let file = File::open(place.path("sweep/.lock")).expect("the sweep's lock");
    file.lock().expect("it is locked");
    let busy = ["sweep: another process is working on this sweep", "--out DIR"];
    run("sweep", &["--overwrite"]).expect(2, &busy);
    place.trainer(&["resume", "sweep"]).expect(2, &busy);
    drop(file);

    let path = place.path("sweep/sweep.toml");
    let text = fs::read_to_string(&path).expect("the sweep's file");
    fs::write(&path, text.replace("0.9", "0.8")).expect("it is changed");
    let ended = place.trainer(&["resume", "sweep"]);
    ended.expect(2, &["sweep/trials/1: is a trial with other values", "elsewhere (--out DIR)"]);
    fs::write(&path, TINY).expect("it is changed");
    place.trainer(&["resume", "sweep"]).expect(2, &["sweep/sweep.toml: has no [sweep]"]);
    place.trainer(&["collect", "sweep"]).expect(2, &["sweep/sweep.toml: has no [sweep]"]);
    fs::write(&path, text).expect("it is as it was");
    place.write("sweep/trials/1/trial.toml", "values = 3");
    place.trainer(&["resume", "sweep"]).expect(2, &["trial.toml: is no record of a trial"]);
}

#[test]
fn directories_of_runs() {
    let place = place();
    fs::create_dir_all(place.path("empty/checkpoints")).expect("a directory");
    fs::copy(place.path("run/config.toml"), place.path("empty/config.toml")).expect("a copy");
    place.trainer(&["eval", "empty"]).expect(2, &["empty/checkpoints: holds no checkpoint"]);
    let warm = ["run", "tiny.toml", "--set", "warm_start=empty"];
    place.trainer(&warm).expect(2, &["warm_start", "empty: holds no checkpoint"]);

    // What others have written over.
    let summary = fs::read(place.path("run/summary.json")).expect("a summary");
    place.write("run/summary.json", "{}");
    for verb in [&["compare", "run"][..], &["resume", "run", "--json"]] {
        place.trainer(verb).expect(2, &["run/summary.json: is no summary of a run"]);
    }
    place.write("run/summary.json", summary);
    let config = fs::read(place.path("run/config.toml")).expect("a configuration");
    place.write("run/config.toml", "[[");
    place.trainer(&["compare", "run"]).expect(2, &["run/config.toml: "]);
    place.trainer(&["eval", "run"]).expect(2, &["run/config.toml:1: "]);
    place.write("run/config.toml", config);
    place.write("run/metrics.csv", "a,b\n1,2,3\n");
    for verb in [&["compare", "run"][..], &["plot", "run", "-o", "x.svg"], &["report", "run"]] {
        place.trainer(verb).expect(2, &["run/metrics.csv: ", "3 fields"]);
    }
    // Rows that are gone are no reason not to go on.
    fs::remove_file(place.path("run/metrics.csv")).expect("it is removed");
    fs::remove_file(place.path("run/summary.json")).expect("it is removed");
    let gap = "warning: run/metrics.csv: holds 0 rows where the checkpoint counts 2";
    place.trainer(&["resume", "run"]).expect(0, &[gap]);
}

#[test]
fn files_that_can_not_be_written() {
    let place = place();
    fs::create_dir(place.path("d.svg")).expect("a directory");
    place.trainer(&["plot", "run", "-o", "d.svg"]).expect(2, &["d.svg: is a directory"]);
    // What fails while something goes on has exit code 1.
    let run = |out: &str, flags: &[&str]| {
        place.trainer(&[&["run", "tiny.toml", "--quiet", "--out", out], flags].concat())
    };
    run("tiny.toml/a", &[]).expect(1, &["tiny.toml/a/checkpoints: can't be created: "]);
    fs::create_dir_all(place.path("a/summary.json")).expect("a directory");
    run("a", &[]).expect(1, &["a/summary.json: can't be written: "]);
    run("a", &["--overwrite"]).expect(1, &["a/summary.json: can't be removed: "]);
    fs::remove_file(place.path("run/metrics.csv")).expect("it is removed");
    fs::create_dir(place.path("run/metrics.csv")).expect("a directory");
    fs::remove_file(place.path("run/summary.json")).expect("it is removed");
    place.trainer(&["resume", "run"]).expect(1, &["run/metrics.csv: can't be opened: "]);
    fs::remove_dir_all(place.path("run/checkpoints")).expect("it is removed");
    place.write("run/checkpoints", "");
    place.trainer(&["resume", "run"]).expect(1, &["run/checkpoints: can't be created: "]);
    #[cfg(target_os = "linux")]
    {
        let schema = ["schema", "-o", "/proc/schema.json"];
        place.trainer(&schema).expect(1, &["/proc/schema.json: can't be written: "]);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_result_that_can_not_be_written_is_an_error() {
    let place = place();
    for arguments in [&["list"][..], &["schema"], &["eval", "run", "--json"], &["replay", "run"]] {
        let full = File::options().write(true).open("/dev/full").expect("a full disk");
        let output = place.command(arguments).stdout(full).output().expect("the trainer starts");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {errors}");
        assert!(errors.contains("error: stdout: can't be written: No space left"), "{errors}");
    }
}

#[cfg(unix)]
#[test]
fn commands_to_paste_are_quoted_and_go_by_the_programs_name() {
    let place = Place::new();
    place.write("tiny.toml", TINY);
    let program = place.path("my drone");
    std::os::unix::fs::symlink(support::trainer_binary(), &program).expect("a link");
    let mut run = std::process::Command::new(&program);
    run.args(["run", "tiny.toml", "--out", "it's here"]).current_dir(place.path(""));
    let said = |output: std::process::Output| {
        let text = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&text).into_owned()
    };
    let first = said(run.output().expect("it starts"));
    assert!(first.contains("evaluate    'my drone' eval \"it's here\"\n"), "{first}");
    let again = said(run.output().expect("it starts"));
    assert!(again.contains("go on with it ('my drone' resume \"it's here\")"), "{again}");
    let ended = place.trainer(&["schema", "-o", "no dir/x.json"]);
    ended.expect(2, &["no dir/x.json: there is no directory no dir", "`mkdir -p 'no dir'`"]);
}

#[test]
fn a_checkpoint_that_is_not_there_names_those_that_can_be_asked_for() {
    let place = place();
    let refused = place.trainer(&["eval", "run", "--checkpoint", "7"]);
    let refused = refused.expect(2, &["there is no such checkpoint; there is: "]);
    let (_, there) = refused.stderr.trim_end().rsplit_once("there is: ").expect("a list");
    for one in there.split(", ") {
        place.trainer(&["eval", "run", "--episodes", "1", "--checkpoint", one]).expect(0, &[]);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_result_of_a_run_whose_path_is_no_unicode_is_json_too() {
    use std::os::unix::ffi::OsStrExt;
    let place = place();
    let odd = std::ffi::OsStr::from_bytes(b"r\xffn");
    fs::rename(place.path("run"), place.path("").join(odd)).expect("it is renamed");
    for verb in ["eval", "resume"] {
        let output = place.command(&[verb, "--json"]).arg(odd).output().expect("it starts");
        let json = serde_json::from_slice(&output.stdout);
        let json: serde_json::Value = json.unwrap_or_else(|_| panic!("{verb}: {output:?}"));
        assert!(json.is_object(), "{verb}: {json}");
    }
}
