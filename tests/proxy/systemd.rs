//! Under a service manager: what it is told, the sockets that it passes on, and a new process that takes over from an old
//! one without a client noticing.

use std::collections::HashMap;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{self, UnixDatagram};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::backend::{Backend, SOON, Then, read_request, reply, until};
use crate::gateway::{Setup, token};
use crate::wire::{Answer, Client, get, trusting};

/// A service manager's end of the notifications.
struct Manager {
    socket: UnixDatagram,
    name: String,
}

impl Manager {
    fn at_path(folder: &Path) -> Self {
        let path = folder.join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        Self { socket, name: path.to_str().unwrap().to_owned() }
    }

    fn abstract_one() -> Self {
        let name = format!("portcullis-test-{}", std::process::id());
        let socket = UnixDatagram::bind_addr(&net::SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        Self { socket, name: format!("@{name}") }
    }

    /// The next message that begins like this; others in between are signs of life.
    fn hears(&self, beginning: &str) -> String {
        self.socket.set_read_timeout(Some(SOON)).unwrap();
        let mut message = [0; 4096];
        loop {
            let length = self.socket.recv(&mut message).unwrap_or_else(|fault| panic!("no {beginning}: {fault}"));
            let text = std::str::from_utf8(&message[..length]).unwrap();
            if text.starts_with(beginning) {
                return text.to_owned();
            }
            assert_eq!(text, "WATCHDOG=1", "{beginning} is to come first");
        }
    }
}

/// A service whose listening sockets stay open while its processes come and go.
struct Service {
    folder: TempDir,
    manager: Manager,
    plain: TcpListener,
    tls: TcpListener,
}

impl Service {
    fn before(backend: &Backend) -> Self {
        let setup = Setup { timeouts: "drain: 10s".into(), workers: 1, ..Setup::before(backend) };
        let folder = setup.write();
        let [plain, tls] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let file = folder.path().join("gateway.yaml");
        let mut text = fs::read_to_string(&file).unwrap();
        for socket in [&plain, &tls] {
            text = text.replacen("127.0.0.1:0", &socket.local_addr().unwrap().to_string(), 1);
        }
        fs::write(file, text).unwrap();
        Self { manager: Manager::at_path(folder.path()), folder, plain, tls }
    }

    fn plain(&self) -> SocketAddr {
        self.plain.local_addr().unwrap()
    }

    /// Starts a process as systemd does: sockets from descriptor 3 on, and their number in the environment. The shell only
    /// puts them there; it is the same process.
    fn command(&self, sockets: [OwnedFd; 2]) -> Command {
        let [one, other] = sockets;
        let mut command = Command::new("/bin/sh");
        command
            .arg("-c")
            .arg("exec 3<&0 4<&1 0</dev/null 1>/dev/null; LISTEN_FDS=2 LISTEN_PID=$$ exec \"$0\" serve --config gateway.yaml --workers 2")
            .arg(env!("CARGO_BIN_EXE_portcullis"))
            .env("NOTIFY_SOCKET", &self.manager.name)
            .current_dir(self.folder.path())
            .stdin(Stdio::from(one))
            .stdout(Stdio::from(other))
            .stderr(Stdio::piped());
        command
    }

