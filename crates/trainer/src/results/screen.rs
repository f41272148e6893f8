//! A terminal that is drawn on in place.

use crate::interrupt::Interrupt;
use crate::terminal;
use console::Term;
use std::fmt::Write;
use std::time::{Duration, Instant};

/// How often a wish to leave is looked for.
const NAP: Duration = Duration::from_millis(50);

/// The terminal that stdout is, until the user leaves by Ctrl-C. Dropped, it gives the cursor back, below
/// the last picture.
pub struct Screen {
    term: Term,
    interrupt: Interrupt,
    /// Columns and rows when it was last drawn on.
    size: (usize, usize),
    /// Lines of the picture that is there.
    lines: usize,
}

impl Screen {
    /// `None` if stdout is no terminal, or one that can't move its cursor.
    pub fn open() -> Option<Screen> {
        let term = Term::stdout();
        terminal::draws_in_place(&term).then(|| Screen {
            term,
            interrupt: Interrupt::listen_silently(),
            size: (0, 0),
            lines: 0,
        })
    }

    /// Columns and rows that there are for a picture. One row is left out, so that the top stays when the
    /// cursor goes on at the end.
    pub fn size(&self) -> (usize, usize) {
        let (rows, columns) = self.term.size();
        (usize::from(columns).max(1), usize::from(rows).max(3) - 1)
    }

    /// Shows lines in place of those before; what does not fit is cut off. `false` when nobody can see it
    /// any more.
    pub fn show(&mut self, lines: &[String]) -> bool {
        let size = self.size();
        // The first time the cursor is hidden; after a change of size lines are not where they were.
        let mut text = match self.lines {
            0 => "\x1b[?25l".to_owned(),
            _ if size != self.size => "\x1b[H\x1b[J".to_owned(),
            1 => "\r".to_owned(),
            lines => format!("\r\x1b[{}A", lines - 1),
        };
        let lines = &lines[..lines.len().min(size.1)];
        for (index, line) in lines.iter().enumerate() {
            let end = if index > 0 { "\n" } else { "" };
            // Writing to a String can't fail.
            let _ = write!(text, "{end}{}\x1b[K", console::truncate_str(line, size.0, ""));
        }
        text.push_str("\x1b[J");
        (self.size, self.lines) = (size, lines.len());
        self.term.write_str(&text).is_ok()
    }

    /// Waits until then. `false` when the user wants to leave.
    pub fn rest(&self, until: Instant) -> bool {
        while !self.interrupt.is_requested() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            std::thread::sleep(left.min(NAP));
        }
        false
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if self.lines > 0 {
            // A terminal that has gone away needs no cursor.
            let _ = self.term.write_str("\x1b[?25h\n");
        }
    }
}
