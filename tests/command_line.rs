//! What helps at the command line: files to start from, the schema, completions, JSON, colours.

mod support;

use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use support::{Place, python, trainer_binary};

const ENVIRONMENTS: [&str; 6] = ["cartpole", "pendulum", "reach", "cliff", "gusty", "budget"];
const ALGORITHMS: [&str; 2] = ["ppo", "trpo"];

/// A run that takes no time.
const TINY: [&str; 8] = [
    "--set",
    "total_steps=512",
    "--set",
    "eval.episodes=3",
    "--set",
    "eval.every_steps=256",
    "--set",
    "agent.rollout_steps=32",
];

fn configs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs")
}

#[test]
fn init_writes_a_configuration_that_is_good_and_replaces_nothing() {
    let place = Place::new();
    for env in ENVIRONMENTS {
        for algorithm in ALGORITHMS {
            let file = format!("{algorithm}_{env}.toml");
            let ended = place.trainer(&["init", env, algorithm]).expect(0, &[]);
            assert!(ended.stdout.contains(&format!("trainer run {file}")), "{}", ended.stdout);
            let checked = place.trainer(&["check", &file]).expect(0, &[]).stdout;
            let tuned = configs().join(&file);
            let path = tuned.to_str().expect("a path");
            assert_eq!(checked, place.trainer(&["check", path]).expect(0, &[]).stdout);
            let written = fs::read_to_string(place.path(&file)).expect("it is there");
            let tuned = fs::read_to_string(&tuned).expect("the tuned configuration");
            let parameters = written.strip_prefix(&tuned).expect("the tuned configuration first");
            let parameters: toml::Table = parameters.parse().expect("a table");
            let checked: toml::Table = checked.parse().expect("a configuration");
            assert_eq!(
                parameters["env"]["parameters"], checked["env"]["parameters"],
                "all of them"
            );
        }
    }
    let init = |arguments: &[&str]| place.trainer(&[&["init"], arguments].concat());
    place.write("ppo_reach.toml", "mine");
    init(&["reach", "ppo"]).expect(2, &["ppo_reach.toml: is there already", "-o FILE.toml"]);
    init(&["cliff", "ppo", "-o", "ppo_reach.toml"]).expect(2, &["ppo_reach.toml: is there"]);
    assert_eq!(fs::read(place.path("ppo_reach.toml")).expect("it is there"), b"mine");
    init(&["reach", "ppo", "-o", "other.toml"]).expect(0, &[]);
    place.trainer(&["check", "other.toml"]).expect(0, &[]);
    init(&["reach", "ppo", "-o", "other.txt"]).expect(2, &["other.txt: ", "end in .toml"]);
    init(&["reach", "ppo", "-o", "no/x.toml"]).expect(2, &["no/x.toml: ", "mkdir -p no"]);
    init(&["cartpol", "ppo"]).expect(2, &["'cartpol'", "'cartpole'", "pendulum, reach, cliff"]);
    init(&["reach", "pppo"]).expect(2, &["'pppo'", "similar value exists: 'ppo'", "ppo, trpo"]);
    init(&["reach"]).expect(2, &["<ALGORITHM>"]);
}

