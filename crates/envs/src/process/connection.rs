//! One process: how it is started, spoken to and ended. What is said stands in docs/process.md.

use super::hello::Hello;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::collections::VecDeque;
use std::io::{ErrorKind, PipeReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The first bytes of every message.
const MAGIC: [u8; 4] = *b"BBRN";
/// Bytes before a message's payload: magic, kind, number, length.
const HEADER: usize = 16;
/// Bytes that a message's payload has at most.
const MAX_PAYLOAD: usize = 1 << 28;
/// How long a process may take to end when it is told to, and to say its last words.
const GRACE: Duration = Duration::from_secs(2);
/// Lines of its output that are kept, and bytes of each.
const LINES: usize = 20;
const LINE: usize = 300;

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The process can't do what it was asked for; the payload says why.
    Error = 0,
    /// What the process is; its first message.
    Hello = 1,
    /// New episodes.
    Reset = 2,
    /// A step of some copies.
    Step = 3,
    /// The state of a copy.
    State = 4,
    /// A copy's state is put back.
    SetState = 5,
    /// A picture of a copy.
    Frame = 6,
}

/// A process and the line to it.
pub(super) struct Connection {
    /// As an error names it.
    name: String,
    child: Child,
    socket: UnixStream,
    /// How long an answer may take.
    patience: Duration,
    /// Of the last request.
    number: u32,
    /// The message that is written or was read last.
    message: Vec<u8>,
    output: Arc<Mutex<LastLines>>,
    /// Says when there is no more output.
    silence: Receiver<()>,
    /// Why it is of no more use.
    failure: Option<String>,
}

impl Connection {
    /// Starts a process, which is not waited for.
    ///
    /// Its stdin is one end of a socket on which both sides write; what it prints, to stdout or stderr, is
    /// read and its end kept. It is the first of a process group, which Ctrl-C does not reach.
    ///
    /// # Errors
    /// When it can't be started.
    pub(super) fn start(command: &[String], index: usize) -> Result<Connection, String> {
        let name = format!("process {index} (`{}`)", command.join(" "));
        let io = |error: std::io::Error| format!("{name} can't be started: {error}");
        let (socket, theirs) = UnixStream::pair().map_err(io)?;
        let (output, writer) = std::io::pipe().map_err(io)?;
        let (program, arguments) = command.split_first().ok_or("no command")?;
        let child = Command::new(program)
            .args(arguments)
            .process_group(0)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(writer.try_clone().map_err(io)?)
            .stderr(writer)
            .spawn()
            .map_err(io)?;
        let last_lines = Arc::<Mutex<LastLines>>::default();
        let (says, silence) = channel();
        let keeps = Arc::clone(&last_lines);
        std::thread::spawn(move || {
            keep_last_lines(output, &keeps);
            // Nobody may be waiting for it.
            let _ = says.send(());
        });
        Ok(Connection {
            name,
            child,
            socket,
            patience: Duration::ZERO,
            number: 0,
            message: Vec::new(),
            output: last_lines,
            silence,
            failure: None,
        })
    }

    /// Waits until the process says what it is; each later answer may take as long as `patience`.
    ///
    /// # Errors
    /// When it does not, or is nothing that can be trained in.
    pub(super) fn hello(&mut self, start: Duration, patience: Duration) -> Result<Hello, String> {
        self.patience = start;
        self.receive(Kind::Hello, 0, None)?;
        self.patience = patience;
        Hello::read(&self.message[HEADER..]).map_err(|problem| self.fail(&problem))
    }

    /// Begins a request; what it says is appended to the vector that is returned.
    pub(super) fn request(&mut self) -> &mut Vec<u8> {
        self.message.clear();
        self.message.extend([0; HEADER]);
        &mut self.message
    }

    /// Sends the request, and returns its number.
    ///
    /// # Errors
    /// When the process does not take it.
    pub(super) fn send(&mut self, kind: Kind) -> Result<u32, String> {
        self.check()?;
        self.number = self.number.wrapping_add(1).max(1);
        let length = (self.message.len() - HEADER) as u32;
        let words = [kind as u32, self.number, length];
        self.message[..4].copy_from_slice(&MAGIC);
        for (bytes, word) in self.message[4..HEADER].chunks_exact_mut(4).zip(words) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        let sent = self
            .socket
            .set_write_timeout(Some(self.patience))
            .and_then(|()| self.socket.write_all(&self.message));
        sent.map_err(|error| self.fail_by(&error))?;
        Ok(self.number)
    }

    /// Waits for the answer to a request: its payload, of so many bytes where that is known.
    ///
    /// # Errors
    /// When it does not come, or is none.
    pub(super) fn receive(
        &mut self,
        kind: Kind,
        number: u32,
        length: Option<usize>,
    ) -> Result<&[u8], String> {
        self.check()?;
        let deadline = Instant::now() + self.patience;
        // One read is enough as a rule: the length is known.
        self.message.resize(HEADER + length.unwrap_or(0), 0);
        let mut filled = 0;
        self.fill(&mut filled, HEADER, deadline)?;
        let word = |index: usize| {
            let bytes = self.message[4 * index..4 * (index + 1)].try_into();
            bytes.map_or(0, u32::from_le_bytes)
        };
        let (found_kind, found_number, found) = (word(1), word(2), word(3) as usize);
        if self.message[..4] != MAGIC {
            let text = String::from_utf8_lossy(&self.message[..filled.min(60)]).into_owned();
            return Err(self.fail(&format!(
                "sent {text:?}, which is no message of the protocol; only messages may be \
                 written to the socket"
            )));
        }
        if found_kind != Kind::Error as u32 {
            if found_kind != kind as u32 || found_number != number {
                return Err(self.fail(&format!(
                    "sent message {found_number} of kind {found_kind} where {number} of kind {} \
                     was expected; each request has one answer, in order and with its number",
                    kind as u32
                )));
            }
            if let Some(length) = length.filter(|&length| length != found) {
                return Err(self.fail(&format!(
                    "sent an answer of kind {found_kind} with {found} bytes, where its spaces and \
                     names make {length}"
                )));
            }
        }
        if found > MAX_PAYLOAD {
            return Err(
                self.fail(&format!("sent a message of {found} bytes; {MAX_PAYLOAD} are allowed"))
            );
        }
        if filled > HEADER + found {
            return Err(self.fail("sent more than it was asked for"));
        }
        self.message.resize(HEADER + found, 0);
        self.fill(&mut filled, HEADER + found, deadline)?;
        if found_kind == Kind::Error as u32 {
            let text = String::from_utf8_lossy(&self.message[HEADER..]).into_owned();
            return Err(self.fail(&format!("says: {text}")));
        }
        Ok(&self.message[HEADER..])
    }

