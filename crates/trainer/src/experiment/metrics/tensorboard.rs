//! TensorBoard's event files: protocol buffers in TFRecord frames.
//!
//! The messages are the part of `tensorflow/core/util/event.proto` and `framework/summary.proto`
//! that scalars need. A resumed run begins a new file with the session's start: TensorBoard then
//! drops the steps that are replaced.

use super::{Record, Sink};
use crate::error::Error;
use crate::files;
use prost::Message;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What event files' names begin with; the time in seconds follows, which orders them.
pub const FILE_PREFIX: &str = "events.out.tfevents.";

#[derive(Clone, PartialEq, Message)]
struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(oneof = "What", tags = "3, 5, 7")]
    what: Option<What>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum What {
    #[prost(string, tag = "3")]
    FileVersion(String),
    #[prost(message, tag = "5")]
    Summary(EventSummary),
    #[prost(message, tag = "7")]
    SessionLog(SessionLog),
}

#[derive(Clone, PartialEq, Message)]
struct EventSummary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Scalar>,
}

#[derive(Clone, PartialEq, Message)]
struct Scalar {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
}

#[derive(Clone, PartialEq, Message)]
struct SessionLog {
    /// 1: start.
    #[prost(int32, tag = "1")]
    status: i32,
}

const START: i32 = 1;

/// Writes each record as one event.
pub struct TensorBoardSink {
    path: PathBuf,
    file: BufWriter<File>,
}

impl TensorBoardSink {
    /// Begins a new event file for the steps after `steps`.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn create(directory: &Path, steps: u64) -> Result<TensorBoardSink, Error> {
        let seconds =
            |name: &String| name.strip_prefix(FILE_PREFIX)?.split('.').next()?.parse::<u64>().ok();
        let last = files::names(directory)?.iter().filter_map(seconds).max();
        // TensorBoard reads the files in the order of their names.
        let time = (now() as u64).max(last.map_or(0, |last| last.saturating_add(1)));
        let path = directory.join(format!("{FILE_PREFIX}{time:010}.backburn"));
        let file = File::create(&path).map_err(Error::io("can't be created", &path))?;
        let mut sink = TensorBoardSink { path, file: BufWriter::new(file) };
        sink.write(0, What::FileVersion("brain.Event:2".to_owned()))?;
        sink.write(steps + 1, What::SessionLog(SessionLog { status: START }))?;
        Ok(sink)
    }

    fn write(&mut self, step: u64, what: What) -> Result<(), Error> {
        let event = Event { wall_time: now(), step: step as i64, what: Some(what) };
        let payload = event.encode_to_vec();
        let length = (payload.len() as u64).to_le_bytes();
        let parts = [
            length.as_slice(),
            &masked_checksum(&length).to_le_bytes(),
            &payload,
            &masked_checksum(&payload).to_le_bytes(),
        ];
        parts
            .iter()
            .try_for_each(|part| self.file.write_all(part))
            .and_then(|()| self.file.flush())
            .map_err(Error::io("can't be written", &self.path))
    }
}

impl Sink for TensorBoardSink {
    fn record(&mut self, record: &Record) -> Result<(), Error> {
        let value = record
            .metrics
            .iter()
            .filter(|(name, _)| *name != "time/total_timesteps")
            .filter_map(|(name, number)| {
                Some(Scalar { tag: name.to_string(), simple_value: Some((*number)? as f32) })
            })
            .collect();
        self.write(record.steps, What::Summary(EventSummary { value }))
    }
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

/// TFRecord's checksum: CRC-32C, rotated and shifted so that the checksum of data that holds
/// checksums stays useful.
fn masked_checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::{Event, EventSummary, Scalar, TensorBoardSink, What, masked_checksum};
    use crate::experiment::metrics::{Record, Sink};
    use prost::Message;

    #[test]
    fn masks_the_checksum_as_tfrecord_does() {
        // The CRC-32C of this text is the algorithm's published check value.
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(masked_checksum(b"123456789"), 0xc78a_b0e5);
    }

    /// Takes a file apart as the format describes it.
    fn events(mut bytes: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        while !bytes.is_empty() {
            let length =
                usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap();
            let checksum = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
            let payload = &bytes[12..12 + length];
            assert_eq!(checksum(8), masked_checksum(&bytes[..8]));
            assert_eq!(checksum(12 + length), masked_checksum(payload));
            events.push(Event::decode(payload).unwrap());
            bytes = &bytes[16 + length..];
        }
        events
    }

    #[test]
    fn a_resumed_run_begins_a_later_file_that_says_where_it_starts() {
        let directory = tempfile::tempdir().unwrap();
        drop(TensorBoardSink::create(directory.path(), 0).unwrap());
        let mut sink = TensorBoardSink::create(directory.path(), 64).unwrap();
        let metrics = vec![("a".into(), Some(0.5)), ("b".into(), None)];
        sink.record(&Record { steps: 128, metrics }).unwrap();

        let names = crate::files::names(directory.path()).unwrap();
        assert_eq!(names.len(), 2);
        let events = events(&std::fs::read(directory.path().join(&names[1])).unwrap());
        assert_eq!(events[0].what, Some(What::FileVersion("brain.Event:2".to_owned())));
        assert_eq!(events[1].step, 65);
        assert!(matches!(events[1].what, Some(What::SessionLog(_))));
        let value = vec![Scalar { tag: "a".to_owned(), simple_value: Some(0.5) }];
        assert_eq!(events[2].step, 128);
        assert_eq!(events[2].what, Some(What::Summary(EventSummary { value })));
    }
}
