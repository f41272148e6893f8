//! Bad configurations and flags: each ends with exit code 2 and a message that names the place.
//!
//! Whatever the input, nothing panics.

mod support;

use std::io::Read;
use std::process::Stdio;

use support::Place;

/// A configuration that is right, for cases that change a single thing about it.
const GOOD: &str = "\
[env]
name = \"cartpole\"
num_envs = 2

[agent]
algorithm = \"ppo\"
rollout_steps = 32
minibatch_size = 16
";

/// Line of `GOOD` that a case's own lines follow.
const GOOD_LINES: usize = 8;

/// Checks a configuration that must be refused with all of these texts.
#[track_caller]
fn refused(config: impl AsRef<[u8]>, fragments: &[&str]) {
    let place = Place::new();
    place.write("bad.toml", config);
    let ended = place.trainer(&["check", "bad.toml"]).expect(2, &["error: ", "bad.toml"]);
    let ended = ended.expect(2, fragments);
    assert_eq!(ended.stdout, "", "nothing but the error is printed");
}

/// The same for lines added below `GOOD`; the error is in the added line of that number.
#[track_caller]
fn refused_below(lines: &str, line: usize, fragments: &[&str]) {
    let at = format!("bad.toml:{}:", GOOD_LINES + line);
    refused(format!("{GOOD}{lines}\n"), &[&[at.as_str()], fragments].concat());
}

/// Checks `GOOD` with flags that must be refused with all of these texts.
#[track_caller]
fn refused_flags(flags: &[&str], fragments: &[&str]) {
    let place = Place::new();
    place.write("good.toml", GOOD);
    place.trainer(&["check", "good.toml"]).expect(0, &[]);
    let ended = place.trainer(&[&["check", "good.toml"], flags].concat()).expect(2, fragments);
    assert_eq!(ended.stdout, "", "nothing but the error is printed");
}

#[test]
fn what_other_programs_say_gets_a_hint() {
    let place = Place::new();
    place.write("good.toml", GOOD);
    for (arguments, hint) in [
        (&["--steps", "1000"][..], "--set total_steps=1000"),
        (&["--lr", "1e-3"], "--set agent.learning_rate=1e-3"),
        (&["--num-envs=8"], "--set env.num_envs=8"),
        (&["--seeds", "1,2,3"], "--set 'sweep.seeds=[1,2,3]'"),
        (&["--seed", "-1"], "--seed takes a whole number, 0 or more"),
    ] {
        let ended = place.trainer(&[&["run", "good.toml"], arguments].concat());
        ended.expect(2, &["error: ", "hint: ", hint]);
    }
    refused_below("lr = 1e-3", 1, &["agent.lr", "did you mean `learning_rate`"]);
    refused_below("batch_size = 8", 1, &["agent.batch_size", "did you mean `minibatch_size`"]);
    refused(format!("total_steps = 1e5\n{GOOD}"), &[":1: total_steps", "write it as 100000"]);
    refused_flags(&["--set", "total_steps=1e5"], &["total_steps", "write it as 100000"]);
    place.trainer(&["run", "god.toml"]).expect(2, &["no such file, did you mean `good.toml`?"]);
    let few = ["run", "good.toml", "--quiet", "--set", "total_steps=64", "--out", "runs/good/1"];
    place.trainer(&few).expect(0, &[]);
    let high = "runs/good: holds no config.toml; give a run directory, such as runs/good/1";
    for verb in ["eval", "resume", "replay"] {
        place.trainer(&[verb, "runs/good"]).expect(2, &[high]);
    }
    let config = std::fs::read_to_string(place.path("runs/good/1/config.toml")).expect("text");
    place.write("runs/good/1/config.toml", config.replace("\"cartpole\"", "\"quadruped\""));
    place.trainer(&["eval", "runs/good/1"]).expect(2, &["no `quadruped`", "another program"]);
}

#[test]
fn all_unknown_keys_are_told_of_at_once() {
    let lines = "lr = 1e-3\ngama = 0.9\n[network]\nhiden = [8]\n[eval]\nepisode = 3";
    let all = ["agent.lr", "agent.gama", "network.hiden", "eval.episode", "bad.toml:14:"];
    refused_below(lines, 1, &all);
    // And the first other thing.
    refused_below(
        "[eval]\nepisode = 3\nevery_steps = \"many\"",
        2,
        &["eval.episode", "eval.every_steps"],
    );
}

