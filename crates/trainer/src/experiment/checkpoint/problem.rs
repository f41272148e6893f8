//! What can be wrong with a checkpoint.

use std::path::{Path, PathBuf};

/// Version of the checkpoint format that this program writes and reads.
pub const FORMAT: u32 = 5;

/// Why a file is no usable checkpoint.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", path.display())]
pub struct CheckpointError {
    /// The file, or the directory that should hold one.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a checkpoint.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// It can't be read at all.
    #[error("can't be read: {0}")]
    Unreadable(std::io::Error),
    /// A file without content.
    #[error("is empty, so it is no checkpoint")]
    Empty,
    /// A file of another program.
    #[error("is no Backburn checkpoint")]
    Foreign,
    /// Written by a later version of this program.
    #[error(
        "has format {0}; this program reads format {FORMAT}, so use the newer one that wrote it"
    )]
    Newer(u32),
    /// Written by an early version of this program.
    #[error("has format {0}, which this program no longer reads (it reads format {FORMAT})")]
    Older(u32),
    /// The end is missing.
    #[error("is truncated: {found} of {expected} bytes are there")]
    Truncated {
        /// Bytes that the header promises.
        expected: u64,
        /// Bytes that are there.
        found: u64,
    },
    /// Its bytes are not those that were written.
    #[error("is damaged: its checksum does not match its content")]
    Damaged,
    /// Whole, but not understood.
    #[error("is whole, but its content is not that of a checkpoint ({0})")]
    Undecodable(postcard::Error),
    /// Whole, but no run can have saved it.
    #[error("holds what no run can have saved: {0}")]
    Impossible(String),
    /// Whole, but of another run.
    #[error("belongs to another configuration: {0}")]
    Mismatch(String),
    /// Whole, but its policy is of another network, or sees and does other things.
    #[error("its policy is another function here: {0}")]
    Policy(String),
    /// There is no such checkpoint.
    #[error("{0}")]
    Missing(String),
}

impl Problem {
    /// The error about this file.
    #[must_use]
    pub fn of(self, path: &Path) -> CheckpointError {
        CheckpointError { path: path.to_owned(), problem: self }
    }
}