/// What a JSON Schema validator says of TOML texts: the messages, with their places.
fn complaints(schema: &Path, texts: &[String]) -> Vec<Vec<String>> {
    const SCRIPT: &str = "
import json, sys, tomllib
from jsonschema import Draft202012Validator as Validator
schema = json.load(open(sys.argv[1]))
Validator.check_schema(schema)
place = lambda error: '.'.join(map(str, error.absolute_path)) + ': ' + error.message
complaints = lambda text: [place(e) for e in Validator(schema).iter_errors(tomllib.loads(text))]
json.dump([complaints(text) for text in json.load(sys.stdin)], sys.stdout)
";
    let mut child = Command::new(python())
        .args(["-c", SCRIPT])
        .arg(schema)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Python starts");
    let texts = serde_json::to_vec(texts).expect("JSON");
    child.stdin.take().expect("a pipe").write_all(&texts).expect("Python reads");
    let output = child.wait_with_output().expect("Python ends");
    assert!(output.status.success(), "Python's message is above");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn the_schema_takes_good_configurations_and_refuses_bad_ones() {
    let place = Place::new();
    let ended = place.trainer(&["schema", "-o", "s.json"]).expect(0, &[]);
    assert_eq!(ended.stdout, "wrote s.json\n");
    let schema = place.path("s.json");
    let printed = place.trainer(&["schema"]).expect(0, &[]).stdout;
    assert_eq!(printed, fs::read_to_string(&schema).expect("it is there"));
    place.trainer(&["schema", "-o", "s.toml"]).expect(2, &["s.toml: ", "end in .json"]);

    let ppo = "[env]\nname = 'reach'\n[agent]\nalgorithm = 'ppo'\n";
    let mut good: Vec<String> = fs::read_dir(configs())
        .expect("the configurations")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension() == Some("toml".as_ref()))
        .map(|path| fs::read_to_string(path).expect("text"))
        .collect();
    for lines in [
        "learning_rate = { start = 1, end = 0.0 }\nkl_penalty = {}\ntarget_kl = 0.1",
        "[sweep]\nseeds = [3, 4]\n[sweep.grid]\nagent.learning_rate = [1e-3, { start = 1, end = 0 }]",
        "[sweep.grid]\n'agent.kl_penalty.target' = [0.1]\nnetwork.hidden = [[], [64]]",
        "[sweep.search]\ntrials = 3\nagent.gamma = { uniform = [0.1, 0.2] }\n\
         'network.activation' = { choice = ['tanh', 'relu'] }",
        "[env.parameters]\nlink1_mass = 2\nmax_torque = { log_uniform = [1, 3] }",
        "[env.parameters.link1_mass]\nuniform = [0.5, 2]\n[env.parameters.grasp_weight]\nchoice = [1]",
        "[sweep.grid]\nenv.parameters.link1_mass = [1, { uniform = [1, 2] }]\nenv.action_delay = [0, 2]",
        "[sweep.search]\ntrials = 3\nenv.parameters.link1_mass = { uniform = [1, 2] }\n\
         'env.parameters.link2_mass' = { choice = [1, { uniform = [1, 2] }] }",
    ] {
        good.push(format!("{ppo}{lines}"));
    }
    good.push(
        "[agent]\n[sweep.grid]\nenv.name = ['reach']\nagent.algorithm = ['ppo', 'trpo']".into(),
    );
    let around = |lines: &str| ppo.replace("[agent]", &format!("{lines}\n[agent]"));
    for lines in [
        "max_episode_steps = 20\nobservation_noise = 0.1\naction_delay = 1\naction_repeat = 2",
        "observation_noise = [0, 0, 0, 0, 0, 0, 0, 0, 0.1, 0.1]\naction_delay = { choice = [0, 3] }",
        "action_delay = { uniform = [0, 3] }",
    ] {
        good.push(around(lines));
    }
    place.write("x.toml", "");
    // Paths of robots begin at the file.
    std::fs::create_dir(place.path("robots")).expect("a directory");
    let robots = concat!(env!("CARGO_MANIFEST_DIR"), "/../configs/robots");
    for robot in std::fs::read_dir(robots).expect("the robots").map(|robot| robot.expect("one")) {
        let copy = place.path("robots").join(robot.file_name());
        std::fs::copy(robot.path(), copy).expect("a copy");
    }
    for (text, complaints) in good.iter().zip(complaints(&schema, &good)) {
        assert_eq!(complaints, [] as [&str; 0], "{text}");
        if text.contains("name = \"process\"") {
            // It would be started, and need its simulator.
            continue;
        }
        // Both judges agree.
        place.write("x.toml", text);
        place.trainer(&["check", "x.toml"]).expect(0, &[]);
    }

    let (bad, fragments): (Vec<String>, Vec<&str>) = [
        ("gama = 0.9", "agent: Additional properties are not allowed ('gama'"),
        ("max_kl = 0.01", "agent: Additional properties are not allowed ('max_kl'"),
        ("gamma = 'high'", "agent.gamma: 'high' is not of type"),
        ("gamma = 1.5", "agent.gamma: 1.5 is greater than"),
        ("epochs = 2.5", "agent.epochs: 2.5 is not of type 'integer'"),
        ("value_coef = 0", "agent.value_coef: 0 is less than or equal"),
        ("learning_rate = { start = 1.0 }", "agent.learning_rate: 'end' is a required"),
        ("learning_rate = -1.0", "agent.learning_rate: -1.0 is less"),
        ("kl_penalty = { targt = 0.1 }", "agent.kl_penalty: "),
        ("[network]\nhidden = [0]", "network.hidden.0: 0 is less"),
        ("[network]\nactivation = 'tan'", "network.activation: 'tan'"),
        ("[netwrk]", ": Additional properties are not allowed ('netwrk'"),
        ("[eval]\nepisodes = 0", "eval.episodes: "),
        ("[checkpoint]\nkeep = 1", "checkpoint.keep: "),
        ("[sweep]\nseeds = 0", "sweep.seeds: "),
        ("[sweep]\nseeds = [2, 2]", "sweep.seeds: "),
        ("[sweep]\nobjective = 'return'", "sweep.objective: "),
        ("[sweep.grid]\n'agent.gamma' = [1.5]", "sweep.grid.agent.gamma.0: "),
        ("[sweep.grid]\n'agent.gama' = [0.5]", "('agent.gama' was unexpected)"),
        ("[sweep.grid]\nagent.gama = [0.5]", "sweep.grid.agent: "),
        ("[sweep.grid]\nseed = [1]", "('seed' was unexpected)"),
        ("[[sweep.grid.agent]]\nalgorithm = 'trpo'\nepochs = 2", "sweep.grid.agent: "),
        ("[sweep.search]\nagent.gamma = { uniform = [0.1, 0.2] }", "'trials' is a required"),
        ("[sweep.search]\ntrials = 3\n'agent.epochs' = { uniform = [1] }", "[1] is too short"),
        ("[sweep.search]\ntrials = 3\n'agent.epochs' = { choice = ['x'] }", "'x' is not of type"),
        ("[env.parameters]\nlink1_mas = 1", "env.parameters: Additional properties are not"),
        ("[env.parameters]\npole_mass = 1", "env.parameters: Additional properties are not"),
        ("[env.parameters]\nlink1_mass = 'x'", "env.parameters.link1_mass: 'x' is not valid"),
        ("[env.parameters]\nlink1_mass = 0", "env.parameters.link1_mass: 0 is not valid"),
        ("[env.parameters]\nlink1_mass = 2020-01-01", "env.parameters.link1_mass: "),
        ("[env.parameters]\nlink1_mass = { unifrm = [1, 2] }", "env.parameters.link1_mass: "),
        ("[env.parameters]\nlink1_mass = { uniform = [0, 2] }", "env.parameters.link1_mass: "),
        ("[env.parameters]\nlink1_mass = { uniform = [1] }", "env.parameters.link1_mass: "),
        ("[env.parameters]\nlink1_mass = {}", "env.parameters.link1_mass: "),
        (
            "[env.parameters]\neffort_weight = { log_uniform = [0, 2] }",
            "env.parameters.effort_weight",
        ),
        ("[sweep.grid]\nenv.parameters.link1_mass = [0]", "sweep.grid.env: "),
        ("[sweep.grid]\n'env.parameters.link1_mas' = [1]", "('env.parameters.link1_mas' was"),
        (
            "[sweep.search]\ntrials = 3\n'env.parameters.link1_mass' = { choice = [0] }",
            "sweep.search.env.parameters.link1_mass: ",
        ),
    ]
    .into_iter()
    .map(|(lines, fragment)| (format!("{ppo}{lines}"), fragment))
    .chain([
        (ppo.replace("reach", "rech"), "env.name: 'rech'"),
        (ppo.replace("ppo", "pppo"), "agent: "),
        (format!("name = ''\n{ppo}"), "name: "),
        (format!("name = 'a/b'\n{ppo}"), "name: 'a/b'"),
        (format!("name = '..'\n{ppo}"), "name: '..'"),
        (ppo.replace("algorithm", "#"), "agent: 'algorithm' is a required"),
        ("[env]\nname = 'reach'".into(), ": 'agent' is a required"),
        (format!("backend = 'cuda'\n{ppo}"), "backend: 'cuda'"),
        (format!("total_steps = 0\n{ppo}"), "total_steps: 0 is less"),
        (around("max_episode_steps = 0"), "env.max_episode_steps: 0 is less"),
        (around("action_repeat = 1.5"), "env.action_repeat: 1.5 is not of type"),
        (around("observation_noise = -0.1"), "env.observation_noise: -0.1 is not valid"),
        (around("action_delay = { uniform = [0, 2000] }"), "env.action_delay: "),
        (around("link1_mass = 2"), "env: Additional properties are not allowed ('link1_mass'"),
    ])
    .unzip();
    for ((text, fragment), complaints) in bad.iter().zip(fragments).zip(complaints(&schema, &bad)) {
        let found = complaints.iter().any(|complaint| complaint.contains(fragment));
        assert!(found, "{text}\n{fragment} is not in {complaints:?}");
        place.write("x.toml", text);
        place.trainer(&["check", "x.toml"]).expect(2, &[]);
    }
}

