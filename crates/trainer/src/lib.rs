//! The trainer: a configuration in, a run directory out. No maths in here.
//!
//! [`main`] is the whole program for the environments of a registry, so that a crate with
//! environments of its own is one line:
//! `trainer::main(envs::Environments::default().with(...))`.

mod cli;
mod error;
mod experiment;
mod files;
mod interrupt;
mod processes;
mod registry;
mod results;
mod submit;
mod sweep;
mod terminal;

pub use error::Error;
pub use experiment::checkpoint::Checkpoint;
pub use experiment::config::{
    CheckpointConfig, EnvConfig, EvalConfig, Experiment, Override, Source, init, schema,
};
pub use experiment::session::{Session, Trained};
pub use registry::Registry;
pub use results::plot::front::exact as exact_front;
pub use sweep::Sweep;

use clap::FromArgMatches;
use processes::{Launched, Processes};
use std::process::ExitCode;
use std::time::Duration;
#[cfg(target_os = "linux")]
use std::{path::Path, process::Command};

/// The program: reads the command line, does what it asks for with these environments. To be called
/// first in `main`: outside of a desktop session on Linux, it starts the program a second time.
#[must_use]
pub fn main(registry: impl Into<Registry>) -> ExitCode {
    let registry = registry.into();
    let launched = Launched::find();
    // What all ranks would say is said once.
    let is_first = launched.is_none_or(|launched| launched.rank == 0);
    let matches = cli::command(&registry).try_get_matches();
    let cli = match matches.and_then(|matches| cli::Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) if is_first => {
            // Help and versions are errors, too; a hint comes below what is wrong.
            let arguments: Vec<String> =
                std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
            let hint = cli::hint(&error, &arguments, &registry);
            let _ = error.print();
            if let Some(hint) = hint {
                terminal::hint(&hint);
            }
            return ExitCode::from(error.exit_code() as u8);
        }
        Err(error) => return leave_silently(error.exit_code() as u8),
    };
    #[cfg(target_os = "linux")]
    say_there_is_no_display();
    let processes = match launched {
        None => Processes::alone(),
        Some(launched) if cli.command.is_shared() => match Processes::connect(launched) {
            Ok(processes) => processes,
            Err(error) if is_first => return Processes::alone().leave(Err(error)),
            Err(error) => return leave_silently(error.exit_code()),
        },
        Some(_) if is_first => Processes::alone(),
        // One of them is enough for what is no training.
        Some(_) => return ExitCode::SUCCESS,
    };
    let result = cli::commands::execute(cli.command, &registry, &processes);
    processes.leave(result)
}

/// The end of a rank whose first one says what is wrong. `mpirun` stops all of them when one has failed, so that
/// the first must have had the time to say it.
fn leave_silently(code: u8) -> ExitCode {
    std::thread::sleep(Duration::from_secs(1));
    ExitCode::from(code)
}

/// Starts the program anew, in the same process, with a Wayland display that is nowhere, unless a session
/// says where it is. Mesa's Vulkan looks for one, also for a program without a window, since `wgpu` may
/// open windows; without a session libwayland then complains on stderr. It reads the environment only, and
/// to change that of a running program is unsafe.
#[cfg(target_os = "linux")]
fn say_there_is_no_display() {
    use std::os::unix::process::CommandExt;
    let is_path =
        |name| std::env::var_os(name).is_some_and(|value| Path::new(&value).is_absolute());
    if is_path("XDG_RUNTIME_DIR") || is_path("WAYLAND_DISPLAY") {
        return;
    }
    let mut arguments = std::env::args_os();
    let (Ok(program), Some(name)) = (std::env::current_exe(), arguments.next()) else {
        return;
    };
    let mut again = Command::new(program);
    again.arg0(name).args(arguments).env("WAYLAND_DISPLAY", "/nonexistent");
    // Comes back only if it failed: then there is a line too many on stderr.
    let _ = again.exec();
}
