//! The trainer: a configuration in, a run directory out. No maths in here.
//!
//! [`main`] is the whole program for the environments of a registry, so that a crate with
//! environments of its own is one line: `trainer::main(Registry::default().with(...))`.

mod bench;
mod checkpoint;
mod cli;
mod commands;
mod compare;
mod config;
mod error;
mod export;
mod files;
mod init;
mod interrupt;
mod metrics;
mod plot;
mod progress;
mod replay;
mod report;
mod results;
mod run_dir;
mod screen;
mod session;
mod stats;
mod summary;
mod sweep;
mod terminal;
mod train;
mod watch;

pub use checkpoint::{Checkpoint, CheckpointError, Problem, Progress};
pub use config::{
    ALGORITHMS, CheckpointConfig, EnvConfig, EvalConfig, Experiment, Override, Source, schema,
};
pub use error::Error;
pub use export::ExportFormat;
pub use metrics::RecentEpisodes;
pub use session::Trained;
pub use sweep::Sweep;

use clap::FromArgMatches;
use envs::Registry;
use std::process::ExitCode;

/// The program: reads the command line, does what it asks for with these environments.
#[must_use]
pub fn main(registry: Registry) -> ExitCode {
    let matches = cli::command(&registry).get_matches();
    let cli = cli::Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    match commands::execute(cli.command, &registry) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            terminal::error(&error.to_string());
            ExitCode::from(error.exit_code())
        }
    }
}
