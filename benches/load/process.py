"""Processes: started on a core, measured from /proc, ended."""

import os
import resource
import signal
import socket
import subprocess
import time

TICK = os.sysconf("SC_CLK_TCK")


class Failed(Exception):
    """A program did not do what the comparison needs."""


def say(text):
    """Tells whoever watches the run, at once."""
    print(text, flush=True)


def cores():
    """The cores that this process may use."""
    return sorted(os.sched_getaffinity(0))


def many_files(wanted=65_536):
    """Lets this process and its children open as many files as wanted, or as many as allowed; gives how many that are."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limit in (max(wanted, most), most):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
            return limit
        except (ValueError, OSError):
            continue
    return most


def on(core_set, yielding=False):
    """What a child does before it becomes another program: it stays on these cores, and one that yields leaves them to any
    other that is ready."""

    def before():
        os.sched_setaffinity(0, core_set)
        if yielding:
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))

    return before


def start(command, core_set, out, err, folder):
    """Starts a server in the background; its output is appended to files, so that they can be cut between runs."""
    with open(out, "ab") as output, open(err, "ab") as errors:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=errors, cwd=folder,
                                preexec_fn=on(core_set), start_new_session=True)


def stop(process, patience=20):
    """Ends a server and whatever it started."""
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(patience)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def run(command, core_set, environment=None, limit=600):
    """Runs a program to its end and gives what it printed."""
    environment = {**os.environ, **(environment or {})}
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment, timeout=limit,
                          preexec_fn=on(core_set))
    if done.returncode:
        raise Failed(f"{os.path.basename(command[0])} ended with {done.returncode}: {(done.stderr or done.stdout).strip()[-600:]}")
    return done.stdout


def free(ports):
    """Says which of these ports somebody else has."""
    taken = []
    for port in ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                taken.append(port)
    if taken:
        raise Failed(f"ports {', '.join(map(str, taken))} are taken: choose others with --port-base")


def wait_for(port, process, log, patience=120):
    """Waits until somebody listens."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        if process.poll() is not None:
            break
        try:
            with socket.create_connection(("127.0.0.1", port), 1):
                return
        except OSError:
            time.sleep(0.05)
    with open(log, encoding="utf-8", errors="replace") as file:
        raise Failed(f"nobody listens on port {port}: {file.read().strip()[-1500:]}")


def tree(root):
    """The process and all that descend from it."""
    children = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", encoding="ascii", errors="replace") as file:
                    parent = int(file.read().rpartition(")")[2].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(name))
    found, left = [], [root]
    while left:
        found.append(left.pop())
        left.extend(children.get(found[-1], []))
    return found


def cpu(pids):
    """Seconds of processor time (user, system) of processes with all their threads."""
    user = system = 0
    for pid in pids:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
        user, system = user + int(fields[11]), system + int(fields[12])
    return user / TICK, system / TICK


def threads(pid, prefix):
    """Seconds of processor time of each thread of a process whose name begins so, by its number."""
    found = {}
    for thread in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{thread}/stat", encoding="ascii", errors="replace") as file:
                name, _, rest = file.read().partition("(")[2].rpartition(")")
        except OSError:
            continue
        if name.startswith(prefix):
            fields = rest.split()
            found[int(thread)] = (int(fields[11]) + int(fields[12])) / TICK
    return found


def memory(pids):
    """Memory in KiB: `rss`, `pss` (pages that several share are divided among them), `peak` (the most that each ever had)."""
    total = {"rss": 0, "pss": 0, "peak": 0}
    for pid in pids:
        for path, names in ((f"/proc/{pid}/smaps_rollup", {"Rss": "rss", "Pss": "pss"}), (f"/proc/{pid}/status", {"VmHWM": "peak"})):
            with open(path, encoding="ascii", errors="replace") as file:
                for line in file:
                    name, _, rest = line.partition(":")
                    if name in names:
                        total[names[name]] += int(rest.split()[0])
    return total


class Meter:
    """The processor time of a process tree over a stretch of time."""

    def __init__(self, process):
        self.pids = tree(process.pid)
        self.began, self.at = cpu(self.pids), time.monotonic()

    def read(self):
        """Seconds of user and system time and of the clock since it was made."""
        user, system = cpu(self.pids)
        return user - self.began[0], system - self.began[1], time.monotonic() - self.at
