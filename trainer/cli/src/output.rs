//! Writing to the terminal. A reader such as `head` may close its pipe early, which is no fault: the command ends, and
//! says nothing.

use std::fmt;
use std::io::{self, ErrorKind, Write};

/// Why standard output takes no more.
#[derive(Debug)]
pub enum OutputError {
    /// The reader has closed the pipe.
    Closed,
    /// The operating system reports another error.
    Io(io::Error),
}

impl fmt::Display for OutputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the reader of the output has gone"),
            Self::Io(error) => write!(f, "the output cannot be written: {error}. Make room, or write elsewhere."),
        }
    }
}

impl std::error::Error for OutputError {}

/// Writes text to standard output.
///
/// # Errors
/// [`OutputError`].
pub fn write(text: fmt::Arguments<'_>) -> Result<(), OutputError> {
    io::stdout().lock().write_fmt(text).map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => OutputError::Closed,
        _ => OutputError::Io(error),
    })
}

/// Writes a note to standard error. If nobody reads it, the work goes on.
pub fn note(text: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Like `print!`, as a result instead of a panic.
macro_rules! out {
    ($($text:tt)*) => { $crate::output::write(format_args!($($text)*)) };
}

/// Like `println!`, as a result instead of a panic.
macro_rules! outln {
    ($($text:tt)*) => { $crate::output::write(format_args!("{}\n", format_args!($($text)*))) };
}

/// Like `eprintln!`, without a panic.
macro_rules! noteln {
    ($($text:tt)*) => { $crate::output::note(format_args!($($text)*)) };
}

pub(crate) use {noteln, out, outln};