    /// Reads on until the message has so many bytes.
    fn fill(&mut self, filled: &mut usize, wanted: usize, deadline: Instant) -> Result<(), String> {
        while *filled < wanted {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(self.fail_by(&ErrorKind::TimedOut.into()));
            }
            let read = self.socket.set_read_timeout(Some(left));
            let read = read.and_then(|()| self.socket.read(&mut self.message[*filled..]));
            match read {
                Ok(0) => return Err(self.fail_by(&ErrorKind::UnexpectedEof.into())),
                Ok(count) => *filled += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.fail_by(&error)),
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        self.failure.clone().map_or(Ok(()), Err)
    }

    /// The failure that a system error stands for.
    fn fail_by(&mut self, error: &std::io::Error) -> String {
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                let seconds = self.patience.as_secs_f64();
                self.fail(&format!("did not answer for {seconds} s"))
            }
            ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => {
                let how = match self.wait(GRACE) {
                    None => "closed its socket".to_owned(),
                    Some(status) => match (status.code(), status.signal()) {
                        (Some(code), _) => format!("ended with exit code {code}"),
                        (None, Some(signal)) => match Signal::try_from(signal) {
                            Ok(name) => format!("was ended by {name}"),
                            Err(_) => format!("was ended by signal {signal}"),
                        },
                        _ => "ended".to_owned(),
                    },
                };
                self.fail(&how)
            }
            _ => self.fail(&format!("can't be reached: {error}")),
        }
    }

    /// Ends the process; what went wrong, with the last lines of its output. Nothing can be asked any
    /// more.
    pub(super) fn fail(&mut self, what: &str) -> String {
        self.end(Duration::ZERO);
        let _ = self.silence.recv_timeout(GRACE);
        let lines = self.output.lock().unwrap_or_else(PoisonError::into_inner).text();
        let output = match &lines[..] {
            [] => "; it printed nothing".to_owned(),
            lines => format!("; its last lines are:\n  {}", lines.join("\n  ")),
        };
        let failure = format!("{} {what}{output}", self.name);
        self.failure = Some(failure.clone());
        failure
    }

    /// Tells the process to end by closing the line, and ends its whole group where it does not.
    fn end(&mut self, grace: Duration) {
        // Fails where the other end is closed already.
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
        if self.wait(grace).is_none() {
            let group = Pid::from_raw(self.child.id() as i32);
            // It may have ended just now.
            let _ = killpg(group, Signal::SIGKILL);
            let _ = self.child.wait();
        }
    }

    /// Waits for the end of the process for a while.
    fn wait(&mut self, grace: Duration) -> Option<std::process::ExitStatus> {
        let deadline = Instant::now() + grace;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                _ => return None,
            }
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.failure.is_none() {
            self.end(GRACE);
        }
    }
}

/// The end of what a process prints.
#[derive(Default)]
struct LastLines {
    lines: VecDeque<Vec<u8>>,
    /// Whether the last line goes on.
    is_open: bool,
}

impl LastLines {
    fn push(&mut self, bytes: &[u8]) {
        for line in bytes.split_inclusive(|&byte| byte == b'\n') {
            if !self.is_open {
                self.lines.push_back(Vec::new());
            }
            self.is_open = !line.ends_with(b"\n");
            if let Some(last) = self.lines.back_mut() {
                let room = LINE.saturating_sub(last.len());
                last.extend(line.iter().take(room));
            }
            if self.lines.len() > LINES {
                self.lines.pop_front();
            }
        }
    }

    fn text(&self) -> Vec<String> {
        let text = |line: &Vec<u8>| {
            let text = String::from_utf8_lossy(line);
            text.trim_end().replace(|c: char| c.is_control() && c != '\t', " ")
        };
        self.lines.iter().map(text).filter(|line| !line.is_empty()).collect()
    }
}

/// Reads what a process prints until it ends.
fn keep_last_lines(mut output: PipeReader, lines: &Mutex<LastLines>) {
    let mut piece = [0; 4096];
    while let Ok(count @ 1..) = output.read(&mut piece) {
        lines.lock().unwrap_or_else(PoisonError::into_inner).push(&piece[..count]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_few_and_short() {
        let mut lines = LastLines::default();
        for number in 0..100 {
            lines.push(format!("line {number}\n").as_bytes());
        }
        lines.push(b"half a ");
        lines.push(b"line");
        let text = lines.text();
        assert_eq!((text.len(), &*text[0], &*text[19]), (20, "line 81", "half a line"));
        lines.push(&vec![b'x'; 1_000_000]);
        assert_eq!(lines.text()[19].len(), LINE);
        assert!(lines.lines.iter().all(|line| line.len() <= LINE));
    }
}