#[test]
fn a_table_that_is_set_takes_the_place_of_the_whole_table() {
    let place = Place::new();
    place.write("good.toml", GOOD);
    let set = "agent={ algorithm = \"trpo\" }";
    let ended = place.trainer(&["check", "good.toml", "--set", set]).expect(0, &[]);
    assert!(ended.stdout.contains("rollout_steps = 128"), "{}", ended.stdout);
}

#[test]
fn misspelled_keys() {
    refused_below("gama = 0.9", 1, &["agent.gama", "did you mean `gamma`"]);
    refused_below("[netwrk]\nhidden = [8]", 1, &["netwrk", "did you mean `network`"]);
    refused_below("[network]\n\nhiden = [8]", 3, &["network.hiden", "did you mean `hidden`"]);
    refused_below("[eval]\nepisode = 3", 2, &["eval.episode", "did you mean `episodes`"]);
    refused_below("[checkpoint]\nkeeep = 3", 2, &["checkpoint.keeep", "`keep`"]);
    refused(format!("sead = 3\n{GOOD}"), &["bad.toml:1:", "sead", "did you mean `seed`"]);
    refused_below("kl_penalty = { targt = 0.1 }", 1, &["agent.kl_penalty.targt", "`target`"]);
    refused_below("learning_rate = { start = 1e-3, ende = 0.0 }", 1, &["ende", "`end`"]);
}

#[test]
fn keys_of_another_place() {
    let trpo = GOOD.replace("ppo", "trpo").replace("minibatch_size = 16", "clip_range = 0.2");
    refused(trpo, &["bad.toml:8: agent.clip_range", "is a PPO key", "agent.algorithm is trpo"]);
    refused_below("max_kl = 0.01", 1, &["agent.max_kl", "is a TRPO key", "is ppo"]);
    refused_below("num_envs = 4", 1, &["agent.num_envs", "belongs in [env]"]);
    let top = format!("gamma = 0.9\n{GOOD}");
    refused(top, &["bad.toml:1: gamma", "belongs in [agent]"]);
    refused_below("zzz = 1", 1, &["agent.zzz", "there is: ", "gae_lambda"]);
}

#[test]
fn missing_values() {
    refused("[agent]\nalgorithm = \"ppo\"\n", &["env.name", "is missing", "cartpole", "reach"]);
    refused("[env]\nname = \"cliff\"\n", &["agent.algorithm", "is missing", "ppo, trpo"]);
    refused("[env]\n[agent]\nalgorithm = \"ppo\"\n", &["env.name", "is missing"]);
    refused_below("learning_rate = { start = 1e-3 }", 1, &["agent.learning_rate", "`end`"]);
}

#[test]
fn unknown_names() {
    refused(GOOD.replace("cartpole", "cartpol"), &[":2: env.name", "did you mean `cartpole`"]);
    refused(GOOD.replace("cartpole", "atari"), &[":2: env.name", "`atari`", "pendulum, reach"]);
    refused(GOOD.replace("ppo", "ppoo"), &[":6: agent.algorithm", "did you mean `ppo`"]);
    refused(GOOD.replace("ppo", "PPO"), &[":6: agent.algorithm", "did you mean `ppo`"]);
    refused(format!("backend = \"cuda\"\n{GOOD}"), &[":1: backend", "flex, ndarray, wgpu"]);
    refused_below("[network]\nactivation = \"tanhh\"", 2, &["network.activation", "`tanh`"]);
    refused_below("[network]\ninit = \"zero\"", 2, &["network.init", "orthogonal, xavier"]);
    let schedule = "learning_rate = { start = 1.0, end = 0.0, schedule = \"cosine\" }";
    refused_below(schedule, 1, &["`cosine`", "linear"]);
}

#[test]
fn wrong_types() {
    refused(GOOD.replace("\"cartpole\"", "3"), &[":2: env.name", "is a whole number"]);
    refused(format!("env = 3\n{}", &GOOD[GOOD.find("[agent").unwrap()..]), &[":1: env", "table"]);
    refused(GOOD.replace("= 2", "= \"2\""), &[":3: env.num_envs", "a whole number, 0 or more"]);
    refused(GOOD.replace("= 2", "= 2.5"), &[":3: env.num_envs", "a whole number, 0 or more"]);
    refused(GOOD.replace("= 2", "= -2"), &[":3: env.num_envs", "a whole number, 0 or more"]);
    refused(format!("total_steps = -5\n{GOOD}"), &[":1: total_steps", "`-5`"]);
    refused(format!("name = 7\n{GOOD}"), &[":1: name", "a text in quotes"]);
    refused_below("gamma = \"high\"", 1, &["agent.gamma", "expected a number"]);
    refused_below("normalize_advantages = 1", 1, &["agent.normalize_adv", "true or false"]);
    refused_below("learning_rate = [1]", 1, &["agent.learning_rate", "a number, or a table"]);
    refused_below("[network]\nhidden = 64", 2, &["network.hidden", "an array like"]);
    refused_below("[network]\nhidden = [64, \"x\"]", 2, &["network.hidden", "a whole number"]);
    refused_below("[eval]\nepisodes = 2024-01-01", 2, &["eval.episodes"]);
}