#[cfg(unix)]
#[test]
fn bash_completes_verbs_flags_and_names() {
    let script = "\
        source <(\"$0\" completions bash)
        complete() { COMP_WORDS=(trainer \"$@\" \"\"); COMP_CWORD=$#; _trainer trainer \"${@: -1}\"; }
        complete in; echo \"${COMPREPLY[@]}\"
        complete run --ov; echo \"${COMPREPLY[@]}\"
        complete init p; echo \"${COMPREPLY[@]}\"";
    let output = Command::new("bash").args(["-c", script]).arg(trainer_binary()).output();
    let output = output.expect("bash starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(text.trim(), "init\n--overwrite\nppo pendulum process", "{output:?}");

    // Under another name, as a program with environments of its own has.
    let place = Place::new();
    std::os::unix::fs::symlink(trainer_binary(), place.path("my-trainer")).expect("a link");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = Command::new(place.path("my-trainer")).args(["completions", shell]).output();
        let text = String::from_utf8(output.expect("it starts").stdout).expect("UTF-8");
        assert!(text.contains("my-trainer") && text.contains("overwrite"), "{shell}: {text}");
    }
    place.trainer(&["completions", "tcsh"]).expect(2, &["'tcsh'", "bash, elvish, fish"]);
}

#[test]
fn with_json_stdout_is_one_document() {
    let place = Place::new();
    place.trainer(&["init", "reach", "ppo"]).expect(0, &[]);
    let json = |code: i32, arguments: &[&str]| -> Value {
        let ended = place.trainer(&[arguments, &["--json"]].concat()).expect(code, &[]);
        serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"))
    };
    let run = ["run", "ppo_reach.toml", "--out", "a", "--set", "agent.minibatch_size=64"];
    let run = json(0, &[&run[..], &["--set", "env.num_envs=2"], &TINY[..]].concat());
    let summary = fs::read_to_string(place.path("a/summary.json")).expect("a summary");
    let mut expected: Value = serde_json::from_str(&summary).expect("JSON");
    let eval = expected["eval"].clone();
    expected["run"] = "a".into();
    assert_eq!(run, expected);
    assert_eq!(json(0, &["resume", "a"]), expected, "a run that is finished");
    assert_eq!(json(0, &["resume", "a", "--quiet"]), expected, "--quiet is about people");
    let mut played = json(0, &["eval", "a", "--seed", "1"]);
    let [checkpoint, seed] =
        ["checkpoint", "seed"].map(|key| played.as_object_mut().expect("a table").remove(key));
    assert!(
        checkpoint.expect("it is there").as_str().expect("text").starts_with("a/checkpoints/step-")
    );
    assert_eq!((seed, &played["greedy"]), (Some(json!(1)), &json!(true)));
    assert_eq!(played, eval);
    assert_eq!(json(0, &["check", "a/config.toml"])["agent"]["adam_epsilon"], 1e-5);
    let table = ["compare", "a", "--threshold", "0", "-o", "table.csv"];
    let comparison = json(0, &table);
    assert_eq!(comparison["rows"][0]["final_return"]["mean"]["value"], eval["mean_return"]);
    assert_eq!(comparison["rows"][0]["seeds"], json!([1]));
    assert!(place.path("table.pairs.csv").is_file());

    let list = json(0, &["list"]);
    for (of, name) in [("environments", "cliff"), ("algorithms", "trpo"), ("backends", "ndarray")] {
        let names: Vec<&Value> =
            list[of].as_array().expect("a list").iter().map(|one| &one["name"]).collect();
        assert!(names.contains(&&name.into()), "{names:?}");
    }
    assert_eq!(list["backends"][0]["devices"], json!(["CPU"]));
    let robots = list["robots"].as_array().expect("a list");
    for robot in robots {
        let file = configs().join("..").join(robot["file"].as_str().expect("a path"));
        assert!(file.is_file(), "{robot}");
    }
    assert_eq!((&robots[0]["joints"], &robots[0]["tip"]), (&json!(7), &json!("panda_hand_tcp")));

    let ended = place.trainer(&["run", "ppo_reach.toml", "--out", "a", "--json"]);
    assert_eq!(ended.expect(2, &["a: holds a run"]).stdout, "", "an error is no document");
}

#[test]
fn a_sweep_as_json_is_its_ranked_table() {
    let place = Place::new();
    let grid = "[sweep]\nseeds = 2\nconfirm_seeds = 1\n[sweep.grid]\n\"agent.gamma\" = [0.9, 0.99]";
    let text = fs::read_to_string(configs().join("ppo_cartpole.toml")).expect("a configuration");
    place.write("s.toml", format!("{text}\n{grid}"));
    let json = |arguments: &[&str]| -> Value {
        let ended = place.trainer(&[arguments, &["--json"]].concat()).expect(0, &[]);
        serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"))
    };
    let plan = json(&[&["check", "s.toml"], &TINY[..]].concat());
    assert_eq!(
        (&plan["trials"], &plan["runs"], &plan["steps"]),
        (&json!(2), &json!(4), &json!(2048))
    );
    assert_eq!(plan["configuration"]["sweep"]["seeds"], json!([1, 2]));

    let whole = json(&[&["run", "s.toml", "--out", "s"], &TINY[..]].concat());
    assert_eq!((&whole["sweep"], &whole["winner"]), (&json!("s"), &json!("s/best.toml")));
    let trials = whole["trials"].as_array().expect("a list");
    let objective = |row: &Value| row["objective"].as_f64().expect("a number");
    assert!(trials.len() == 2 && objective(&trials[0]) >= objective(&trials[1]), "{trials:?}");
    let mut values: Vec<_> =
        trials.iter().map(|row| row["values"]["agent.gamma"].clone()).collect();
    values.sort_by_key(Value::to_string);
    assert_eq!(values, [json!(0.9), json!(0.99)]);
    assert_eq!((&trials[0]["status"], &trials[0]["seeds"]), (&json!("finished"), &json!(2)));
    assert_eq!(trials[0]["eval.mean_return"], trials[0]["objective"]);
    assert_eq!(whole["confirmed"]["seeds"], 1);
    assert_eq!(json(&["resume", "s"]), whole);
    let collected = json(&["collect", "s", "--out", "t"]);
    assert_eq!(collected["trials"], whole["trials"]);
}

#[cfg(unix)]
#[test]
fn colour_is_for_terminals_that_want_it() {
    let place = Place::new();
    place.trainer(&["init", "cartpole", "ppo"]).expect(0, &[]);
    let on_terminal = |variables: &[(&str, &str)], command: &str| {
        place.in_terminal(command, variables, |_| false).stdout
    };
    let tiny = TINY.join(" ");
    let sweep = "--set sweep.seeds=2";
    let commands = [
        ("--help".to_owned(), "Usage", true),
        ("run --fast".to_owned(), "error:", true),
        ("check nowhere.toml".to_owned(), "error:", true),
        (format!("run ppo_cartpole.toml --overwrite --backend ndarray {tiny}"), "hint:", true),
        (format!("run ppo_cartpole.toml --overwrite {tiny}"), "512", false),
        (
            format!("run ppo_cartpole.toml --overwrite --out s {tiny} {sweep}"),
            "final_return",
            false,
        ),
    ];
    for (command, expected, has_colour) in commands {
        let text = on_terminal(&[], &command);
        assert!(text.contains(expected), "{command}: {text}");
        assert_eq!(support::is_coloured(&text), has_colour, "{command}: {text:?}");
        for variables in [("NO_COLOR", "1"), ("TERM", "dumb")] {
            let text = on_terminal(&[variables], &command);
            assert!(text.contains(expected), "{command}: {text}");
            assert!(!support::is_coloured(&text), "{variables:?} {command}: {text:?}");
            let dumb = variables.0 == "TERM";
            assert!(!dumb || !text.contains('\u{1b}'), "{variables:?} {command}: {text:?}");
        }
    }
    // A dumb terminal gets lines where another gets a bar; and neither spoils JSON.
    let run = format!("run ppo_cartpole.toml --overwrite --json {tiny} > out.json");
    let dumb = on_terminal(&[("TERM", "dumb")], &run);
    assert!(dumb.contains("512/512 steps"), "{dumb}");
    let bar = on_terminal(&[], &run);
    assert!(bar.contains("=======") && bar.contains('\r'), "{bar}");
    let json = fs::read_to_string(place.path("out.json")).expect("it is there");
    let json: Value = serde_json::from_str(&json).expect("nothing but JSON");
    assert_eq!(json["steps"], 512);
}

#[test]
fn the_commands_of_the_chapter_run() {
    let place = Place::new();
    let commands = place.run_chapter("command-line.md");
    assert!(commands.contains("trainer init") && commands.contains("--json"), "{commands}");
}
