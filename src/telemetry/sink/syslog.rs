//! The local syslog daemon: one datagram of RFC 5424 a line, over its Unix socket.

use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use prometheus_client::metrics::counter::Counter;
use rustix::io::Errno;

use super::Sink;

/// `informational` (RFC 5424 table 2): a decision is nobody's fault.
const SEVERITY: u8 = 6;
/// Where the time stands in a line, which begins with it.
const TIME: std::ops::Range<usize> = 9..33;
/// What stands at the end of a message that was cut.
const CUT: &[u8] = b"...";
/// No daemon takes less (RFC 5424 section 6.1).
const LEAST: usize = 480;

/// The connection to the daemon.
pub(super) struct Syslog {
    path: PathBuf,
    facility: u8,
    socket: UnixDatagram,
    message: Vec<u8>,
    cut: Counter,
}

impl Syslog {
    /// Connects to the daemon. `cut` counts lines that are longer than a datagram may be.
    pub(super) fn open(path: PathBuf, facility: u8, cut: Counter) -> io::Result<Self> {
        let socket = connect(&path)?;
        Ok(Self { path, facility, socket, message: Vec::new(), cut })
    }

    fn send(&mut self, line: &[u8]) -> io::Result<()> {
        let priority = u16::from(self.facility) * 8 + u16::from(SEVERITY);
        let time = line.get(TIME).unwrap_or(b"-");
        self.message.clear();
        write!(self.message, "<{priority}>1 ")?;
        self.message.extend_from_slice(time);
        // The daemon knows the name of the host better.
        write!(self.message, " - portcullis {} decision - ", std::process::id())?;
        self.message.extend_from_slice(line);
        let mut is_cut = false;
        while let Err(fault) = self.hand_over() {
            if Errno::from_io_error(&fault) != Some(Errno::MSGSIZE) || self.message.len() <= LEAST {
                return Err(fault);
            }
            is_cut = true;
            self.message.truncate((self.message.len() / 2).max(LEAST - CUT.len()));
            self.message.extend_from_slice(CUT);
        }
        if is_cut {
            self.cut.inc();
        }
        Ok(())
    }

    /// Sends the message, to a daemon that was started anew if it must be.
    fn hand_over(&mut self) -> io::Result<()> {
        use io::ErrorKind::{BrokenPipe, ConnectionRefused, ConnectionReset, NotConnected};
        match self.socket.send(&self.message) {
            Err(fault) if matches!(fault.kind(), BrokenPipe | ConnectionRefused | ConnectionReset | NotConnected) => {
                self.socket = connect(&self.path)?;
                self.socket.send(&self.message).map(drop)
            }
            sent => sent.map(drop),
        }
    }
}

impl Sink for Syslog {
    fn write(&mut self, lines: &[u8], done: &mut usize) -> io::Result<()> {
        while let Some(rest) = lines.get(*done..).filter(|rest| !rest.is_empty()) {
            let line = rest.split(|byte| *byte == b'\n').next().unwrap_or_default();
            self.send(line)?;
            *done += line.len() + 1;
        }
        Ok(())
    }

    fn reopen(&mut self) {
        // A daemon that is gone is told by the next line.
        if let Ok(socket) = connect(&self.path) {
            self.socket = socket;
        }
    }
}

fn connect(path: &PathBuf) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const LINE: &str = "{\"time\":\"2026-11-22T10:11:12.345Z\",\"path\":\"/\"}\n";

    struct Daemon {
        folder: tempfile::TempDir,
        socket: Option<UnixDatagram>,
    }

    impl Daemon {
        fn start() -> Self {
            let mut daemon = Self { folder: tempfile::tempdir().unwrap(), socket: None };
            daemon.restart();
            daemon
        }

        fn restart(&mut self) {
            self.stop();
            self.socket = Some(UnixDatagram::bind(self.path()).unwrap());
        }

        fn stop(&mut self) {
            self.socket = None;
            let _absent_at_first = fs::remove_file(self.path());
        }

        fn path(&self) -> PathBuf {
            self.folder.path().join("log")
        }

        fn next(&self) -> String {
            let mut message = vec![0; 1 << 20];
            let length = self.socket.as_ref().unwrap().recv(&mut message).unwrap();
            message.truncate(length);
            String::from_utf8(message).unwrap()
        }

        fn open(&self) -> (Syslog, Counter) {
            let cut = Counter::default();
            (Syslog::open(self.path(), 16, cut.clone()).unwrap(), cut)
        }
    }

    #[test]
    fn each_line_is_one_message_with_its_own_time() {
        let daemon = Daemon::start();
        let (mut syslog, cut) = daemon.open();
        let mut done = 0;
        syslog.write([LINE, LINE].concat().as_bytes(), &mut done).unwrap();
        assert_eq!(done, 2 * LINE.len());
        let expected = format!(
            "<134>1 2026-11-22T10:11:12.345Z - portcullis {} decision - {}",
            std::process::id(),
            LINE.trim_end()
        );
        assert_eq!([daemon.next(), daemon.next()], [expected.as_str(), expected.as_str()]);
        assert_eq!(cut.get(), 0);
    }

    #[test]
    fn a_daemon_that_was_started_anew_is_found_again_and_none_is_a_fault() {
        let mut daemon = Daemon::start();
        let (mut syslog, _) = daemon.open();
        daemon.restart();
        syslog.write(LINE.as_bytes(), &mut 0).unwrap();
        assert!(daemon.next().ends_with("\"/\"}"));
        daemon.stop();
        let mut done = 0;
        assert!(syslog.write(LINE.as_bytes(), &mut done).is_err());
        assert_eq!(done, 0);
        daemon.restart();
        syslog.write(LINE.as_bytes(), &mut done).unwrap();
        assert!(daemon.next().ends_with("\"/\"}"));
        assert!(Syslog::open("/nowhere/log".into(), 16, Counter::default()).is_err());
    }

    #[test]
    fn a_line_that_is_longer_than_a_datagram_is_cut_and_says_so() {
        let daemon = Daemon::start();
        let (mut syslog, cut) = daemon.open();
        let line = format!("{{\"time\":\"2026-11-22T10:11:12.345Z\",\"path\":\"{}\"}}\n", "x".repeat(2_000_000));
        let mut done = 0;
        syslog.write(line.as_bytes(), &mut done).unwrap();
        let message = daemon.next();
        assert!(message.ends_with("xxx...") && message.len() > 10_000, "{} bytes", message.len());
        assert_eq!((done, cut.get()), (line.len(), 1));
    }
}
