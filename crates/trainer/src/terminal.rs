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
