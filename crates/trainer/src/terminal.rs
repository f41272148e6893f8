//! Writing to the terminal without a panic when nobody reads, in colour only where that is wanted.

use clap::builder::styling::{AnsiColor, Style};
use serde::Serialize;
use std::io::{IsTerminal, Write};

/// Writes to stdout. A reader that has gone away (`trainer list | head -1`) is no error.
pub fn say(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

/// Whether stderr is a terminal that can draw a bar: one where a line can be written over.
#[must_use]
pub fn draws_bars() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// What is printed of a command's outcome.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    /// Nothing for people.
    pub quiet: bool,
    /// The result for scripts, as one JSON document, and nothing for people on stdout.
    pub json: bool,
}

impl Output {
    /// Prints a result, for people or as JSON.
    pub fn result(self, result: &impl Serialize, text: impl FnOnce() -> String) {
        self.text(text);
        self.json(result);
    }

    /// Prints what is for people only.
    pub fn text(self, text: impl FnOnce() -> String) {
        if !self.quiet && !self.json {
            say(&text());
        }
    }

    /// Prints what is for scripts only.
    pub fn json(self, result: &impl Serialize) {
        if self.json {
            // Results are numbers, texts and lists of them, which JSON can write.
            say(&format!("{}\n", serde_json::to_string_pretty(result).unwrap_or_default()));
        }
    }
}

/// Writes a warning to stderr.
pub fn warn(text: &str) {
    message(AnsiColor::Yellow, "warning", text);
}

/// Writes a hint to stderr.
pub fn hint(text: &str) {
    message(AnsiColor::Cyan, "hint", text);
}

/// Writes an error to stderr.
pub fn error(text: &str) {
    message(AnsiColor::Red, "error", text);
}

/// In the style of clap's own messages: `anstream` takes the colour away for NO_COLOR, a dumb terminal,
/// a file or a pipe.
fn message(colour: AnsiColor, kind: &str, text: &str) {
    let style = Style::new().bold().fg_color(Some(colour.into()));
    let _ = writeln!(anstream::stderr(), "{style}{kind}:{style:#} {text}");
}

/// To which side the cells of a table go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Names.
    Left,
    /// Numbers.
    Right,
}

/// Lines of cells as indented columns, each as wide as its widest cell.
#[must_use]
pub fn columns(lines: &[Vec<String>], align: Align) -> String {
    let mut widths = Vec::new();
    for line in lines {
        widths.resize(widths.len().max(line.len()), 0);
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for line in lines {
        let cells = line.iter().zip(&widths).map(|(cell, width)| match align {
            Align::Left => format!("  {cell:<width$}"),
            Align::Right => format!("  {cell:>width$}"),
        });
        text += cells.collect::<String>().trim_end();
        text.push('\n');
    }
    text
}