    /// Starts a process and waits until it says that it serves.
    fn start(&self) -> Running {
        let sockets = [&self.plain, &self.tls].map(|socket| OwnedFd::from(socket.try_clone().unwrap()));
        let child = self.command(sockets).stderr(Stdio::null()).spawn().unwrap();
        self.manager.hears("READY=1");
        Running(child)
    }
}

/// A process, until it is dropped.
struct Running(Child);

impl Running {
    /// Tells it to end, and waits until it has.
    fn end(mut self) -> Option<i32> {
        assert!(Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status().unwrap().success());
        self.0.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ended = self.0.kill().and_then(|()| self.0.wait());
    }
}

#[test]
fn the_service_manager_hears_when_it_serves_reloads_and_ends_and_that_it_lives() {
    let backend = Backend::hello();
    for is_abstract in [false, true] {
        let place = tempfile::tempdir().unwrap();
        let manager = if is_abstract { Manager::abstract_one() } else { Manager::at_path(place.path()) };
        let folder = Setup::before(&backend).write();
        let child = Command::new(env!("CARGO_BIN_EXE_portcullis"))
            .args(["serve", "--config", "gateway.yaml"])
            .env("NOTIFY_SOCKET", &manager.name)
            .env("WATCHDOG_USEC", "200000")
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let running = Running(child);
        let signal = |name: &str| {
            let id = running.0.id().to_string();
            assert!(Command::new("kill").args([format!("-{name}"), id]).status().unwrap().success());
        };
        assert_eq!(manager.hears("READY=1"), "READY=1\nSTATUS=serving");
        let begun = Instant::now();
        (0..5).for_each(|_| drop(manager.hears("WATCHDOG=1")));
        assert!(begun.elapsed() >= Duration::from_millis(300), "twice as often as asked for, not more");
        signal("HUP");
        let told = manager.hears("RELOADING=1\nMONOTONIC_USEC=");
        assert!(told.lines().nth(1).unwrap().split('=').nth(1).unwrap().parse::<u64>().unwrap() > 0, "{told}");
        assert_eq!(manager.hears("READY=1"), "READY=1\nSTATUS=serving");
        fs::write(folder.path().join("routes.yaml"), "version: 1\nbogus: 1\n").unwrap();
        signal("HUP");
        manager.hears("RELOADING=1");
        assert_eq!(manager.hears("READY=1"), "READY=1\nSTATUS=serving; the last reload was not taken over");
        signal("TERM");
        manager.hears("STOPPING=1");
    }
}

#[test]
fn sockets_that_are_passed_on_are_served_whichever_comes_first() {
    let backend = Backend::hello();
    let service = Service::before(&backend);
    for turned in [false, true] {
        let mut sockets = [&service.plain, &service.tls].map(|socket| OwnedFd::from(socket.try_clone().unwrap()));
        if turned {
            sockets.reverse();
        }
        let running = Running(service.command(sockets).stderr(Stdio::null()).spawn().unwrap());
        service.manager.hears("READY=1");
        assert_eq!(Client::plain(service.plain()).ask(get("/things/1", &token("olga"))).status, 200);
        let trust = trusting(
            &fs::read_to_string(service.folder.path().join("tls.crt")).unwrap(),
            rustls::ALL_VERSIONS,
            &["http/1.1"],
        );
        let (mut client, _) = Client::tls(service.tls.local_addr().unwrap(), &trust).unwrap();
        assert_eq!(client.ask(get("/things/1", &token("olga"))).status, 200);
        let ending = thread::spawn(move || running.end());
        service.manager.hears("STOPPING=1");
        assert_eq!(ending.join().unwrap(), Some(0));
    }
}

#[test]
fn what_is_passed_on_and_cannot_be_served_keeps_it_from_starting() {
    let backend = Backend::hello();
    let service = Service::before(&backend);
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap();
    let plain = || OwnedFd::from(service.plain.try_clone().unwrap());
    let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    for (passed, expected) in [
        (OwnedFd::from(other), format!("a socket was passed for {address}, but no `address`")),
        (OwnedFd::from(fs::File::open("/dev/null").unwrap()), "a socket that was passed cannot be used".to_owned()),
        (OwnedFd::from(datagrams), "a socket that was passed cannot be used".to_owned()),
    ] {
        let free = fs::read_to_string(service.folder.path().join("gateway.yaml")).unwrap();
        let tls = service.tls.local_addr().unwrap().to_string();
        fs::write(service.folder.path().join("gateway.yaml"), free.replace(&tls, "127.0.0.1:0")).unwrap();
        let ended = service.command([plain(), passed]).output().unwrap();
        let said = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(1), "{said}");
        assert!(said.contains(&expected), "{said}");
    }
}

/// Clients of a service whose processes come and go: each asks for thing after thing, all with numbers of their own.
struct Clients {
    address: SocketAddr,
    token: String,
    stop: AtomicBool,
    numbers: AtomicUsize,
    answered: AtomicUsize,
    /// Requests that a process left unread on a connection that it closed, and that were sent once more.
    repeated: AtomicUsize,
    failed: Mutex<Vec<String>>,
}

impl Clients {
    /// Asks on this connection, if it is still open.
    fn ask(&self, client: &mut Client, number: usize) -> Option<Answer> {
        let request = get(&format!("/things/{number}"), &self.token);
        client.try_send(request).ok().and_then(|()| client.answer_if_any())
    }

    fn note(&self, answer: Option<&Answer>, number: usize) {
        match answer {
            Some(answer) if answer.status == 200 && answer.whole && answer.text() == number.to_string() => {
                self.answered.fetch_add(1, Ordering::SeqCst);
            }
            other => self.failed.lock().unwrap().push(format!("{number}: {other:?}")),
        }
    }

    fn next(&self) -> Option<usize> {
        (!self.stop.load(Ordering::SeqCst)).then(|| self.numbers.fetch_add(1, Ordering::SeqCst))
    }

    /// Each request on a connection of its own, so that each meets whoever accepts at that moment.
    fn anew(&self) {
        while let Some(number) = self.next() {
            let answer = self.ask(&mut Client::plain(self.address), number);
            self.note(answer.as_ref(), number);
        }
    }

    /// Request after request on one connection, as long as it lasts. One that was closed while it was idle is no failure of
    /// what was sent on it: as every client of HTTP/1.1, this one sends that again, once, on a new one.
    fn kept(&self) {
        let (mut client, mut is_new) = (Client::plain(self.address), true);
        while let Some(number) = self.next() {
            let mut answer = self.ask(&mut client, number);
            if answer.is_none() && !is_new {
                self.repeated.fetch_add(1, Ordering::SeqCst);
                client = Client::plain(self.address);
                answer = self.ask(&mut client, number);
            }
            is_new = answer.as_ref().is_none_or(|answer| answer.header("connection") == Some("close"));
            if is_new {
                client = Client::plain(self.address);
            }
            self.note(answer.as_ref(), number);
        }
    }