#[test]
fn numbers_out_of_range() {
    refused_below("gamma = 1.5", 1, &["agent.gamma", "from 0 to 1"]);
    refused_below("gamma = nan", 1, &["agent.gamma", "finite"]);
    refused_below("learning_rate = inf", 1, &["agent.learning_rate", "finite"]);
    refused_below("learning_rate = { start = nan, end = 0.0 }", 1, &["agent.learning_rate.start"]);
    refused_below("[network]\nlog_std_init = -inf", 2, &["network.log_std_init", "finite"]);
    refused_below("value_coef = 1e999", 1, &["agent.value_coef", "finite"]);
    refused_below("learning_rate = -1e-3", 1, &["agent.learning_rate", "from 0"]);
    refused(GOOD.replace("= 16", "= 65"), &[":8: agent.minibatch_size", "64", "env.num_envs"]);
    refused(GOOD.replace("= 16", "= 0"), &[":8: agent.minibatch_size", "is 0"]);
    refused(GOOD.replace("= 32", "= 0"), &[":7: agent.rollout_steps", "is 0"]);
    refused(GOOD.replace("= 2", "= 0"), &[":3: env.num_envs", "from 1 to 65536"]);
    refused(format!("total_steps = 63\n{GOOD}"), &[":1: total_steps", "one iteration", "64"]);
    refused(format!("seed = -1\n{GOOD}"), &[":1: seed"]);
    refused_below("[eval]\nepisodes = 0", 2, &["eval.episodes", "from 1 to 100000"]);
    refused_below("[checkpoint]\nkeep = 1", 2, &["checkpoint.keep", "from 2"]);
    refused_below("[checkpoint]\nevery_steps = 0", 2, &["checkpoint.every_steps", "from 1"]);
    refused_below("[network]\nhidden = [0]", 2, &["network.hidden", "1 to 65536"]);
    refused_below("[network]\ncritic_hidden = [0]", 2, &["network.critic_hidden", "1 to 65536"]);
}

#[test]
fn numbers_too_large_to_count_with() {
    let huge = "99999999999999999999999999999999999999999999";
    refused(format!("total_steps = {huge}\n{GOOD}"), &[":1: total_steps"]);
    refused(format!("total_steps = 18446744073709551615\n{GOOD}"), &[":1: total_steps"]);
    refused(format!("seed = 18446744073709551615\n{GOOD}"), &[":1: seed", "9223372036854775807"]);
    refused(GOOD.replace("= 2", "= 18446744073709551615"), &[":3: env.num_envs"]);
    refused(GOOD.replace("= 32", "= 18446744073709551615"), &[":7: agent.rollout_steps"]);
    let both = GOOD.replace("= 2", "= 65536").replace("= 32", "= 16777216");
    refused(both, &[":7: agent.rollout_steps", "1099511627776 samples"]);
    refused_below("[network]\nhidden = [65536, 65536]", 2, &["network.hidden", "weights"]);
    let critic = "[network]\ncritic_hidden = [65536, 65536]";
    refused_below(critic, 2, &["network.critic_hidden", "weights"]);
}

