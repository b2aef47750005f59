//! Where decision lines go: standard output, a file, the local syslog daemon. Only the writer's thread calls these, and
//! they may wait.

mod file;
mod syslog;

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;

use prometheus_client::metrics::counter::Counter;

/// Where decision lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Standard output.
    Stdout,
    /// A file, to whose end lines are added.
    File {
        /// The file; its directory must exist.
        path: PathBuf,
        /// When it is rotated here; without it, only others move it away.
        rotate: Option<Rotation>,
    },
    /// The local syslog daemon (RFC 5424), one datagram a line.
    Syslog {
        /// Its socket.
        socket: PathBuf,
        /// The number of the facility (RFC 5424 table 1).
        facility: u8,
    },
}

/// When a file is put aside for a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// The most bytes of one file.
    pub size: u64,
    /// How many old files are kept.
    pub keep: u32,
}

impl Destination {
    /// Opens it. `cut` counts lines that the destination took only in part.
    ///
    /// # Errors
    /// It cannot be opened now. Later the same is tried again with each batch of lines.
    pub(super) fn open(&self, cut: Counter) -> io::Result<Box<dyn Sink>> {
        Ok(match self {
            // A descriptor of its own, without the buffer of `std::io::Stdout`, so that what was written is known.
            Self::Stdout => Box::new(Stream::new(std::fs::File::from(io::stdout().as_fd().try_clone_to_owned()?))),
            Self::File { path, rotate } => Box::new(file::LogFile::open(path.clone(), *rotate)?),
            Self::Syslog { socket, facility } => Box::new(syslog::Syslog::open(socket.clone(), *facility, cut)?),
        })
    }
}

/// Something that lines are written to.
pub(super) trait Sink: Send {
    /// Writes whole lines from `done` on, and moves `done` along with what is written, so that a later call goes on
    /// where this one failed. `done` goes back to the beginning of its line where that has to be written again.
    fn write(&mut self, lines: &[u8], done: &mut usize) -> io::Result<()>;

    /// Opens the destination anew before the next line: somebody has moved it away.
    fn reopen(&mut self) {}

    /// Whether lines could be written, as far as that can be told without one.
    fn probe(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Anything that bytes are written to, one after the other.
pub(super) struct Stream<W> {
    out: W,
    /// Whether the last line was given up in its middle.
    is_mid_line: bool,
}

impl<W> Stream<W> {
    /// Nothing is written yet.
    pub(super) const fn new(out: W) -> Self {
        Self { out, is_mid_line: false }
    }
}

impl<W: Write + Send> Sink for Stream<W> {
    fn write(&mut self, lines: &[u8], done: &mut usize) -> io::Result<()> {
        put(&mut self.out, &mut self.is_mid_line, lines, done)?;
        self.out.flush()
    }
}

/// Writes on from `done`. A line that was given up in its middle is ended first, so that the next one stands alone.
fn put(out: &mut impl Write, is_mid_line: &mut bool, lines: &[u8], done: &mut usize) -> io::Result<()> {
    if *is_mid_line && *done == line_start(lines, *done) {
        out.write_all(b"\n")?;
        *is_mid_line = false;
    }
    while let Some(rest) = lines.get(*done..).filter(|rest| !rest.is_empty()) {
        match out.write(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                *done += written;
                *is_mid_line = *done != line_start(lines, *done);
            }
            Err(fault) if fault.kind() == io::ErrorKind::Interrupted => {}
            Err(fault) => return Err(fault),
        }
    }
    Ok(())
}

/// Where the line begins that the byte at `at` belongs to.
fn line_start(lines: &[u8], at: usize) -> usize {
    let before = lines.get(..at).unwrap_or_default();
    before.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so many bytes at a time, and fails where it is told to.
    struct Grudging {
        written: Vec<u8>,
        most: usize,
        room: usize,
    }

    impl Write for Grudging {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(self.most).min(self.room);
            if taken == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.written.extend_from_slice(&bytes[..taken]);
            self.room -= taken;
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    const LINES: &[u8] = b"{\"one\":1}\n{\"two\":2}\n{\"three\":3}\n";

    #[test]
    fn lines_are_whole_wherever_writing_fails_and_goes_on() {
        for most in [1, 7, 1000] {
            for room in 0..LINES.len() {
                let mut sink = Stream::new(Grudging { written: Vec::new(), most, room });
                let mut done = 0;
                sink.write(LINES, &mut done).unwrap_err();
                assert_eq!(done, room);
                sink.out.room = 1000;
                sink.write(LINES, &mut done).unwrap();
                assert_eq!(sink.out.written, LINES, "after {room} bytes, {most} at a time");
            }
        }
    }

    #[test]
    fn a_line_that_was_given_up_in_its_middle_does_not_spoil_the_next_one() {
        for room in 0..LINES.len() {
            let mut sink = Stream::new(Grudging { written: Vec::new(), most: 1000, room });
            sink.write(LINES, &mut 0).unwrap_err();
            sink.out.room = 1000;
            sink.write(b"{\"next\":4}\n", &mut 0).unwrap();
            let text = String::from_utf8(sink.out.written).unwrap();
            assert_eq!(text.lines().last(), Some("{\"next\":4}"), "after {room} bytes");
            assert!(text.lines().all(|line| !line.is_empty()));
        }
    }
}
