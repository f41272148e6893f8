//! `trainer watch`: what it shows of runs that go on, in a terminal and in a pipe.

mod support;

use support::Place;

/// A run directory of pendulum that is not finished, with these rows of `metrics.csv`.
fn unfinished(place: &Place, name: &str, metrics: &str) {
    let directory = place.path(name);
    std::fs::create_dir_all(&directory).expect("a directory");
    let seed = name.rsplit('/').next().expect("runs/NAME/SEED");
    let config =
        format!("name = \"p\"\nseed = {seed}\ntotal_steps = 4000\n[env]\nname = \"pendulum\"\n");
    std::fs::write(directory.join("config.toml"), config).expect("config.toml");
    std::fs::write(directory.join("metrics.csv"), metrics).expect("metrics.csv");
}

const HEADER: &str = "time/total_timesteps,time/time_elapsed,time/fps,rollout/ep_rew_mean\n";

#[test]
fn draws_once_into_a_pipe() {
    let place = Place::new();
    // The last row is half written, as one is that another process writes.
    let metrics = format!("{HEADER}1000,1,900,-1200\n2000,2,950,-800\n3000,3,980,-300\n4000,3");
    unfinished(&place, "runs/p/1", &metrics);
    let shown = place.trainer(&["watch", "runs"]).expect(0, &[]).stdout;
    assert!(!shown.contains('\u{1b}'), "{shown}");
    for text in [
        "pendulum: mean return of the last 100 episodes",
        "environment steps",
        "3000 of 4000 steps",
        "return -300.00",
        "━━ p (1 seed)",
        "  1 stopped",
    ] {
        assert!(shown.contains(text), "no {text:?} in\n{shown}");
    }
    // The curve rises: braille in the upper and in the lower half, 24 lines in all at most.
    let lines: Vec<&str> = shown.lines().collect();
    assert!(lines.len() <= 24, "{shown}");
    let curve: Vec<&str> = lines.iter().copied().filter(is_curve).collect();
    assert!(curve.len() > 8, "{shown}");
    let columns =
        |row: usize| curve[row].chars().position(|c| ('\u{2801}'..='\u{28ff}').contains(&c));
    assert!(columns(0) > columns(curve.len() - 1), "{shown}");

    // A process works on it as long as it holds the lock.
    let lock = std::fs::File::create(place.path("runs/p/1/.lock")).expect("it is made");
    lock.try_lock().expect("nobody else has it");
    let shown = place.trainer(&["watch", "runs"]).expect(0, &[]).stdout;
    assert!(shown.contains("980 steps/s") && shown.contains("  1 running"), "{shown}");

    let seconds = place.trainer(&["watch", "runs", "--x", "seconds"]).expect(0, &[]).stdout;
    assert!(seconds.contains("wall clock, seconds"), "{seconds}");
}

/// Whether a line holds a piece of a curve, by its braille.
fn is_curve(line: &&str) -> bool {
    line.chars().any(|c| ('\u{2801}'..='\u{28ff}').contains(&c))
}

#[test]
fn a_run_that_begins_does_not_take_the_curve_of_its_group_away() {
    let place = Place::new();
    let rows = format!("{HEADER}1000,1,900,-1200\n");
    unfinished(&place, "runs/p/1", &format!("{rows}2000,2,950,-800\n3000,3,980,-300\n"));
    unfinished(&place, "runs/p/2", &rows);
    let shown = place.trainer(&["watch", "runs"]).expect(0, &[]).stdout;
    assert!(shown.contains("p (2 seeds)"), "{shown}");
    assert!(shown.lines().filter(is_curve).count() > 8, "{shown}");
}

#[test]
fn waits_for_the_first_value() {
    let place = Place::new();
    // Neither an iteration has ended, nor an episode.
    for metrics in ["", HEADER, &format!("{HEADER}1000,1,900,\n")] {
        unfinished(&place, "runs/p/1", metrics);
        let shown = place.trainer(&["watch", "runs"]).expect(0, &[]).stdout;
        assert!(shown.starts_with("no run has a value of rollout/ep_rew_mean yet"), "{shown}");
    }
}

#[test]
fn says_what_is_wrong() {
    let place = Place::new();
    unfinished(&place, "runs/p/1", &format!("{HEADER}1000,1,900,-1200\n"));
    let nowhere = place.trainer(&["watch", "nowhere"]);
    nowhere.expect(2, &["nowhere: there is no run in it; give run directories"]);
    let metric = place.trainer(&["watch", "runs", "--metric", "rollout/ep_rew"]);
    metric
        .expect(2, &["no run has a value of rollout/ep_rew", "did you mean `rollout/ep_rew_mean`"]);
}