/// Lines of `[env.parameters]` that are refused, each with the number of the line that is wrong.
#[test]
fn parameters_of_environments() {
    let below = |lines: &str, line: usize, fragments: &[&str]| {
        refused_below(&format!("[env.parameters]\n{lines}"), 1 + line, fragments);
    };
    let typo = ["env.parameters.pole_mas: is no key here, did you mean `pole_mass`?", "there is: "];
    below("force = 8\npole_mas = 1", 2, &typo);
    let other = [
        "env.parameters.max_torque",
        "is a parameter of pendulum and reach, and env.name is cartpole",
        "there is: cart_mass, force",
    ];
    below("max_torque = 1", 1, &other);
    below("action_delay = 1", 1, &["env.parameters.action_delay", "belongs in [env]"]);
    below("'a.b' = 1", 1, &["env.parameters.a.b: is no key here; there is: "]);
    refused(
        GOOD.replace("= 2", "= 2\nforce = 1"),
        &[":4: env.force", "belongs in [env.parameters]"],
    );
    refused_below("pole_mass = 1", 1, &["agent.pole_mass", "there is: "]);

    let range = "must be a number from 0 to 100000";
    below("force = 'strong'", 1, &["env.parameters.force: is \"strong\"", range]);
    below("\nforce = -1", 2, &["env.parameters.force: is -1", range]);
    below("force = true", 1, &["env.parameters.force: is true", range]);
    below("force = [1, 2]", 1, &["env.parameters.force: is an array", range]);
    below("force = inf", 1, &["env.parameters.force: is inf", "finite"]);
    below("force = 2020-01-01", 1, &["env.parameters.force: is the date 2020-01-01"]);
    below("force = 99999999999999999999", 1, &["env.parameters.force", "too large"]);
    refused(format!("env.parameters = 3\n{GOOD}"), &["bad.toml:2:"]);
    refused(GOOD.replace("= 2", "= 2\nparameters = 3"), &[":4: env.parameters", "a table"]);

    let uniform = "{ uniform = [low, high] }";
    below("force = { unifrm = [1, 2] }", 1, &["has no distribution `unifrm`", uniform]);
    below("force = {}", 1, &["env.parameters.force", range, uniform]);
    below("force = { uniform = [1, 2], choice = [1] }", 1, &[range, uniform]);
    below(
        "[env.parameters.force]\nuniform = [1, 200_000]",
        2,
        &["has a uniform that is 200000", range],
    );
    below("force = { uniform = [2, 1] }", 1, &["the uniform [2, 1]; the first must be smaller"]);
    below("force = { uniform = 3 }", 1, &["must be two numbers, [low, high]"]);
    below("force = { uniform = [2020-01-01, 3] }", 1, &["the date 2020-01-01"]);
    below("force = { log_uniform = [0, 1] }", 1, &["begins at 0; must be above 0"]);
    below("force = { choice = [1, 'x'] }", 1, &["has a choice that is \"x\"", range]);
    below("force = { choice = [] }", 1, &["an array of one value or more"]);

    let reach = GOOD.replace("cartpole", "reach");
    let lines = "[env.parameters]\nmax_object_radius = 0.1\nmin_object_radius = 0.3\n";
    refused(
        reach.clone() + lines,
        &[":11: env.parameters.min_object_radius: is 0.3; must be below"],
    );
    // What is drawn must go together at its bounds, too.
    let drawn = "[env.parameters]\nmax_object_radius = { uniform = [0.1, 0.5] }\n";
    refused(
        reach + drawn,
        &["env.parameters.min_object_radius", "must be below max_object_radius"],
    );
}

#[test]
fn parameters_in_overrides() {
    refused_flags(
        &["--set", "env.parameters.forse=8"],
        &["--set env.parameters.forse=8: env.parameters.forse: ", "did you mean `force`?"],
    );
    refused_flags(
        &["--set", "env.parameters.force=weak"],
        &["--set env.parameters.force=weak: env.parameters.force: is \"weak\"; must be a number"],
    );
    refused_flags(
        &["--set", "env.parameters.force={ uniform = [1, 200000] }"],
        &[
            ": env.parameters.force: has a uniform that is 200000; must be a number from 0 to 100000",
        ],
    );
    refused_flags(
        &["--set", "env.parameters={ forse = 8 }"],
        &["--set env.parameters={ forse = 8 }: env.parameters.forse: is no key here"],
    );
    refused_flags(&["--set", "env.parameters=8"], &["env.parameters: ", "expected a table"]);
    refused_flags(&["--set", "env.max_episode_steps=0"], &["env.max_episode_steps: is 0; must be"]);
    refused_flags(&["--set", "env.max_episode_steps=1.5"], &["env.max_episode_steps: ", "whole"]);
    refused_flags(&["--set", "env.action_repeat=0"], &["env.action_repeat: is 0; must be"]);
    let delay = "must be a whole number of steps, { uniform = [0, 3] } or { choice = [0, 2] }";
    refused_flags(&["--set", "env.action_delay=-1"], &["env.action_delay: ", delay]);
    refused_flags(&["--set", "env.action_delay={ uniform = [3, 1] }"], &["first must be smaller"]);
    refused_flags(
        &["--set", "env.observation_noise=[0.1, 0.1]"],
        &["env.observation_noise: has 2 numbers; an observation has 4"],
    );
    // Of another environment, what the file gives is wrong, and its line is named.
    let place = Place::new();
    place.write("good.toml", format!("{GOOD}[env.parameters]\nforce = 8\n"));
    let ended = place.trainer(&["check", "good.toml", "--set", "env.name=cliff"]);
    ended.expect(2, &["good.toml:10: env.parameters.force", "parameter of cartpole", "is cliff"]);
}

