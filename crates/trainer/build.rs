//! Tells the program the commit that it is built from.

use std::process::Command;

/// What git prints; `None` where it fails.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// The checkout's commit, and whether files differ from it; `None` where this package is no part of one.
fn checked_out() -> Option<String> {
    git(&["ls-files", "--error-unmatch", "build.rs"])?;
    // Whenever the program is compiled anew anyway, so that a commit compiles nothing.
    for sources in ["src", "../agents/src", "../envs/src", "../../Cargo.lock"] {
        println!("cargo::rerun-if-changed={sources}");
    }
    git(&["describe", "--always", "--exclude=*", "--abbrev=40", "--dirty= with changes"])
}

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=BACKBURN_COMMIT");
    let told = std::env::var("BACKBURN_COMMIT").ok().filter(|commit| !commit.is_empty());
    let commit = told.or_else(checked_out).unwrap_or_else(|| "not known".to_owned());
    println!("cargo::rustc-env=BACKBURN_COMMIT={commit}");
}