/// Watches in a terminal, brings a row while it goes on, and leaves.
fn in_a_terminal(environment: &[(&str, &str)]) -> String {
    let place = Place::new();
    let metrics = format!("{HEADER}1000,1,900,-1200\n");
    unfinished(&place, "runs/p/1", &metrics);
    let mut has_grown = false;
    let ended = place.in_terminal("watch runs", environment, |shown| {
        if !has_grown && shown.contains("1000 of 4000 steps") {
            has_grown = true;
            let metrics = format!("{metrics}2000,2,950,-800\n");
            std::fs::write(place.path("runs/p/1/metrics.csv"), metrics).expect("metrics.csv");
        }
        shown.contains("2000 of 4000 steps")
    });
    let shown = ended.expect(0, &[]).stdout;
    assert!(shown.starts_with("\u{1b}[?25l") && shown.ends_with("\u{1b}[?25h\r\n"), "{shown}");
    shown
}

#[test]
fn goes_on_in_a_terminal_until_the_user_leaves() {
    let shown = in_a_terminal(&[]);
    assert!(support::is_coloured(&shown), "{shown}");
}

#[test]
fn no_color_means_none() {
    let shown = in_a_terminal(&[("NO_COLOR", "1")]);
    assert!(!support::is_coloured(&shown), "{shown}");
}

#[test]
fn a_terminal_waits_for_a_run_that_is_not_there_yet() {
    let place = Place::new();
    let mut has_begun = false;
    let ended = place.in_terminal("watch later", &[("NO_COLOR", "1")], |shown| {
        if !has_begun && shown.contains("later: there is no run in it") {
            has_begun = true;
            unfinished(&place, "later/1", &format!("{HEADER}1000,1,900,-1200\n"));
        }
        shown.contains("1000 of 4000 steps")
    });
    ended.expect(0, &[]);
}

#[test]
fn a_running_experiment_is_drawn_however_many_better_ones_there_are() {
    let place = Place::new();
    let summary = r#"{ "steps": 2000, "seconds": 2.0, "steps_per_second": 900.0, "seed": 1,
        "backend": "flex", "algorithm": "ppo", "environment": "pendulum", "version": "0.1.0",
        "eval": { "episodes": 1, "greedy": true, "mean_return": 0.0, "std_return": 0.0, "min_return": 0.0,
            "max_return": 0.0, "mean_length": 200.0, "success_rate": null } }"#;
    for number in 1..=9 {
        let run = format!("runs/p{number}/1");
        unfinished(&place, &run, &format!("{HEADER}1000,1,900,-9\n2000,2,900,-{number}\n"));
        let config = place.path(&run).join("config.toml");
        let text = std::fs::read_to_string(&config).expect("it is there");
        // Another name alone makes no other line.
        let own = format!("[agent]\nepochs = {number}\n");
        let text = text.replace("\"p\"", &format!("\"p{number}\"")) + &own;
        std::fs::write(&config, text).expect("config.toml");
        if number < 9 {
            place.write(&format!("{run}/summary.json"), summary);
        }
    }
    let shown = place.trainer(&["watch", "runs"]).expect(0, &[]).stdout;
    assert!(shown.contains("━━ p9 (1 seed)") && shown.contains("and 2 more"), "{shown}");
    assert!(!shown.contains("p8 (") && shown.contains("  1 stopped, 8 finished"), "{shown}");
}

#[test]
fn environments_have_a_picture_each_and_a_broken_run_is_counted() {
    let place = Place::new();
    unfinished(&place, "runs/p/1", &format!("{HEADER}1000,1,900,-1200\n2000,2,950,-800\n"));
    unfinished(&place, "runs/c/1", &format!("{HEADER}1000,1,900,20\n2000,2,950,90\n"));
    let config = place.path("runs/c/1/config.toml");
    let text = std::fs::read_to_string(&config).expect("it is there");
    std::fs::write(&config, text.replace("pendulum", "cartpole")).expect("config.toml");
    unfinished(&place, "runs/b/1", "a,b\n1,2,3\n");
    let shown = place.trainer(&["watch", "runs"]).expect(0, &[]).stdout;
    for text in ["pendulum: mean return", "cartpole: mean return", "1 can't be read"] {
        assert!(shown.contains(text), "no {text:?} in\n{shown}");
    }
    let ended = place.trainer(&["plot", "runs", "-o", "curves.svg"]);
    let ended = ended.expect(0, &["warning: ", "runs/b/1/metrics.csv", "this run is left out"]);
    let written = "wrote curves-cartpole.svg, curves-pendulum.svg\n";
    assert!(ended.stdout.ends_with(written), "{}", ended.stdout);
    assert!(place.path("curves-pendulum.svg").is_file() && !place.path("curves.svg").exists());
}

#[test]
fn the_chapter_runs() {
    let place = Place::new();
    unfinished(
        &place,
        "runs/ppo_cartpole/1",
        "time/total_timesteps,time/time_elapsed,time/fps,\
        rollout/ep_rew_mean,train/entropy\n1000,1,900,20,0.69\n2000,2,950,40,0.6\n",
    );
    let commands = place.run_chapter("watching.md");
    assert!(commands.matches("trainer watch").count() == 2, "{commands}");
}