#[test]
fn parameters_are_resolved_and_an_override_replaces_any_of_them() {
    let place = Place::new();
    let lines = "[env.parameters]\nforce = { uniform = [8, 12] }\npole_mass = 1\n";
    place.write("good.toml", format!("{GOOD}{lines}"));
    let check = |sets: &[&str]| -> toml::Table {
        let sets = sets.iter().flat_map(|&set| ["--set", set]);
        let arguments: Vec<&str> = ["check", "good.toml"].into_iter().chain(sets).collect();
        let ended = place.trainer(&arguments).expect(0, &[]);
        place.write("resolved.toml", &ended.stdout);
        let again = place.trainer(&["check", "resolved.toml"]).expect(0, &[]);
        assert_eq!(again.stdout, ended.stdout, "it resolves to itself");
        ended.stdout.parse().expect("TOML")
    };
    let parameters = |force: &str, rest: &str| -> toml::Table {
        format!(
            "{force}\n{rest}\ncart_mass = 1.0\ngravity = 9.8\nmax_angle = 0.20943951023931953\n\
             max_position = 2.4\npole_half_length = 0.5\nreset_bound = 0.05\ntime_step = 0.02"
        )
        .parse()
        .expect("TOML")
    };
    let env = |sets: &[&str]| check(sets)["env"].as_table().expect("a table").clone();
    let resolved = |sets: &[&str]| env(sets)["parameters"].as_table().expect("a table").clone();
    let both = parameters("force = { uniform = [8.0, 12.0] }", "pole_mass = 1.0");
    assert_eq!(resolved(&[]), both);
    let other = ["env.parameters.force={ choice = [5, 10] }", "env.parameters.pole_mass=2"];
    assert_eq!(resolved(&other), parameters("force = { choice = [5.0, 10.0] }", "pole_mass = 2.0"));
    let part = ["env.parameters.force.uniform=[9, 10]"];
    let expected = parameters("force = { uniform = [9.0, 10.0] }", "pole_mass = 1.0");
    assert_eq!(resolved(&part), expected);
    let whole = ["env.parameters={ force = 3 }"];
    assert_eq!(resolved(&whole), parameters("force = 3.0", "pole_mass = 0.1"));

    let around = env(&[
        "env.max_episode_steps=50",
        "env.observation_noise=0.5",
        "env.action_delay={ uniform = [0, 3] }",
        "env.action_repeat=2",
    ]);
    assert_eq!((&around["max_episode_steps"], &around["action_repeat"]), (&50.into(), &2.into()));
    assert_eq!(around["observation_noise"], 0.5.into());
    assert_eq!(around["action_delay"].to_string(), "{ uniform = [0, 3] }");
}

#[test]
fn settings_that_do_not_go_together() {
    refused_below("clip_range = 0.2\nkl_penalty = {}", 1, &["agent.clip_range", "kl_penalty"]);
    refused_below("[network]\nsquash = true", 2, &["network.squash"]);
    // The default minibatch is what is too large: there is no line to name.
    let config = GOOD.replace("minibatch_size = 16", "").replace("= 32", "= 8");
    refused(config, &["bad.toml: agent.minibatch_size (not given", "16"]);
}

#[test]
fn names_that_are_no_directory() {
    for name in ["", " ", ".", "..", "a/b", "a\\\\b", "/etc", "a\\u0000b"] {
        let fragments = ["bad.toml:1: name", "directory"];
        refused(format!("name = \"{name}\"\n{GOOD}"), &fragments);
    }
    refused(format!("name = \"{}\"\n{GOOD}", "x".repeat(300)), &["longer than 200 bytes"]);
}

