//! `metrics.csv`: a row an iteration.

use super::{Record, Sink};
use crate::error::Error;
use crate::terminal::warn;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

/// Appends each record to a CSV file; the first one fixes the columns.
pub struct CsvSink {
    path: PathBuf,
    writer: csv::Writer<File>,
    columns: Vec<String>,
    row: csv::StringRecord,
}

impl CsvSink {
    /// Opens the file, cut back to its first `rows` rows: those that a checkpoint counts.
    ///
    /// # Errors
    /// When it can't be read or written.
    pub fn open(path: &Path, rows: u64) -> Result<CsvSink, Error> {
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(path)
            .map_err(Error::io("can't be opened", path))?;
        let whole = Whole::read(&file, rows).map_err(Error::io("can't be read", path))?;
        if whole.rows < rows {
            warn(&format!(
                "{}: holds {} rows where the checkpoint counts {rows}: there is a gap",
                path.display(),
                whole.rows
            ));
        }
        file.set_len(whole.bytes).map_err(Error::io("can't be cut", path))?;
        let writer = csv::WriterBuilder::new().has_headers(false).flexible(true).from_writer(file);
        let columns = whole.header.iter().map(str::to_owned).collect();
        Ok(CsvSink { path: path.to_owned(), writer, columns, row: csv::StringRecord::new() })
    }
}

impl Sink for CsvSink {
    fn record(&mut self, record: &Record) -> Result<(), Error> {
        let mut write = || -> Result<(), csv::Error> {
            if self.columns.is_empty() {
                self.columns = record.metrics.iter().map(|(name, _)| name.to_string()).collect();
                self.writer.write_record(&self.columns)?;
            }
            self.row.clear();
            for column in &self.columns {
                let number = record.get(column);
                self.row.push_field(&number.map_or_else(String::new, |number| number.to_string()));
            }
            self.writer.write_record(&self.row)?;
            Ok(self.writer.flush()?)
        };
        write().map_err(|error| Error::io("can't be written", &self.path)(error.into()))
    }

    fn sync(&mut self) -> Result<(), Error> {
        self.writer.get_ref().sync_data().map_err(Error::io("can't be written", &self.path))
    }
}

/// A column of `metrics.csv`: its name, and its cells; `None` where one is empty.
pub type Column = (String, Vec<Option<f64>>);

/// Reads a file as columns, in their order.
///
/// # Errors
/// When it can't be read or is no table.
pub fn read(path: &Path) -> Result<Vec<Column>, Error> {
    let problem = |error: csv::Error| Error::Usage(format!("{}: {error}", path.display()));
    let text = std::fs::read_to_string(path).map_err(Error::io("can't be read", path))?;
    // The last line of a run that goes on, or was killed, may be half written.
    let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
    let mut reader = csv::Reader::from_reader(whole.as_bytes());
    let mut columns: Vec<Column> =
        reader.headers().map_err(problem)?.iter().map(|name| (name.into(), Vec::new())).collect();
    for row in reader.records() {
        let row = row.map_err(problem)?;
        for ((_, column), cell) in columns.iter_mut().zip(&row) {
            column.push(cell.parse().ok());
        }
    }
    Ok(columns)
}

/// The part of a file that a checkpoint counts: the header and the first rows, whole lines only.
struct Whole {
    header: csv::StringRecord,
    rows: u64,
    bytes: u64,
}

impl Whole {
    fn read(file: &File, rows: u64) -> std::io::Result<Whole> {
        let mut whole = Whole { header: csv::StringRecord::new(), rows: 0, bytes: 0 };
        if rows == 0 {
            return Ok(whole);
        }
        let mut reader = BufReader::new(file);
        let mut line = Vec::new();
        // Cells are numbers and column names, so that every line break ends a row.
        while whole.rows < rows {
            line.clear();
            reader.read_until(b'\n', &mut line)?;
            if line.last() != Some(&b'\n') {
                break;
            }
            if whole.bytes == 0 {
                let mut header = csv::ReaderBuilder::new().from_reader(line.as_slice());
                whole.header = header.headers()?.clone();
            } else {
                whole.rows += 1;
            }
            whole.bytes += line.len() as u64;
        }
        Ok(whole)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::{CsvSink, Sink};
    use crate::experiment::metrics::Record;

    fn record(steps: u64, number: Option<f64>) -> Record {
        let steps_done = ("time/total_timesteps".into(), Some(steps as f64));
        Record { steps, metrics: vec![steps_done, ("b".into(), number)] }
    }

    #[test]
    fn resuming_cuts_back_to_the_counted_rows_and_drops_a_torn_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("metrics.csv");
        let mut sink = CsvSink::open(&path, 0).unwrap();
        for steps in 1..=3 {
            sink.record(&record(steps, (steps > 1).then_some(0.5))).unwrap();
        }
        drop(sink);
        let torn = std::fs::read_to_string(&path).unwrap() + "4,0.";
        assert_eq!(torn, "time/total_timesteps,b\n1,\n2,0.5\n3,0.5\n4,0.");
        std::fs::write(&path, torn).unwrap();

        let mut sink = CsvSink::open(&path, 2).unwrap();
        sink.record(&record(3, Some(1e-7))).unwrap();
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            "time/total_timesteps,b\n1,\n2,0.5\n3,0.0000001\n"
        );
        drop(CsvSink::open(&path, 0).unwrap());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "");
    }
}
