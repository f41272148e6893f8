//! The real `trainer` binary, and what a run of it leaves, for tests that start processes.

#![allow(dead_code)] // each test program has this module, and none needs all of it

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use tempfile::TempDir;
use trainer::Checkpoint;

/// The path of the `trainer` binary, built once for each test program.
pub fn trainer_binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let build = Command::new(env!("CARGO"))
            .args(["build", "--release", "--workspace", "--bin", "trainer"])
            .args(["--quiet", "--message-format", "json"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .stderr(Stdio::inherit())
            .output()
            .expect("cargo starts");
        assert!(build.status.success(), "the trainer does not build");
        String::from_utf8_lossy(&build.stdout)
            .lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
            .find_map(|message| message["executable"].as_str().map(PathBuf::from))
            .expect("cargo names the binary")
    })
}

/// A Python with the packages of `tests/requirements.txt`: the one that `BACKBURN_PYTHON` names, that of
/// `./test`, or the system's.
pub fn python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let found = find_python("gymnasium, jsonschema, numpy, onnxruntime, safetensors");
        found.unwrap_or_else(|| {
            panic!(
                "no Python with the packages of tests/requirements.txt was found: ./test installs \
                 what the tests need (./test --setup only that); or name an interpreter in the \
                 variable BACKBURN_PYTHON"
            )
        })
    })
}

/// A Python that can have environments; `None`, with a line that says so, where there is none.
pub fn python_if_any() -> Option<&'static Path> {
    static PYTHON: OnceLock<Option<PathBuf>> = OnceLock::new();
    let found = PYTHON.get_or_init(|| find_python("gymnasium, numpy")).as_deref();
    if found.is_none() {
        skipped("environments in Python: there is no Python with gymnasium and numpy");
    }
    found
}

/// Says what could not be tested, past the test harness, which keeps to itself what a passing test prints.
pub fn skipped(what: &str) {
    let _ = writeln!(std::io::stderr().lock(), "\nSKIPPED {what}");
}

/// The first Python that has these packages.
fn find_python(packages: &str) -> Option<PathBuf> {
    let named = std::env::var_os("BACKBURN_PYTHON").map(PathBuf::from);
    let made = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("python/bin/python");
    let works = |path: &PathBuf| {
        let mut imports = Command::new(path);
        imports.args(["-c", &format!("import {packages}")]);
        imports.stdout(Stdio::null()).stderr(Stdio::null());
        imports.status().is_ok_and(|status| status.success())
    };
    named.into_iter().chain([made, "python3".into()]).find(works)
}

/// Whether a text switches a colour or another style on: `ESC [ ... m`.
pub fn is_coloured(text: &str) -> bool {
    text.split("\u{1b}[").skip(1).any(|rest| {
        rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';').starts_with('m')
    })
}

/// How a trainer process ended.
#[derive(Debug)]
pub struct Ended {
    /// Exit code; `None` after a signal.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// Panics with everything that was printed unless the process ended with this code and printed
    /// each of these texts to stderr.
    #[track_caller]
    pub fn expect(self, code: i32, fragments: &[&str]) -> Ended {
        assert_eq!(self.code, Some(code), "exit code of {self:#?}");
        assert!(!self.stderr.contains("panicked"), "{self:#?}");
        for fragment in fragments {
            assert!(self.stderr.contains(fragment), "no {fragment:?} in {self:#?}");
        }
        self
    }
}

/// A directory of its own that the trainer runs in.
pub struct Place {
    directory: TempDir,
}

impl Place {
    pub fn new() -> Place {
        Place { directory: tempfile::tempdir().expect("a temporary directory") }
    }