#[test]
fn files_that_are_no_configuration() {
    refused("", &["is empty"]);
    refused("\n  \n", &["is empty"]);
    refused(b"[env]\nname = \"\xff\"\n", &["bad.toml:2:", "not UTF-8"]);
    refused(b"\x7fELF\x02\x01\x01\x00", &["bad.toml:1:"]);
    refused("[env\nname = 1", &["bad.toml:1:"]);
    refused("[env]\nname = cartpole\n", &["bad.toml:2:"]);
    refused("[env]\nname = \"cliff\"\nname = \"reach\"\n", &["bad.toml:3:", "duplicate key"]);
    refused(format!("x = {}{}", "[".repeat(9999), "]".repeat(9999)), &["bad.toml:1:"]);
    let deep = vec!["a"; 200].join(".");
    for line in [format!("{deep} = 1"), format!("[{deep}]"), format!("x = {{ {deep} = 1 }}")] {
        refused(format!("{GOOD}{line}\n[eval]\n"), &[":9: a key has too many parts"]);
    }

    let place = Place::new();
    place.trainer(&["check", "nowhere.toml"]).expect(
        2,
        &["nowhere.toml: there is no such file; `trainer init cartpole ppo` writes one"],
    );
    place.trainer(&["run", "."]).expect(2, &[".: is a directory"]);
}

#[test]
fn flags() {
    let place = Place::new();
    place.write("good.toml", GOOD);
    place.trainer(&[]).expect(2, &["Usage"]);
    place.trainer(&["train"]).expect(2, &["train"]);
    place.trainer(&["run"]).expect(2, &["CONFIG"]);
    place.trainer(&["run", "good.toml", "--fast"]).expect(2, &["--fast"]);
    place.trainer(&["eval", "x", "--episodes", "0"]).expect(2, &["--episodes"]);
    place.trainer(&["eval", "x", "--checkpoint", "newest"]).expect(2, &["best, latest"]);
    refused_flags(&["--seed", "-1"], &["-1"]);
    refused_flags(&["--seed", "9223372036854775808"], &["9223372036854775807"]);
    refused_flags(
        &["--backend", "ndaray"],
        &["similar value exists: 'ndarray'", "flex, ndarray, wgpu"],
    );
}

#[test]
fn overrides() {
    refused_flags(&["--set", "agent.gamma"], &["--set agent.gamma: ", "no value"]);
    refused_flags(&["--set", "=3"], &["--set =3: ", "not a key"]);
    refused_flags(&["--set", "agent..gamma=3"], &["--set agent..gamma=3: ", "not a key"]);
    refused_flags(&["--set", "agent.gamma=2"], &["--set agent.gamma=2: agent.gamma: is 2"]);
    refused_flags(&["--set", "agent.gama=0.9"], &["--set agent.gama=0.9: ", "`gamma`"]);
    refused_flags(&["--set", "agent.gamma=0,9"], &["--set agent.gamma=0,9: ", "a number"]);
    refused_flags(&["--set", "env.name=atari"], &["--set env.name=atari: env.name", "cliff"]);
    refused_flags(&["--set", "env=3"], &["--set env=3: env: "]);
    refused_flags(&["--set", "agent.max_kl=1"], &["--set agent.max_kl=1: ", "is a TRPO key"]);
    // A table takes the place of the file's: half of one is not made whole by it.
    refused_flags(
        &[
            "--set",
            "agent.clip_range={ start = 0.3, end = 0.1 }",
            "--set",
            "agent.clip_range={ start = 0.2 }",
        ],
        &["--set agent.clip_range={ start = 0.2 }: agent.clip_range: missing field `end`"],
    );
    let place = Place::new();
    place.write("table.toml", format!("{GOOD}learning_rate = {{ start = 1e-3, end = 0.0 }}\n"));
    let half = ["check", "table.toml", "--set", "agent.learning_rate={ start = 7e-3 }"];
    place.trainer(&half).expect(2, &["agent.learning_rate: missing field `end`"]);
    refused_flags(&["--set", "agent={ epochs = 3 }"], &["agent.algorithm: is missing"]);
    // The override that is wrong is named, not the one beside it.
    let flags = ["--set", "seed=3", "--set", "total_steps=1", "--set", "agent.gamma=0.9"];
    refused_flags(&flags, &["--set total_steps=1: total_steps: "]);
}

