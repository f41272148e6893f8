//! The trainer: a configuration in, a run directory out. No maths in here.
//!
//! [`main`] is the whole program for the environments of a registry, so that a crate with
//! environments of its own is one line: `trainer::main(Registry::default().with(...))`.

mod cli;
mod error;
mod experiment;
mod files;
mod interrupt;
mod results;
mod sweep;
mod terminal;

pub use error::Error;
pub use experiment::checkpoint::Checkpoint;
pub use experiment::checkpoint::problem::{CheckpointError, Problem};
pub use experiment::config::{
    ALGORITHMS, CheckpointConfig, EnvConfig, EvalConfig, Experiment, Override, Source, schema,
};
pub use experiment::metrics::{Progress, RecentEpisodes};
pub use experiment::session::{Session, Trained};
pub use experiment::train::Iteration;
pub use results::export::ExportFormat;
pub use sweep::Sweep;

use clap::FromArgMatches;
use envs::Registry;
use std::process::ExitCode;

/// The program: reads the command line, does what it asks for with these environments.
#[must_use]
pub fn main(registry: Registry) -> ExitCode {
    let matches = cli::command(&registry).get_matches();
    let cli = cli::Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    match cli::commands::execute(cli.command, &registry) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            terminal::error(&error.to_string());
            ExitCode::from(error.exit_code())
        }
    }
}
