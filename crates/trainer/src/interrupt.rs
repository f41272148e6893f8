//! Ctrl-C, and the system's requests to end.

use crate::terminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Exit code after an interrupt, as shells know it.
const INTERRUPTED: i32 = 130;

/// Whether the user, or the system, has asked to stop.
#[derive(Clone, Debug, Default)]
pub struct Interrupt {
    requested: Arc<AtomicBool>,
}

/// What is said when it is asked for the first time, and at a second Ctrl-C.
#[derive(Clone, Copy)]
struct Answers {
    first: &'static str,
    second: &'static str,
}

impl Interrupt {
    /// Listens for a wish to stop. The first Ctrl-C asks to stop, the second ends at once. Whatever
    /// else the system sends (SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, as schedulers of jobs do, more than
    /// once) asks to stop, and never more than that. SIGHUP is left alone where it is ignored, as `nohup`
    /// has it.
    #[must_use]
    pub fn listen() -> Interrupt {
        Interrupt::answer(Answers {
            first: "stopping after this iteration; Ctrl-C once more to stop at once",
            second: "stopped at once; what was done since the last checkpoint is lost",
        })
    }

    /// Listens like [`Interrupt::listen`] and says nothing, for what has nothing to lose.
    #[must_use]
    pub fn listen_silently() -> Interrupt {
        Interrupt::answer(Answers { first: "", second: "" })
    }

    fn answer(answers: Answers) -> Interrupt {
        let interrupt = Interrupt::default();
        if let Err(error) = interrupt.clone().begin(answers) {
            terminal::warn(&format!("Ctrl-C will end without a checkpoint: {error}"));
        }
        interrupt
    }

    fn begin(self, answers: Answers) -> Result<(), ctrlc::Error> {
        #[cfg(unix)]
        self.clone().listen_to_the_system(answers).map_err(ctrlc::Error::System)?;
        let mut pressed = false;
        ctrlc::set_handler(move || {
            if pressed {
                say(answers.second);
                std::process::exit(INTERRUPTED);
            }
            pressed = true;
            self.ask(answers);
        })
    }

    #[cfg(unix)]
    fn listen_to_the_system(self, answers: Answers) -> std::io::Result<()> {
        use signal_hook::consts::{SIGHUP, SIGTERM, SIGUSR1, SIGUSR2};
        let mut signals = vec![SIGTERM, SIGUSR1, SIGUSR2];
        if !is_ignored(SIGHUP) {
            signals.push(SIGHUP);
        }
        let mut signals = signal_hook::iterator::Signals::new(signals)?;
        std::thread::spawn(move || signals.forever().for_each(|_| self.ask(answers)));
        Ok(())
    }

    fn ask(&self, answers: Answers) {
        if !self.requested.swap(true, Ordering::Relaxed) {
            say(answers.first);
        }
    }

    /// Takes the end of stdin for a wish to stop, too: whoever started this process holds the other
    /// end, and the system closes it when that process ends in whatever way.
    pub fn listen_to_stdin(&self) {
        let requested = Arc::clone(&self.requested);
        std::thread::spawn(move || {
            // A stdin that can't be read is one that has ended.
            let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
            requested.store(true, Ordering::Relaxed);
        });
    }

    /// Whether it was asked for.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.requested.load(Ordering::Relaxed)
    }
}

fn say(text: &str) {
    if !text.is_empty() {
        terminal::warn(text);
    }
}

/// Whether this process was started with a signal ignored. Linux says so in a file; elsewhere it takes an
/// unsafe call to know, and the answer is no.
#[cfg(unix)]
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}