#[test]
fn overrides_replace_any_value() {
    let place = Place::new();
    place.write("good.toml", GOOD);
    let sets = [
        "env.name=reach",
        "network.hidden=[32]",
        "agent.learning_rate=1e-3",
        "agent.clip_range={ start = 0.3, end = 0.1 }",
        "agent.clip_range.end=0.0",
        "eval.episodes=7",
    ];
    let sets: Vec<&str> = sets.iter().flat_map(|&set| ["--set", set]).collect();
    let flags = ["check", "good.toml", "--seed", "9", "--backend", "ndarray"];
    let ended = place.trainer(&[&flags, sets.as_slice()].concat()).expect(0, &[]);
    let resolved: toml::Table = ended.stdout.parse().expect("the resolved configuration is TOML");
    let expected: toml::Table = "
        name = 'good'
        seed = 9
        total_steps = 100000
        backend = 'ndarray'
        env = { name = 'reach', num_envs = 2, normalize_observations = false, normalize_rewards = false }
        network.hidden = [32]
        agent.learning_rate = 0.001
        agent.clip_range = { start = 0.3, end = 0.0, schedule = 'linear' }
        agent.rollout_steps = 32
        eval = { episodes = 7, every_steps = 0 }
        checkpoint = { every_steps = 10000, keep = 3 }
    "
    .parse()
    .expect("TOML");
    for (key, value) in &expected {
        match (value, &resolved[key]) {
            (toml::Value::Table(part), toml::Value::Table(whole)) => {
                part.iter().for_each(|(inner, value)| assert_eq!(whole[inner], *value, "{inner}"));
            }
            (value, found) => assert_eq!(found, value, "{key}"),
        }
    }
    // The resolved configuration is one that resolves to itself.
    place.write("resolved.toml", &ended.stdout);
    let again = place.trainer(&["check", "resolved.toml"]).expect(0, &[]);
    assert_eq!(again.stdout, ended.stdout);
}

#[test]
fn run_directories_that_can_not_be_used() {
    let place = Place::new();
    place.write("good.toml", GOOD);
    place.write("file", "");
    let tiny = ["--set", "total_steps=64", "--set", "eval.episodes=1", "--quiet"];
    let run = |flags: &[&str]| place.trainer(&[&["run", "good.toml"], &tiny[..], flags].concat());

    let ended = run(&["--out", "a"]).expect(0, &[]);
    assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("", ""), "--quiet is quiet");
    run(&["--out", "a"]).expect(2, &["a: holds a run already", "trainer resume a", "--overwrite"]);
    run(&["--out", "a", "--overwrite", "--seed", "2"]).expect(0, &[]);
    let summary = std::fs::read_to_string(place.path("a/summary.json")).expect("a summary");
    assert!(summary.contains("\"seed\": 2"), "{summary}");
    run(&["--out", "file"]).expect(2, &["file: is a file"]);
    run(&[]).expect(0, &[]);
    assert!(place.path("runs/good/1/summary.json").is_file(), "the usual place");

    place.trainer(&["resume", "nowhere"]).expect(2, &["nowhere: is no directory"]);
    place.trainer(&["eval", "nowhere"]).expect(2, &["nowhere: is no directory"]);
    place.trainer(&["resume", "runs"]).expect(2, &["runs: holds no config.toml"]);
    place.trainer(&["eval", "a", "--checkpoint", "63"]).expect(2, &["step-000000000063.ckpt"]);
    place.trainer(&["eval", "a", "--checkpoint", "64"]).expect(0, &[]);
    run(&["--out", "b", "--set", "warm_start=nowhere"]).expect(2, &["warm_start", "nowhere"]);
    run(&["--out", "b", "--set", "warm_start=good.toml"]).expect(2, &["no Backburn checkpoint"]);
    let other = ["--out", "b", "--set", "warm_start=a", "--set", "network.hidden=[3]"];
    run(&other).expect(2, &["warm_start", "policy"]);
    assert!(!place.path("b").exists(), "nothing is left of a run that never began");
}

#[cfg(target_os = "linux")]
#[test]
fn a_backend_without_a_device() {
    let place = Place::new();
    place.write("good.toml", GOOD);
    let mut command = place.command(&["run", "good.toml", "--backend", "wgpu"]);
    // Vulkan's and EGL's loaders find no driver.
    for list in ["VK_DRIVER_FILES", "VK_ICD_FILENAMES", "__EGL_VENDOR_LIBRARY_FILENAMES"] {
        command.env(list, "/nonexistent");
    }
    let output = command.output().expect("the trainer starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(
        stderr.contains("backend wgpu: no GPU") && stderr.contains("flex, ndarray"),
        "{stderr}"
    );
    assert!(!place.path("runs").exists(), "nothing is left of a run that never began");
}

