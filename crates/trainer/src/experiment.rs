//! Running one experiment: its configuration, the training loop, and the run directory that it leaves.

pub mod changes;
pub mod checkpoint;
pub mod config;
pub mod fingerprint;
pub mod lock;
pub mod metrics;
pub mod run;
pub mod run_dir;
pub mod session;
pub mod summary;
pub mod train;
pub mod verdict;
