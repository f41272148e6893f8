//! Messages by MPI.

use crate::error::Error;
use crate::terminal;
use agents::Messenger;
use mpi::environment::{Universe, processor_name};
use mpi::request::{RequestCollection, multiple_scope};
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, Destination, Equivalence, Source};
use mpi::{Tag, Threading};
use std::time::{Duration, Instant};

/// Seconds that a rank waits for a message unless told otherwise. The others may be evaluating, or writing a
/// checkpoint.
const TIMEOUT: u64 = 300;
/// Where it is told.
const TIMEOUT_NAME: &str = "BACKBURN_RANK_TIMEOUT";
/// How often a rank looks for a message before it offers its core to others.
const LOOKS: u32 = 256;
/// A rank that has waited for so long naps in between.
const TIRED: Duration = Duration::from_millis(20);
const NAP: Duration = Duration::from_micros(50);
const TAG: Tag = 0;

/// MPI in this process; it is over when this is dropped.
pub struct Connection {
    _universe: Universe,
}

impl Connection {
    /// Ends all ranks.
    pub fn abort(self, code: u8) -> ! {
        SimpleCommunicator::world().abort(code.into())
    }
}

/// Finds the other ranks.
///
/// # Errors
/// When MPI can't serve several threads in turn, or the timeout is no number.
pub fn connect() -> Result<(Connection, MpiMessenger), Error> {
    let seconds = match std::env::var(TIMEOUT_NAME) {
        Err(_) => TIMEOUT,
        Ok(text) => text.parse().ok().filter(|&seconds| seconds > 0).ok_or_else(|| {
            let message = "is no number of seconds above 0, which a rank waits for a message";
            Error::Usage(format!("{TIMEOUT_NAME}={text}: {message}"))
        })?,
    };
    // Whichever thread of the learner has a message talks, and only one at a time.
    let wanted = Threading::Serialized;
    let Some((universe, found)) = mpi::initialize_with_threading(wanted) else {
        return Err(Error::Failed("MPI has been initialised before".into()));
    };
    if found < wanted {
        return Err(Error::Usage(
            "this MPI serves one thread only; use one that was built for \
             threads, as Debian's Open MPI is"
                .into(),
        ));
    }
    let host = processor_name().unwrap_or_else(|_| "a host without a name".into());
    let mut messenger = MpiMessenger { timeout: Duration::from_secs(seconds), hosts: Vec::new() };
    let others: Vec<usize> = (0..messenger.size()).collect();
    let to: Vec<(usize, &[u8])> = others.iter().map(|&other| (other, host.as_bytes())).collect();
    let hosts = messenger.exchange(&to, &others).into_iter();
    messenger.hosts = hosts.map(|host| String::from_utf8_lossy(&host).into_owned()).collect();
    Ok((Connection { _universe: universe }, messenger))
}

/// Messages between all processes that mpirun or srun has started.
#[derive(Debug)]
pub struct MpiMessenger {
    timeout: Duration,
    hosts: Vec<String>,
}

impl Messenger for MpiMessenger {
    fn rank(&self) -> usize {
        SimpleCommunicator::world().rank() as usize
    }

    fn size(&self) -> usize {
        SimpleCommunicator::world().size() as usize
    }

    fn name(&self, rank: usize) -> String {
        match self.hosts.get(rank) {
            Some(host) => format!("rank {rank} on {host}"),
            None => format!("rank {rank}"),
        }
    }

    fn exchange(&self, to: &[(usize, &[u8])], from: &[usize]) -> Vec<Vec<u8>> {
        let world = SimpleCommunicator::world();
        let process = |rank: usize| world.process_at_rank(rank as i32);
        let mut patience = Patience::new(self);
        multiple_scope(to.len(), |scope, sending: &mut RequestCollection<'_, [u8]>| {
            for &(rank, message) in to {
                sending.add(process(rank).immediate_send_with_tag(scope, message, TAG));
            }
            let receive = |&rank: &usize| {
                let (message, status) = loop {
                    match process(rank).immediate_matched_probe_with_tag(TAG) {
                        Some(found) => break found,
                        None => patience.wait(rank, "from"),
                    }
                };
                let mut bytes = vec![0; status.count(u8::equivalent_datatype()) as usize];
                multiple_scope(1, |scope, receiving: &mut RequestCollection<'_, [u8]>| {
                    receiving.add(message.immediate_matched_receive_into(scope, &mut bytes[..]));
                    let mut done = Vec::new();
                    while !receiving.test_all(&mut done) {
                        patience.wait(rank, "from");
                    }
                });
                bytes
            };
            let received = from.iter().map(receive).collect();
            let mut done = Vec::new();
            while !sending.test_all(&mut done) {
                patience.wait(to.first().map_or(0, |(rank, _)| *rank), "to");
            }
            received
        })
    }
}

/// Waiting for a message that may never come.
struct Patience<'a> {
    messenger: &'a MpiMessenger,
    looks: u32,
    since: Option<Instant>,
}

impl Patience<'_> {
    fn new(messenger: &MpiMessenger) -> Patience<'_> {
        Patience { messenger, looks: 0, since: None }
    }

    /// Waits a little; ends the process when it has waited long enough.
    fn wait(&mut self, rank: usize, direction: &str) {
        std::hint::spin_loop();
        self.looks += 1;
        if !self.looks.is_multiple_of(LOOKS) {
            return;
        }
        let waited = self.since.get_or_insert_with(Instant::now).elapsed();
        let MpiMessenger { timeout, .. } = *self.messenger;
        if waited > timeout {
            let own = self.messenger.name(self.messenger.rank());
            let other = self.messenger.name(rank);
            terminal::error(&format!(
                "{own}: no message went {direction} {other} for {} s; all ranks end here, and `resume` goes on from the \
                 last checkpoint ({TIMEOUT_NAME} says how long a rank waits)",
                timeout.as_secs()
            ));
            // Not through MPI, which may hang: the launcher ends the others, or they find out by themselves.
            std::process::exit(1);
        }
        if waited > TIRED {
            std::thread::sleep(NAP);
        } else {
            std::thread::yield_now();
        }
    }
}