#[cfg(target_os = "linux")]
#[test]
fn bench_has_a_row_for_each_backend() {
    let place = Place::new();
    place.write("good.toml", GOOD);
    let bench = |flags: &[&str]| {
        let mut command = place.command(&[&["bench", "good.toml"], flags].concat());
        for list in ["VK_DRIVER_FILES", "VK_ICD_FILENAMES", "__EGL_VENDOR_LIBRARY_FILENAMES"] {
            command.env(list, "/nonexistent");
        }
        let output = command.output().expect("the trainer starts");
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let (stdout, json) = std::thread::scope(|scope| {
        let json = scope.spawn(|| bench(&["--json"]));
        (bench(&[]), json.join().expect("a benchmark"))
    });
    for backend in ["flex", "ndarray"] {
        let row = stdout.lines().find(|line| line.trim_start().starts_with(backend));
        let figures: Vec<f64> =
            row.unwrap_or_default().split_whitespace().skip(1).flat_map(str::parse).collect();
        assert_eq!(figures.len(), 3, "{stdout}");
        let [acting, update, training] = figures[..] else { unreachable!() };
        assert!(training > 0.0 && training <= acting.min(update), "{stdout}");
    }
    assert!(stdout.contains("no device"), "{stdout}");
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!((&json["algorithm"], &json["steps_per_iteration"]), (&"ppo".into(), &64.into()));
    assert!(json["environments"].as_f64() > json["backends"][0]["training"].as_f64(), "{json}");
    assert_eq!(json["backends"][2]["name"], "wgpu");
    assert!(json["backends"][2]["training"].is_null(), "{json}");
    assert!(!place.path("runs").exists(), "a benchmark writes nothing");
}

/// Whether the second backend is the faster one depends on the machine only where it has a GPU; tests run
/// where there is at most an emulated one.
#[test]
fn a_slower_backend_is_hinted_at() {
    let place = Place::new();
    place.write("good.toml", GOOD);
    let hints = |arguments: &[&str]| {
        let mut all = vec!["run", "good.toml", "--overwrite", "--set", "total_steps=1024"];
        all.extend(arguments);
        let ended = place.trainer(&all).expect(0, &[]);
        let hints = ended.stderr.lines().filter(|line| line.starts_with("hint: "));
        hints.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(hints(&[]), [] as [&str; 0]);
    let [hint] = &hints(&["--backend", "ndarray"])[..] else { panic!("one hint") };
    assert!(hint.contains("flex") && hint.contains("faster"), "{hint}");
    assert_eq!(hints(&["--backend", "ndarray", "--quiet"]), [] as [&str; 0]);
}

#[test]
fn a_reader_that_goes_away_is_no_panic() {
    let place = Place::new();
    place.write("good.toml", GOOD);
    for arguments in [&["list"][..], &["check", "good.toml"], &["--help"]] {
        let mut child = place
            .command(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the trainer starts");
        drop(child.stdout.take());
        let mut stderr = String::new();
        let pipe = child.stderr.as_mut().expect("a pipe");
        pipe.read_to_string(&mut stderr).expect("text");
        let status = child.wait().expect("it ends");
        assert!(!stderr.contains("panicked"), "{arguments:?}: {stderr}");
        assert_eq!(status.code(), Some(0), "{arguments:?}: {stderr}");
    }
}

/// Mesa's Vulkan looks for a display, and libwayland complains where no session has one.
#[test]
fn without_a_session_nothing_is_said_of_a_display() {
    let place = Place::new();
    let mut list = place.command(&["list"]);
    let list = list.env_remove("XDG_RUNTIME_DIR").env_remove("WAYLAND_DISPLAY").output().unwrap();
    assert_eq!(list.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&list.stderr), "");
    assert!(String::from_utf8_lossy(&list.stdout).contains("wgpu"), "{list:?}");
}

#[test]
fn lists_what_can_be_chosen() {
    let ended = Place::new().trainer(&["list"]).expect(0, &[]);
    for name in [
        "cartpole",
        "pendulum",
        "reach",
        "cliff",
        "gusty",
        "budget",
        "ppo",
        "trpo",
        "flex",
        "ndarray",
        "wgpu",
        "configs/robots/xarm7.urdf  7 joints",
    ] {
        assert!(ended.stdout.contains(name), "{name} in {}", ended.stdout);
    }
}
