//! Ctrl-C, and the system's request to end.

use crate::terminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Exit code after an interrupt, as shells know it.
const INTERRUPTED: i32 = 130;

/// Whether the user has asked to stop.
#[derive(Clone, Debug, Default)]
pub struct Interrupt {
    requested: Arc<AtomicBool>,
}

impl Interrupt {
    /// Listens for Ctrl-C (and SIGTERM, SIGHUP): the first asks to stop, the second ends at once.
    #[must_use]
    pub fn listen() -> Interrupt {
        Interrupt::answer([
            "stopping after this iteration; once more to stop at once",
            "stopped at once; what was done since the last checkpoint is lost",
        ])
    }

    /// Listens like [`Interrupt::listen`] and says nothing, for what has nothing to lose.
    #[must_use]
    pub fn listen_silently() -> Interrupt {
        Interrupt::answer([""; 2])
    }

    /// What is said when it is asked for the first time, and the second.
    fn answer([first, second]: [&'static str; 2]) -> Interrupt {
        let interrupt = Interrupt::default();
        let requested = Arc::clone(&interrupt.requested);
        let say = |text: &str| {
            if !text.is_empty() {
                terminal::warn(text);
            }
        };
        let listening = ctrlc::set_handler(move || {
            if requested.swap(true, Ordering::Relaxed) {
                say(second);
                std::process::exit(INTERRUPTED);
            }
            say(first);
        });
        if let Err(error) = listening {
            terminal::warn(&format!("Ctrl-C will end without a checkpoint: {error}"));
        }
        interrupt
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