    /// The path of a file or directory in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a file.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        std::fs::write(&path, content).expect("the file is written");
        path
    }

    /// Runs the shell commands of a chapter of the book here, and returns them.
    #[track_caller]
    pub fn run_chapter(&self, name: &str) -> String {
        self.run_chapter_with(name, None).0
    }

    /// The same with the programs of one more directory; returns what was printed, too.
    #[allow(dead_code)]
    #[track_caller]
    pub fn run_chapter_with(&self, name: &str, programs: Option<&Path>) -> (String, String) {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs");
        let book = std::fs::read_to_string(Path::new(root).join(name)).expect("the chapter");
        let commands: String = book
            .split("```sh\n")
            .skip(1)
            .filter_map(|rest| Some(rest.split_once("```")?.0))
            .collect();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let binaries = [trainer_binary().parent(), programs].into_iter().flatten();
        let path = binaries.map(PathBuf::from).chain(std::env::split_paths(&path));
        let path = std::env::join_paths(path).expect("directories");
        let output = Command::new("sh")
            .args(["-e", "-c", &commands])
            .env("PATH", path)
            .current_dir(self.directory.path())
            .output()
            .expect("a shell");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{commands}\n{stderr}");
        (commands, String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// What the trainer prints in a terminal of 60 columns and 20 rows, and how it ends; its arguments
    /// are as a shell takes them. `leaves` is asked whenever something was printed, with all of it; Ctrl-C
    /// is pressed when it says so.
    pub fn in_terminal(
        &self,
        arguments: &str,
        env: &[(&str, &str)],
        mut leaves: impl FnMut(&str) -> bool,
    ) -> Ended {
        const PROGRAM: &str = r#"
import fcntl, os, pty, select, struct, sys, termios
pid, terminal = pty.fork()
if pid == 0:
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 20, 60, 0, 0))
    os.execv("/bin/sh", ["sh", "-c", sys.argv[1]])
keys = [0]
while True:
    ready = select.select([terminal] + keys, [], [])[0]
    if 0 in ready:
        pressed = os.read(0, 1)
        if pressed:
            os.write(terminal, pressed)
        else:
            keys = []
    if terminal in ready:
        try:
            os.write(1, os.read(terminal, 65536))
        except OSError:  # the other end is closed
            break
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"#;
        let mut command = Command::new(python());
        command.args(["-c", PROGRAM]);
        command.arg(format!("exec '{}' {arguments}", trainer_binary().display()));
        command.current_dir(self.path("."));
        // With `CI` a terminal is taken for one with colours, whatever it says.
        for name in ["NO_COLOR", "COLORTERM", "CLICOLOR", "CLICOLOR_FORCE", "CI"] {
            command.env_remove(name);
        }
        let mut child = command
            .env("TERM", "xterm-256color")
            .envs(env.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python starts");
        let (keys, printed) = (child.stdin.take(), child.stdout.take());
        let (mut keys, mut printed) = (keys.expect("a pipe"), printed.expect("a pipe"));
        let (mut text, mut piece, mut has_left) = (Vec::new(), [0; 65536], false);
        loop {
            let length = printed.read(&mut piece).expect("what was printed");
            text.extend_from_slice(&piece[..length]);
            if length == 0 {
                break;
            }
            if !has_left && leaves(&String::from_utf8_lossy(&text)) {
                has_left = true;
                keys.write_all(b"\x03").expect("Ctrl-C is pressed");
            }
        }
        let code = child.wait().expect("Python ends").code();
        Ended { code, stdout: String::from_utf8_lossy(&text).into_owned(), stderr: String::new() }
    }

    /// The trainer with these arguments, not yet started.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(trainer_binary());
        command.args(arguments).current_dir(self.directory.path()).stdin(Stdio::null());
        command
    }

    /// Runs the trainer to its end.
    pub fn trainer(&self, arguments: &[&str]) -> Ended {
        let output = self.command(arguments).output().expect("the trainer starts");
        Ended {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Names of the checkpoints by step, oldest first.
pub fn checkpoints(run: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(run.join("checkpoints")) else {
        return Vec::new();
    };
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let name = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
    let mut paths: Vec<_> = paths.filter(|path| name(path).starts_with("step-")).collect();
    paths.sort();
    paths
}

/// The bytes of a checkpoint with the clock taken out, and with the configuration of its run's last one: it may have
/// been another one before.
pub fn timeless(place: &Place, path: &Path) -> Vec<u8> {
    let mut checkpoint = Checkpoint::read(path).expect("a whole checkpoint");
    let run = path.parent().and_then(Path::parent).expect("a run directory");
    let last = checkpoints(run).pop().expect("a checkpoint");
    checkpoint.fingerprint = Checkpoint::read(&last).expect("a whole checkpoint").fingerprint;
    checkpoint.training.progress.seconds = 0.0;
    checkpoint.elapsed_seconds = 0.0;
    let copy = place.path("timeless.ckpt");
    checkpoint.write(&copy).expect("it is written");
    fs::read(copy).expect("it is read")
}

/// Every cell of the CSV but those of the clock.
pub fn timeless_csv(run: &Path) -> Vec<Vec<String>> {
    let mut csv = csv::Reader::from_path(run.join("metrics.csv")).expect("a CSV file");
    let clock = ["time/time_elapsed", "time/fps"];
    let header = csv.headers().expect("a header").clone();
    let columns: Vec<_> = (0..header.len()).filter(|&i| !clock.contains(&&header[i])).collect();
    assert_eq!(columns.len(), header.len() - 2);
    let rows = csv.records().map(|row| row.expect("a row of the header's length"));
    std::iter::once(header.clone())
        .chain(rows)
        .map(|row| columns.iter().map(|&i| row[i].to_owned()).collect())
        .collect()
}

/// Asserts that two runs ended with the same bits.
#[track_caller]
pub fn assert_same(place: &Place, one: &str, other: &str) {
    let (one, other) = (place.path(one), place.path(other));
    let last = |run: &Path| checkpoints(run).pop().expect("a checkpoint");
    assert_eq!(last(&one).file_name(), last(&other).file_name(), "final step");
    assert!(timeless(place, &last(&one)) == timeless(place, &last(&other)), "final state");
    // Where a limit never held there is none.
    let best = |run: &Path| {
        let path = run.join("checkpoints/best.ckpt");
        path.is_file().then(|| timeless(place, &path))
    };
    assert!(best(&one) == best(&other), "best state");
    assert_eq!(timeless_csv(&one), timeless_csv(&other));
    let evaluation = |run: &Path| {
        let text = fs::read_to_string(run.join("summary.json")).expect("a summary");
        serde_json::from_str::<serde_json::Value>(&text).expect("JSON")["eval"].clone()
    };
    assert_eq!(evaluation(&one), evaluation(&other));
}

/// The trainer with MPI; `None`, with a line that says so, where there is none.
pub fn mpi_trainer() -> Option<&'static Path> {
    static BINARY: OnceLock<Option<PathBuf>> = OnceLock::new();
    BINARY.get_or_init(build_with_mpi).as_deref()
}

fn build_with_mpi() -> Option<PathBuf> {
    let is_there = |program| Command::new(program).arg("--version").output().is_ok();
    if !is_there("mpirun") || !is_there("mpicc") {
        let line = "SKIPPED training over MPI: there is no mpirun and mpicc (Debian: openmpi-bin, libopenmpi-dev)";
        // Past the test harness, which keeps to itself what a passing test prints.
        let _ = writeln!(std::io::stderr().lock(), "\n{line}");
        return None;
    }
    // Other tests of this program go on with the one without MPI.
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("trainer-plain");
    fs::copy(trainer_binary(), &kept).expect("a copy");
    let build = Command::new(env!("CARGO"))
        .args([
            "build",
            "--release",
            "--workspace",
            "--features",
            "backburn-trainer/mpi",
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
    let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join("trainer-mpi");
    let _ = fs::remove_file(&copy);
    fs::copy(&built, &copy).expect("a copy");
    fs::rename(&kept, &built).expect("it is put back");
    Some(copy)
}
