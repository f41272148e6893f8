//! Checkpoints: all state of a run in one file with a checksum.

pub mod problem;

use crate::error::Error;
use crate::experiment::checkpoint::problem::{CheckpointError, FORMAT, Problem};
use crate::experiment::fingerprint::Fingerprint;
use crate::experiment::metrics::{Progress, RecentEpisodes};
use crate::files;
use agents::{AgentState, CollectorState};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// First bytes of every checkpoint.
const MAGIC: [u8; 8] = *b"BACKBURN";
/// Magic, format, length of the payload, checksum.
const HEADER: usize = 8 + 4 + 8 + 4;

/// Everything that a run needs to go on as if nothing had happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// What it belongs to.
    pub fingerprint: Fingerprint,
    /// Networks, optimisers, observation normaliser, shuffling stream.
    pub agent: AgentState,
    /// Environments, reward normaliser, sampling stream.
    pub collector: CollectorState,
    /// How far the run is.
    pub progress: Progress,
    /// Return, length, success and costs of the last finished episodes.
    pub recent: RecentEpisodes,
}

impl Checkpoint {
    /// Writes the checkpoint, whole or not at all.
    ///
    /// # Errors
    /// When the system refuses; an earlier file of that name is still there then.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let payload = postcard::to_stdvec(self).map_err(|error| {
            Error::Failed(format!("{}: can't be encoded: {error}", path.display()))
        })?;
        files::write_atomically(path, &[&header(FORMAT, &payload), &payload])
    }

    /// Reads a checkpoint and checks that it is whole.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn read(path: &Path) -> Result<Checkpoint, CheckpointError> {
        std::fs::read(path)
            .map_err(Problem::Unreadable)
            .and_then(|bytes| Checkpoint::decode(&bytes))
            .map_err(|problem| problem.of(path))
    }

    fn decode(bytes: &[u8]) -> Result<Checkpoint, Problem> {
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
        let checkpoint: Checkpoint = postcard::from_bytes(payload).map_err(Problem::Undecodable)?;
        match impossible(&checkpoint) {
            Some(what) => Err(Problem::Impossible(what)),
            None => Ok(checkpoint),
        }
    }
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

/// What about a run's own numbers no run can have led to. Those of the agent and of the environments are
/// their own concern.
fn impossible(checkpoint: &Checkpoint) -> Option<String> {
    let Checkpoint { progress, recent, .. } = checkpoint;
    let seconds = [progress.training_seconds, progress.elapsed_seconds];
    let clock = seconds.iter().all(|&seconds| seconds.is_finite() && seconds >= 0.0);
    let parts = [
        ("the seconds it counts", clock),
        ("its best return", progress.best_return.is_none_or(f64::is_finite)),
        ("its recent episodes", recent.is_possible()),
    ];
    let (what, _) = parts.iter().find(|(_, is_possible)| !is_possible)?;
    Some((*what).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_whole_is_not_yet_a_checkpoint_of_this_program() {
        let problem = |format, payload: &[u8]| {
            let file = [&header(format, payload), payload].concat();
            Checkpoint::decode(&file).expect_err("it is none")
        };
        let undecodable = problem(FORMAT, b"\xff");
        assert!(matches!(undecodable, Problem::Undecodable(_)), "{undecodable}");
        let older = problem(FORMAT - 1, b"");
        assert_eq!(
            older.to_string(),
            "has format 4, which this program no longer reads (it reads format 5)"
        );
    }
}