    /// Waits until so many more were answered.
    fn more(&self, least: usize) {
        let before = self.answered.load(Ordering::SeqCst);
        until(|| self.answered.load(Ordering::SeqCst) >= before + least, "requests go on");
    }
}

#[test]
fn new_processes_take_over_from_old_ones_and_of_thousands_of_requests_none_is_lost() {
    const TURNS: usize = 6;
    // Says which thing was asked for, and counts how often each was.
    let done = Arc::new(Mutex::new(HashMap::<usize, usize>::new()));
    let times = Arc::clone(&done);
    let backend = Backend::raw(move |connection, mut stream, record| {
        let mut buffer = Vec::new();
        while let Some(seen) = read_request(connection, &mut stream, &mut buffer, record) {
            let number = seen.target().rsplit('/').next().unwrap();
            *times.lock().unwrap().entry(number.parse().unwrap()).or_default() += 1;
            if reply(&mut stream, "200 OK", number.as_bytes()) != Then::Keep {
                return;
            }
        }
    });
    let service = Service::before(&backend);
    let mut current = service.start();
    let clients = Clients {
        address: service.plain(),
        token: token("olga"),
        stop: AtomicBool::new(false),
        numbers: AtomicUsize::new(0),
        answered: AtomicUsize::new(0),
        repeated: AtomicUsize::new(0),
        failed: Mutex::default(),
    };
    // The last one lives until the clients have ended.
    let _last = thread::scope(|scope| {
        /// Lets the clients end, however this ends.
        struct Ends<'c>(&'c AtomicBool);
        impl Drop for Ends<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::SeqCst);
            }
        }
        let _ends = Ends(&clients.stop);
        for _ in 0..2 {
            scope.spawn(|| clients.anew());
            scope.spawn(|| clients.kept());
        }
        let end = |old: Running| {
            let ending = thread::spawn(move || old.end());
            service.manager.hears("STOPPING=1");
            assert_eq!(ending.join().unwrap(), Some(0));
        };
        for _ in 0..TURNS {
            clients.more(600);
            let next = service.start();
            clients.more(150);
            end(std::mem::replace(&mut current, next));
        }
        // And so does one that is started only after the old one has gone: clients wait in the socket meanwhile.
        end(current);
        let last = service.start();
        clients.more(500);
        last
    });
    let failed = clients.failed.into_inner().unwrap();
    let (answered, repeated) = (clients.answered.into_inner(), clients.repeated.into_inner());
    println!("{answered} requests over {} processes, of which {repeated} were sent again", TURNS + 2);
    assert!(failed.is_empty(), "{} of {} failed: {failed:?}", failed.len(), answered + failed.len());
    assert!(answered >= 5000, "{answered}");
    assert!(repeated <= 2 * (TURNS + 1), "{repeated}: a connection ends once with its process");
    let done = done.lock().unwrap();
    let twice: Vec<_> = done.iter().filter(|(_, times)| **times != 1).collect();
    assert!(done.len() == answered && twice.is_empty(), "{} of {answered} were done, twice: {twice:?}", done.len());
}

#[test]
fn the_units_agree_with_each_other_and_with_the_command_line() {
    let read = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/systemd").join(name);
        let text = fs::read_to_string(path).unwrap();
        let pair = |line: &str| line.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
        text.lines().filter(|line| !line.starts_with('#')).filter_map(pair).collect::<Vec<_>>()
    };
    let (service, socket) = (read("portcullis.service"), read("portcullis.socket"));
    let all = |unit: &[(String, String)], key: &str| -> Vec<String> {
        unit.iter().filter(|(name, _)| name == key).map(|(_, value)| value.clone()).collect()
    };
    assert_eq!(all(&service, "Type"), ["notify"]);
    assert_eq!(all(&service, "ExecReload"), ["/bin/kill -HUP $MAINPID"]);
    assert_eq!(all(&socket, "Service"), ["portcullis.service"]);
    assert!(!all(&socket, "ListenStream").is_empty());
    assert!(all(&socket, "ListenStream").iter().all(|one| one.parse::<SocketAddr>().is_ok()), "as `address` has them");
    let seconds = |key: &str| all(&service, key)[0].parse::<u64>().unwrap();
    assert!(seconds("TimeoutStopSec") > 30, "longer than the default of `timeouts.drain`");
    assert!(seconds("WatchdogSec") >= 10, "threads have four seconds at least");
    let start = all(&service, "ExecStart").remove(0);
    let (binary, words) = start.split_once(' ').unwrap();
    assert!(binary.ends_with("/portcullis"));
    let check = start.replace(binary, "").replace("serve", "check");
    assert!(words.starts_with("serve --config /etc/portcullis/gateway.yaml"), "{words}");
    assert_eq!(all(&service, "ExecStartPre"), [format!("{binary}{check}")]);
}
