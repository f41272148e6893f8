//! `./test`, which sets up what the tests need: with programs that stand in for the machine's.

#![cfg(target_os = "linux")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use support::{Ended, Place};

/// A machine whose programs are the place's `bin`, and those of the real one that have no stand-in.
struct Machine {
    place: Place,
}

impl Machine {
    /// Without a linker, Vulkan and Chromium. What is asked of `apt-get` is written to a file `log`, and it
    /// brings nothing. `python3` makes environments whose pip writes to the log and fails.
    fn bare() -> Machine {
        let machine = Machine { place: Place::new() };
        for name in ["cc", "ldconfig", "chromium", "chromium-browser", "google-chrome"] {
            machine.program(name, "exit 1");
        }
        machine.program("apt-get", "echo apt-get \"$@\" >>\"$LOG\"");
        machine.program("sudo", "shift; exec \"$@\"");
        machine.pip("echo 'no network' >&2; exit 1");
        machine
    }

    /// With all of these.
    fn complete() -> Machine {
        let machine = Machine::bare();
        machine.program("cc", "exit 0");
        machine.program("ldconfig", "echo libvulkan.so.1");
        machine.program("chromium", "exit 0");
        machine
    }

    fn program(&self, name: &str, script: &str) {
        fs::create_dir_all(self.place.path("bin")).unwrap();
        let path = self.place.write(&format!("bin/{name}"), format!("#!/bin/sh\n{script}\n"));
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// A `python3` that makes environments whose pip does this.
    fn pip(&self, script: &str) {
        self.program(
            "made-python",
            &format!("[ \"$1\" = -c ] && exit\necho pip \"$@\" >>\"$LOG\"\n{script}"),
        );
        let made = self.place.path("bin/made-python");
        let make = format!("mkdir -p \"$4/bin\" && cp '{}' \"$4/bin/python\"", made.display());
        self.program("python3", &format!("[ \"$1\" = -c ] && exit\n{make}"));
    }

    fn test(&self, arguments: &[&str], env: &[(&str, &str)]) -> Ended {
        let cargo = std::path::Path::new(env!("CARGO")).parent().unwrap().display().to_string();
        let path = format!("{}:{cargo}", self.place.path("bin").display());
        let output = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../test"))
            .args(arguments)
            .current_dir(self.place.path("."))
            .env_remove("BACKBURN_PYTHON")
            .env_remove("CHROMIUM")
            .env_remove("HOME")
            .env("PATH", path)
            .env("LOG", self.place.path("log"))
            .env("CARGO_TARGET_DIR", "build outputs")
            .envs(env.iter().copied())
            .output()
            .unwrap();
        Ended {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// What was asked of `apt-get` and pip since the last call.
    fn log(&self) -> String {
        let log = fs::read_to_string(self.place.path("log")).unwrap_or_default();
        let _ = fs::remove_file(self.place.path("log"));
        log
    }

    /// Nothing was compiled.
    fn expect_no_build(&self) {
        assert!(!self.place.path("build outputs/release").exists());
    }
}

#[test]
fn a_check_names_what_is_missing_and_installs_nothing() {
    let machine = Machine::bare();
    let install = "apt-get install -y --no-install-recommends gcc libc6-dev libvulkan1";
    let ended = machine.test(&["--check"], &[]).expect(
        2,
        &["a C compiler and linker", "Vulkan's loader", "Chromium", install, "apt-get update"],
    );
    assert!(ended.stderr.contains("tests/requirements.txt"), "{ended:?}");
    assert_eq!(machine.log(), "");
    machine.expect_no_build();
    let ended = Machine::complete().test(&["--check"], &[]);
    ended.expect(2, &["requirements.txt", "build outputs/python"]);
}

#[test]
fn what_apt_get_does_not_bring_is_named_before_anything_is_compiled() {
    let machine = Machine::bare();
    let ended = machine.test(&["--test", "learning"], &[]);
    ended.expect(2, &["apt-get did not bring it", "gcc libc6-dev libvulkan1", "chromium"]);
    let log = machine.log();
    assert!(log.starts_with("apt-get update"), "{log}");
    assert!(log.contains("--no-install-recommends gcc libc6-dev libvulkan1"), "{log}");
    machine.expect_no_build();
}

/// A half-made environment is made anew; a whole one is left alone.
#[test]
fn python_packages_are_installed_until_it_succeeds_and_then_no_more() {
    let machine = Machine::complete();
    for _ in 0..2 {
        let ended = machine.test(&["--setup"], &[]);
        ended
            .expect(2, &["no network", "pip did not bring it", "onnxruntime==", "BACKBURN_PYTHON"]);
        assert_eq!(machine.log().lines().count(), 1);
    }
    machine.pip("exit 0");
    machine.test(&["--setup"], &[]).expect(0, &["all that the tests need is there"]);
    assert!(machine.log().contains("install"));
    machine.test(&["--setup"], &[]).expect(0, &["all that the tests need is there"]);
    assert_eq!(machine.log(), "");
    // Other packages are wanted.
    machine.place.write("build outputs/python/requirements.txt", "numpy==1.0\n");
    machine.test(&["--check"], &[]).expect(2, &["requirements.txt"]);
    machine.test(&["--setup"], &[]).expect(0, &[]);
    assert!(machine.log().contains("install"));
    machine.expect_no_build();
}

#[test]
fn somebodys_own_python_is_used_and_not_changed() {
    let machine = Machine::complete();
    machine.program("own", "exit 1");
    let own = machine.place.path("bin/own");
    let own = [("BACKBURN_PYTHON", own.to_str().unwrap())];
    machine.test(&["--setup"], &own).expect(2, &["BACKBURN_PYTHON", "bin/own -m pip install -r"]);
    machine.program("own", "exit 0");
    machine.test(&["--setup"], &own).expect(0, &["all that the tests need is there"]);
    assert_eq!(machine.log(), "");
}
