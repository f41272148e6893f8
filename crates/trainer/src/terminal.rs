//! Writing to the terminal without a panic when nobody reads.

use std::io::Write;

/// Writes to stdout. A reader that has gone away (`trainer list | head -1`) is no error.
pub fn say(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

/// Writes a warning to stderr.
pub fn warn(text: &str) {
    let _ = writeln!(std::io::stderr(), "warning: {text}");
}

/// Writes a hint to stderr.
pub fn hint(text: &str) {
    let _ = writeln!(std::io::stderr(), "hint: {text}");
}

/// Writes an error to stderr.
pub fn error(text: &str) {
    let _ = writeln!(std::io::stderr(), "error: {text}");
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
