//! Writing to the terminal without a panic when nobody reads, in colour only where that is wanted.

use crate::processes::Processes;
use console::{StyledObject, Term, style};
use indicatif::ProgressStyle;
use serde::Serialize;
use std::borrow::Cow;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// Writes to stdout. A reader that has gone away (`trainer list | head -1`) is no error; that a file
/// can't be written (a full disk) ends the program with exit code 1: whatever is said is said at last.
pub fn say(text: &str) {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(problem) if problem.kind() != ErrorKind::BrokenPipe => {
            error(&format!("stdout: can't be written: {problem}"));
            std::process::exit(1);
        }
        _ => {}
    }
}

/// What this program was called by: `trainer`, or a user's own name.
#[must_use]
pub fn program() -> String {
    let path = std::env::args_os().next().map(PathBuf::from);
    let name = path.as_deref().and_then(Path::file_stem).unwrap_or("trainer".as_ref());
    name.to_string_lossy().into_owned()
}

/// A command of this program about a path, for the user's shell.
#[must_use]
pub fn command(verb: &str, path: &Path) -> String {
    format!("{} {verb} {}", quoted(&program()), quoted(&path.to_string_lossy()))
}

/// A word as a shell takes it.
#[must_use]
pub fn quoted(word: &str) -> Cow<'_, str> {
    shlex::try_quote(word).unwrap_or(Cow::Borrowed(word))
}

/// Whether this is a terminal where lines can be written over.
#[must_use]
pub fn draws_in_place(term: &Term) -> bool {
    term.is_term() && !console::is_dumb()
}

/// The style of a progress bar, without a colour, so that there is nothing for NO_COLOR to take away.
#[must_use]
pub fn bar_style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
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
    /// What a user has asked for, printed by one of the processes that do it together.
    #[must_use]
    pub fn of(processes: &Processes, quiet: bool, json: bool) -> Output {
        let is_first = processes.is_first();
        Output { quiet: quiet || !is_first, json: json && is_first }
    }

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

/// Writes a line to stderr. Nobody reading is no reason not to train.
pub fn line(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Writes a warning to stderr.
pub fn warn(text: &str) {
    message(style("warning:").yellow(), text);
}

/// Writes a hint to stderr.
pub fn hint(text: &str) {
    message(style("hint:").cyan(), text);
}

/// Writes an error to stderr.
pub fn error(text: &str) {
    message(style("error:").red(), text);
}

/// In the style of clap's own messages; without colour for NO_COLOR, a dumb terminal, a file or a pipe.
fn message(kind: StyledObject<&str>, text: &str) {
    line(&format!("{} {text}", kind.bold().for_stderr()));
}

/// So many of a thing whose plural ends in `s`.
#[must_use]
pub fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// A number with so many digits behind the point; a dash where there is none.
#[must_use]
pub fn number(number: Option<f64>, digits: usize) -> String {
    number.map_or_else(|| "-".to_owned(), |number| format!("{number:.digits$}"))
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
