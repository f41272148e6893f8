//! `trainer replay`: GIFs that are decoded again, and the terminal, a real one of its own.

mod support;

use std::fs;
use std::path::Path;
use support::Place;

/// A built-in environment with how long a step is shown, s.
const ENVIRONMENTS: [(&str, f64); 4] =
    [("cartpole", 0.02), ("pendulum", 0.05), ("reach", 0.02), ("cliff", 0.3)];

/// A policy that has learned next to nothing on all but `cliff`: its episodes are short on `cartpole`, and
/// on `cliff` those of a good policy are.
fn train(place: &Place, environment: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let config = root.join(format!("configs/ppo_{environment}.toml"));
    let config = config.to_str().expect("a path in UTF-8");
    let steps = match environment {
        "cartpole" => "total_steps=512",
        "cliff" => "total_steps=200_000",
        _ => "total_steps=8192",
    };
    let sets = [steps, "eval.episodes=1", "eval.every_steps=0"];
    let mut arguments = vec!["run", config, "--quiet", "--out", environment];
    for set in sets {
        arguments.extend(["--set", set]);
    }
    place.trainer(&arguments).expect(0, &[]);
}

/// Steps of the first episode of an evaluation with seed 3.
fn steps(place: &Place, run: &str) -> usize {
    let ended = place.trainer(&["eval", run, "--episodes", "1", "--seed", "3"]).expect(0, &[]);
    let length = ended.stdout.lines().find_map(|line| line.trim().strip_prefix("length"));
    let length: f64 = length.and_then(|text| text.trim().parse().ok()).expect("a length");
    length as usize
}

/// A GIF as a player shows it.
struct Shown {
    size: (u16, u16),
    /// Of each frame, s/100.
    delays: Vec<u64>,
    /// The whole picture at each frame, RGBA.
    pictures: Vec<Vec<u8>>,
}

fn decode(path: &Path) -> Shown {
    let mut options = gif::DecodeOptions::new();
    options.set_color_output(gif::ColorOutput::RGBA);
    let mut gif = options.read_info(fs::File::open(path).expect("the GIF")).expect("a GIF");
    let size = (gif.width(), gif.height());
    let (mut delays, mut pictures) = (Vec::new(), Vec::new());
    let mut picture = vec![0; usize::from(size.0) * usize::from(size.1) * 4];
    while let Some(frame) = gif.read_next_frame().expect("a whole GIF") {
        assert_eq!(frame.dispose, gif::DisposalMethod::Keep);
        for (row, pixels) in frame.buffer.chunks(usize::from(frame.width) * 4).enumerate() {
            for (column, pixel) in pixels.chunks(4).enumerate() {
                let (x, y) = (usize::from(frame.left) + column, usize::from(frame.top) + row);
                let index = (y * usize::from(size.0) + x) * 4;
                if pixel[3] > 0 {
                    picture[index..index + 4].copy_from_slice(pixel);
                }
            }
        }
        delays.push(u64::from(frame.delay));
        pictures.push(picture.clone());
    }
    assert_eq!(gif.repeat(), gif::Repeat::Infinite);
    Shown { size, delays, pictures }
}

#[test]
fn a_gif_lasts_as_long_as_the_episode_and_moves() {
    let place = Place::new();
    for (environment, seconds) in ENVIRONMENTS {
        train(&place, environment);
        let replay = ["replay", environment, "--episodes", "1", "--seed", "3", "--gif", "x.gif"];
        let ended = place.trainer(&replay).expect(0, &[]);
        assert!(ended.stdout.starts_with("wrote x.gif: 1 episode, "), "{}", ended.stdout);

        let steps = steps(&place, environment);
        let shown = decode(&place.path("x.gif"));
        let frames = shown.delays.len();
        let most = (steps as f64 * seconds / 0.04 + 1e-9) as usize;
        assert_eq!(frames, most.clamp(1, steps) + 1, "{environment}: frames of {steps} steps");
        let (end, moving) = shown.delays.split_last().expect("frames");
        assert_eq!(*end, 100, "{environment}: the end stays a second");
        let time = (steps as f64 * seconds * 100.0).round() as u64;
        assert_eq!(moving.iter().sum::<u64>(), time, "{environment}: {steps} steps");
        assert!(moving.iter().all(|&delay| delay >= 4), "{environment}: {moving:?}");
        let (width, height) = shown.size;
        assert!(width == 480 && (180..=388).contains(&height), "{:?}", shown.size);
        for (index, pair) in shown.pictures.windows(2).enumerate() {
            assert_ne!(pair[0], pair[1], "{environment}: frame {index} and the next");
        }
        assert!(shown.pictures.iter().all(|picture| picture.chunks(4).all(|p| p[3] == 255)));
    }
}

