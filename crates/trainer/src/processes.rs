//! The processes that train one run together: how they find each other, and how they end.

#[cfg(feature = "mpi")]
mod mpi;

use crate::error::Error;
use crate::terminal;
use agents::Ranks;
use agents::ops::kernel::Level;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// How long a rank that fails leaves it to rank 0 to say why: most failures are those of all ranks.
const COURTESY: Duration = Duration::from_secs(1);

/// How a launcher tells its processes how many they are, and which is which.
const LAUNCHERS: [(&str, &str, &str); 3] = [
    ("mpirun", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
    ("srun", "SLURM_STEP_NUM_TASKS", "SLURM_PROCID"),
    ("a launcher of MPI", "PMI_SIZE", "PMI_RANK"),
];

/// One of several processes that were started together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Launched {
    /// What has started them.
    launcher: &'static str,
    size: usize,
    /// Which one this is, counted from 0.
    pub rank: usize,
}

impl Launched {
    /// What the environment says; `None` where this process was started alone.
    #[must_use]
    pub fn find() -> Option<Launched> {
        let number = |name| std::env::var(name).ok()?.parse::<usize>().ok();
        LAUNCHERS.into_iter().find_map(|(launcher, size, rank)| {
            let (size, rank) = (number(size)?, number(rank)?);
            (size > 1).then_some(Launched { launcher, size, rank })
        })
    }
}

/// This process among those that were started together.
pub struct Processes {
    ranks: Arc<Ranks>,
    #[cfg(feature = "mpi")]
    connection: Option<mpi::Connection>,
}

impl Processes {
    /// This process alone.
    #[must_use]
    pub fn alone() -> Processes {
        Processes {
            ranks: Arc::default(),
            #[cfg(feature = "mpi")]
            connection: None,
        }
    }

    /// Finds the other processes, which must be the same program on machines that give the same bits.
    ///
    /// # Errors
    /// When this program can't train together with others, or one of them is another program.
    #[cfg(feature = "mpi")]
    pub fn connect(_: Launched) -> Result<Processes, Error> {
        let (connection, messenger) = mpi::connect()?;
        let ranks = Arc::new(Ranks::new(messenger));
        Ok(Processes { ranks, connection: Some(connection) })
    }

    /// Refuses to do the same several times.
    ///
    /// # Errors
    /// Always: this program is built without MPI.
    #[cfg(not(feature = "mpi"))]
    pub fn connect(launched: Launched) -> Result<Processes, Error> {
        let Launched { launcher, size, .. } = launched;
        Err(Error::Usage(format!(
            "{launcher} has started {size} processes, but this program is built without MPI, so each would do the \
             same; build it with `cargo build --release --features backburn-trainer/mpi`, or start it alone"
        )))
    }

    /// Those that train together.
    #[must_use]
    pub fn ranks(&self) -> &Arc<Ranks> {
        &self.ranks
    }

    /// Whether this process is the one that has the run directory, prints and asks.
    #[must_use]
    pub fn is_first(&self) -> bool {
        self.ranks.rank() == 0
    }

    /// Checks that all processes are to do the same.
    ///
    /// # Errors
    /// When one has another program, another processor or another task than rank 0.
    pub fn must_agree(&self, task: &str) -> Result<(), Error> {
        if self.ranks.size() == 1 {
            return Ok(());
        }
        let fuses = if Level::default().fuses() { "fuses" } else { "does not fuse" };
        let own = [
            ("program", format!("{} ({:08x})", env!("CARGO_PKG_VERSION"), program())),
            ("processor", format!("{} that {fuses} products with sums", std::env::consts::ARCH)),
            ("configuration", task.to_owned()),
        ];
        let all = self.ranks.gather(&own.clone().map(|(_, value)| value));
        for (rank, other) in all.iter().enumerate() {
            let differs = own.iter().zip(&all[0]).zip(other).find(|((_, first), own)| first != own);
            if let Some((((what, _), first), other)) = differs {
                // Of a configuration, the line that differs.
                let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
                let (first, other) = (lines(first), lines(other));
                let line = (0..first.len().max(other.len()))
                    .find(|&line| first.get(line) != other.get(line));
                let at = |lines: &[String]| {
                    line.and_then(|line| lines.get(line))
                        .map_or("nothing", String::as_str)
                        .to_owned()
                };
                return Err(Error::Usage(format!(
                    "{} has another {what} than {}: {} instead of {}; start the same program with the same \
                     configuration everywhere",
                    self.ranks.name(rank),
                    self.ranks.name(0),
                    at(&other),
                    at(&first),
                )));
            }
        }
        Ok(())
    }

    /// Says what ended this process early, once for all ranks, and ends the others with it.
    #[must_use]
    pub fn leave(self, result: Result<(), Error>) -> ExitCode {
        let Err(error) = result else { return ExitCode::SUCCESS };
        let code = error.exit_code();
        let is_planned = matches!(error, Error::Interrupted { .. });
        let mut message = error.to_string();
        if !self.is_first() {
            if is_planned {
                return ExitCode::from(code);
            }
            std::thread::sleep(COURTESY);
            message = format!("{}: {message}", self.ranks.name(self.ranks.rank()));
        }
        terminal::error(&message);
        #[cfg(feature = "mpi")]
        if let Some(connection) = self.connection
            && !is_planned
        {
            connection.abort(code);
        }
        ExitCode::from(code)
    }
}

/// The checksum of the running program's file.
fn program() -> u32 {
    let file = std::env::current_exe().and_then(std::fs::read);
    file.map_or(0, |bytes| crc32c::crc32c(&bytes))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use agents::Messenger;

    /// The other one of two ranks, on a processor that does something else.
    #[derive(Debug)]
    struct Elsewhere;

    impl Messenger for Elsewhere {
        fn rank(&self) -> usize {
            0
        }

        fn size(&self) -> usize {
            2
        }

        fn exchange(&self, to: &[(usize, &[u8])], _: &[usize]) -> Vec<Vec<u8>> {
            // Of the same length, which stands before it.
            vec![String::from_utf8(to[0].1.to_vec()).unwrap().replace("fuse", "skip").into_bytes()]
        }
    }

    #[test]
    fn a_rank_on_another_processor_is_named() {
        let ranks = Arc::new(Ranks::new(Elsewhere));
        let mut processes = Processes::alone();
        processes.ranks = ranks;
        let error = processes.must_agree("env.name = \"reach\"").unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let message = error.to_string();
        assert!(message.contains("rank 1 has another processor than rank 0: "), "{message}");
        assert!(message.contains("skip") && message.contains("fuse"), "{message}");
    }
}
