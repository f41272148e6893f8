//! A terminal that a picture is drawn on again and again.

use console::Term;
use std::fmt::Write;

/// The user's terminal, drawn on in place; when it goes out of use the last picture stays, and the
/// cursor is back.
pub struct Screen {
    term: Term,
    /// Lines of the last picture.
    lines: usize,
}

impl Screen {
    /// Takes the terminal that stdout is; `None` where it is a file, a pipe or a terminal that can't
    /// move its cursor. Ctrl-C then ends the program with exit code 0: leaving is no failure.
    #[must_use]
    pub fn open() -> Option<Screen> {
        let term = Term::stdout();
        if !term.is_term() || !term.features().is_attended() || console::is_dumb() {
            return None;
        }
        let left = term.clone();
        let leave = move || {
            crate::terminal::say("\n");
            let _ = left.show_cursor();
            std::process::exit(0);
        };
        // Without a handler Ctrl-C ends the program all the same, only the cursor stays hidden.
        let _ = ctrlc::set_handler(leave);
        let _ = term.hide_cursor();
        Some(Screen { term, lines: 0 })
    }

    /// Columns and rows.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        let (rows, columns) = self.term.size();
        (columns.into(), rows.into())
    }

    /// Shows these lines in place of the last ones, as many as fit.
    pub fn show(&mut self, picture: &str) {
        let (columns, rows) = self.size();
        let mut text = String::new();
        // Writing to a String can't fail.
        if self.lines > 1 {
            let _ = write!(text, "\x1b[{}A", self.lines - 1);
        }
        text.push('\r');
        let lines: Vec<&str> = picture.lines().take(rows).collect();
        for (index, line) in lines.iter().enumerate() {
            let end = if index + 1 < lines.len() { "\r\n" } else { "" };
            let _ = write!(text, "{}\x1b[K{end}", console::truncate_str(line, columns, ""));
        }
        text.push_str("\x1b[J");
        self.lines = lines.len();
        crate::terminal::say(&text);
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        crate::terminal::say("\n");
        let _ = self.term.show_cursor();
    }
}