#[test]
fn a_table_has_a_row_a_step_that_sums_to_the_evaluation() {
    let place = Place::new();
    train(&place, "reach");
    place.trainer(&["replay", "reach", "--csv", "two.csv", "--episodes", "2"]).expect(0, &[]);
    let ended = place.trainer(&["eval", "reach", "--csv", "all.csv", "--episodes", "2", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&ended.expect(0, &[]).stdout).expect("JSON");
    let two = fs::read_to_string(place.path("two.csv")).expect("the table");
    assert_eq!(two, fs::read_to_string(place.path("all.csv")).expect("the table"));
    let mut reader = csv::Reader::from_reader(two.as_bytes());
    let header = reader.headers().expect("a header").clone();
    let column = |name: &str| header.iter().position(|known| known == name);
    for name in ["episode", "step", "observation_0", "action_1", "reward", "ended", "success"] {
        assert!(column(name).is_some(), "no {name} in {header:?}");
    }
    let rows: Vec<csv::StringRecord> = reader.records().map(|row| row.expect("a row")).collect();
    let sum = |name: &str| -> f64 {
        rows.iter().map(|row| row[column(name).expect("a column")].parse::<f64>().unwrap()).sum()
    };
    let mean = json["mean_return"].as_f64().expect("a return");
    assert!((sum("reward") / 2.0 - mean).abs() < 1e-9, "{} {mean}", sum("reward"));
    let terms: Vec<&str> = header.iter().filter(|name| name.starts_with("reward_")).collect();
    let of_terms: f64 = terms.iter().map(|name| sum(name)).sum();
    assert!(terms.len() > 1 && (of_terms - sum("reward")).abs() < 1e-9, "{terms:?}");
    assert_eq!(sum("ended"), 2.0);
    place.trainer(&["replay", "reach", "--csv", "a.txt"]).expect(2, &["a.txt", ".csv"]);
}

#[test]
fn the_same_seed_gives_the_same_gif() {
    let place = Place::new();
    train(&place, "cartpole");
    let gif = |arguments: &[&str]| {
        let all = [&["replay", "cartpole", "--gif", "x.gif"], arguments].concat();
        place.trainer(&all).expect(0, &[]);
        fs::read(place.path("x.gif")).expect("the GIF")
    };
    let three = gif(&[]);
    assert_eq!(three, gif(&["--seed", "1", "--episodes", "3", "--checkpoint", "latest"]));
    assert_eq!(
        decode(&place.path("x.gif")).delays.iter().filter(|&&delay| delay == 100).count(),
        3
    );
    let one = gif(&["--episodes", "1"]);
    assert!(one.len() < three.len());
    assert_ne!(one, gif(&["--episodes", "1", "--seed", "2"]));
    assert_ne!(one, gif(&["--episodes", "1", "--stochastic"]));
}

/// The last letters of all escape sequences, once each: K clears a line, J what is below, A goes up, m is a
/// color, h and l show and hide the cursor.
fn escapes(text: &str) -> String {
    let mut ends: Vec<char> = text
        .split("\x1b[")
        .skip(1)
        .filter_map(|rest| rest.chars().find(char::is_ascii_alphabetic))
        .collect();
    ends.sort_unstable();
    ends.dedup();
    ends.into_iter().collect()
}

const REPLAY: [&str; 6] = ["replay", "cartpole", "--episodes", "1", "--seed", "3"];

#[test]
fn the_terminal_shows_an_episode_in_place() {
    let place = Place::new();
    train(&place, "cartpole");
    let steps = steps(&place, "cartpole");
    let colors = [("COLORTERM", "truecolor")];
    let ended = place.in_terminal(&REPLAY.join(" "), &colors, |_| false).expect(0, &[]);
    let text = &ended.stdout;
    assert_eq!(escapes(text), "AJKhlm");
    assert!(text.starts_with("\x1b[?25l") && text.ends_with("\x1b[?25h\r\n"));
    assert_eq!(text.matches("\x1b[?25").count(), 2, "the cursor is hidden and given back once");
    assert!(text.contains("\x1b[48;2;30;33;39m") && !text.contains("8;5;"));
    assert!(text.contains(&format!("step 0 of {steps} · return 0")));
    assert!(
        text.contains(&format!("step {steps} of {steps} · return {steps} · reward 1 · action "))
    );
    // Each picture begins where the one before began, and fits.
    let frames: Vec<&str> = text.split("\r\x1b[").collect();
    assert!(frames.len() > steps / 2, "{} frames of {steps} steps", frames.len());
    for frame in frames {
        // 60 columns are 120 pixels: 5.8 m wide, 1.9 m high, 4 pixels a row.
        assert_eq!(frame.matches("\x1b[K\r\n").count(), 10, "{frame:?}");
        assert!(!frame.starts_with(char::is_numeric) || frame.starts_with("10A"), "{frame:?}");
    }
    let ended = place.in_terminal(&REPLAY.join(" "), &[], |_| false).expect(0, &[]);
    assert!(ended.stdout.contains("\x1b[48;5;235m") && !ended.stdout.contains("8;2;"));
}

#[test]
fn without_colors_and_without_a_terminal_it_is_plain_text() {
    let place = Place::new();
    train(&place, "cartpole");
    let steps = steps(&place, "cartpole");
    let end = format!("step {steps} of {steps} · return {steps} · reward 1 · action ");
    let is_braille = |c: char| ('\u{2801}'..='\u{28ff}').contains(&c);

    let ended =
        place.in_terminal(&REPLAY.join(" "), &[("NO_COLOR", "1")], |_| false).expect(0, &[]);
    assert_eq!(escapes(&ended.stdout), "AJKhl");
    assert!(ended.stdout.contains(is_braille) && ended.stdout.contains(&end));

    for ended in [
        place.in_terminal(&REPLAY.join(" "), &[("TERM", "dumb")], |_| false).expect(0, &[]),
        place.trainer(&REPLAY).expect(0, &[]),
    ] {
        assert!(!ended.stdout.contains('\x1b'), "{:?}", ended.stdout);
        assert!(ended.stdout.contains(is_braille), "{:?}", ended.stdout);
        assert_eq!(ended.stdout.matches("step ").count(), 1, "the end only: {}", ended.stdout);
        assert!(ended.stdout.contains(&end), "{}", ended.stdout);
    }
    let all = place.trainer(&["replay", "cartpole"]).expect(0, &[]).stdout;
    for episode in 1..=3 {
        assert_eq!(all.matches(&format!("episode {episode} of 3 · step ")).count(), 1, "{all}");
    }
}

#[test]
fn ctrl_c_leaves_and_gives_the_cursor_back() {
    let place = Place::new();
    train(&place, "cliff");
    let ended = place
        .in_terminal("replay cliff", &[("NO_COLOR", "1")], |text| text.contains("step 1 of"))
        .expect(0, &[]);
    assert!(ended.stdout.ends_with("\x1b[?25h\r\n"));
    assert!(ended.stdout.contains("start") && !ended.stdout.contains("step 5 of"));
    assert!(!ended.stdout.contains("warning"), "{ended:?}");
}

#[test]
fn what_can_not_be_shown_is_refused() {
    let place = Place::new();
    train(&place, "cliff");
    place.trainer(&["replay"]).expect(2, &["<RUN>"]);
    place.trainer(&["replay", "nowhere"]).expect(2, &["nowhere", "is no directory"]);
    place.trainer(&["replay", "cliff", "--episodes", "0"]).expect(2, &["--episodes", "1..=1000"]);
    place.trainer(&["replay", "cliff", "--checkpoint", "7"]).expect(2, &["no such checkpoint"]);
    place.trainer(&["replay", "cliff", "--gif", "x.png"]).expect(2, &["x.png", ".gif"]);
    place.trainer(&["replay", "cliff", "--gif", "no/x.gif"]).expect(2, &["no/x.gif", "mkdir"]);
    fs::create_dir(place.path("x.gif")).expect("a directory");
    place.trainer(&["replay", "cliff", "--gif", "x.gif"]).expect(2, &["x.gif", "is a directory"]);
    fs::remove_dir_all(place.path("cliff/checkpoints")).expect("it was there");
    place.trainer(&["replay", "cliff"]).expect(2, &["holds no checkpoint"]);
    let config = fs::read_to_string(place.path("cliff/config.toml")).expect("a configuration");
    place.write("cliff/config.toml", config.replace("\"cliff\"", "\"mine\""));
    place.trainer(&["replay", "cliff"]).expect(2, &["config.toml", "mine", "there is"]);
}

/// The commands of the book's chapter, word for word, on configurations cut short.
#[test]
fn the_commands_of_the_book_run() {
    let place = Place::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    fs::create_dir(place.path("configs")).expect("a directory");
    for (environment, _) in ENVIRONMENTS {
        let name = format!("configs/ppo_{environment}.toml");
        let config = fs::read_to_string(root.join(&name)).expect("a configuration");
        // Episodes on `cliff` are short when it has learned, which takes a second.
        let steps = match environment {
            "cliff" => "\ntotal_steps = ",
            "cartpole" => "\ntotal_steps = 512 # ",
            _ => "\ntotal_steps = 8_192 # ",
        };
        assert!(config.contains("\ntotal_steps = "), "{name} has another shape");
        let cut = config.replace("\ntotal_steps = ", steps);
        place.write(&name, cut);
    }
    let commands = place.run_chapter("replay.md");
    let mut pictures = 0;
    for name in commands.split_whitespace().filter(|word| word.ends_with(".gif")) {
        assert!(decode(&place.path(name)).delays.len() > 3, "{name}");
        pictures += 1;
    }
    assert!(pictures >= 4, "{pictures} GIFs");
}
