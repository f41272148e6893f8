//! Checkpoints: state in one file with a checksum, and what can be wrong with it.

use crate::error::AgentError;
use crate::files;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;
use std::path::{Path, PathBuf};

/// Version of the checkpoint format that this program writes and reads.
pub const FORMAT: u32 = 8;
/// First bytes of every checkpoint.
const MAGIC: [u8; 8] = *b"BACKBURN";
/// Magic, format, length of the payload, checksum.
const HEADER: usize = 8 + 4 + 8 + 4;

/// Writes a checkpoint, whole or not at all.
///
/// # Errors
/// When the system refuses; an earlier file of that name is still there then.
pub fn write(content: &impl Serialize, path: &Path) -> io::Result<()> {
    let payload = postcard::to_stdvec(content).map_err(io::Error::other)?;
    files::write_atomically(path, &[&header(FORMAT, &payload), &payload])
}

/// Reads a checkpoint and checks that it is whole; what its numbers mean is for the caller to check.
///
/// # Errors
/// What is wrong with the file.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<T, CheckpointError> {
    std::fs::read(path)
        .map_err(Problem::Unreadable)
        .and_then(|bytes| decode(&bytes))
        .map_err(|problem| problem.of(path))
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    if bytes.is_empty() {
        return Err(Problem::Empty);
    }
    if !MAGIC.starts_with(&bytes[..bytes.len().min(MAGIC.len())]) {
        return Err(Problem::Foreign);
    }
    let found = bytes.len() as u64;
    let Some((header, payload)) = bytes.split_first_chunk::<HEADER>() else {
        return Err(Problem::Truncated { expected: HEADER as u64, found });
    };
    let [_, _, _, _, _, _, _, _, f0, f1, f2, f3, length @ .., c0, c1, c2, c3] = *header;
    match u32::from_le_bytes([f0, f1, f2, f3]) {
        FORMAT => {}
        newer if newer > FORMAT => return Err(Problem::Newer(newer)),
        older => return Err(Problem::Older(older)),
    }
    let expected = u64::from_le_bytes(length).saturating_add(HEADER as u64);
    if found < expected {
        return Err(Problem::Truncated { expected, found });
    }
    if found > expected || u32::from_le_bytes([c0, c1, c2, c3]) != checksum(header, payload) {
        return Err(Problem::Damaged);
    }
    postcard::from_bytes(payload).map_err(Problem::Undecodable)
}

/// What stands before this payload.
fn header(format: u32, payload: &[u8]) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(&MAGIC);
    header[8..12].copy_from_slice(&format.to_le_bytes());
    header[12..20].copy_from_slice(&(payload.len() as u64).to_le_bytes());
    let checksum = checksum(&header, payload);
    header[20..].copy_from_slice(&checksum.to_le_bytes());
    header
}

/// CRC-32C of the header up to the checksum's own place, and of the payload.
fn checksum(header: &[u8; HEADER], payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&header[..20]), payload)
}

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
    Unreadable(io::Error),
    /// It can't be written.
    #[error("can't be written: {0}")]
    Unwritable(io::Error),
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

impl From<AgentError> for Problem {
    /// Why an agent did not take the state of a checkpoint.
    fn from(error: AgentError) -> Problem {
        match error {
            AgentError::Impossible(what) => Problem::Impossible(format!("the {what}")),
            other => Problem::Mismatch(other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_whole_is_not_yet_a_checkpoint_of_this_program() {
        let problem = |format, payload: &[u8]| {
            let file = [&header(format, payload), payload].concat();
            decode::<String>(&file).expect_err("it is none")
        };
        let undecodable = problem(FORMAT, b"\xff");
        assert!(matches!(undecodable, Problem::Undecodable(_)), "{undecodable}");
        let older = problem(FORMAT - 1, b"");
        assert_eq!(
            older.to_string(),
            "has format 7, which this program no longer reads (it reads format 8)"
        );
    }
}
