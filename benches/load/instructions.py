#!/usr/bin/env python3
"""Instructions of user code that a forwarded request takes (callgrind): a figure that does not depend on what else the machine
does, and what they are spent on.

    cargo build --release && python3 benches/load/instructions.py
    CARGO_PROFILE_RELEASE_DEBUG=line-tables-only cargo build --release && python3 benches/load/instructions.py --keep FOLDER

Needs valgrind, nginx and openssl. With `--keep` the profiles stay: `callgrind_annotate --inclusive=yes FOLDER/...` shows them.
What a server does by itself (looking at files, timers) is measured for as long without requests, and left out.
"""

import argparse
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time

import peers
import process
import run
import world as worlds

# Nobody has to wait for a hundred thousand principals here.
SCALE = run.Scale(routes=1000, principals=2000)
CONNECTIONS = 16


def answered(connection):
    """Reads one answer of a known length."""
    got = b""
    while b"\r\n\r\n" not in got:
        piece = connection.recv(65536)
        if not piece:
            sys.exit("a connection was closed")
        got += piece
    head, _, body = got.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        sys.exit(f"refused: {head[:200]}")
    length = int(re.search(rb"(?i)content-length: *(\d+)", head)[1])
    while len(body) < length:
        body += connection.recv(65536)


def ask(connections, text, rounds):
    """Sends the request on all connections, reads all answers, and once more; how many there were."""
    for _ in range(rounds):
        for connection in connections:
            connection.sendall(text)
        for connection in connections:
            answered(connection)
    return rounds * len(connections)


class Counter:
    """The counts of a process and its children, which write a file each time they are asked."""

    def __init__(self, pids, folder):
        self.pids, self.folder = pids, folder

    def tell(self, *options):
        for pid in self.pids:
            subprocess.run(["callgrind_control", *options, str(pid)], check=True, capture_output=True)

    def written(self):
        return {name for name in os.listdir(self.folder) if re.fullmatch(r"callgrind\.\d+\.\d+", name)}

    def during(self, work):
        """What `work` gives, the instructions while it ran, how long it took, and the files with their profiles."""
        before = self.written()
        self.tell("-z")
        self.tell("-i", "on")
        began = time.monotonic()
        result = work()
        took = time.monotonic() - began
        self.tell("-i", "off")
        self.tell("-d")
        total, files = 0, sorted(self.written() - before)
        for name in files:
            with open(os.path.join(self.folder, name), encoding="utf-8", errors="replace") as file:
                total += sum(int(line.split()[1]) for line in file if line.startswith("totals:"))
        return result, total, took, files


def measured(server, text, rounds):
    """Instructions a request of a running server once its caches are filled, and the files with their profile."""
    connections = [socket.create_connection(("127.0.0.1", server.ports[peers.PLAIN])) for _ in range(CONNECTIONS)]
    ask(connections, text, 60)
    counter = Counter(process.tree(server.process.pid), server.folder)
    count, total, took, files = counter.during(lambda: ask(connections, text, rounds))
    # Its log is written a moment later.
    _, late, _, _ = counter.during(lambda: time.sleep(1))
    _, idle, rest, _ = counter.during(lambda: time.sleep(took + 1))
    for connection in connections:
        connection.close()
    return (total + late - idle * (took + 1) / rest) / count, files


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description="Instructions of user code a forwarded request, by callgrind.")
    parser.add_argument("--cases", default="tiny,realistic", help="tiny, realistic, big (answers of 10 KiB)")
    parser.add_argument("--peers", default="portcullis,bare,nginx", help="portcullis, bare, nginx")
    parser.add_argument("--rounds", type=int, default=120, help=f"rounds of {CONNECTIONS} requests (120)")
    parser.add_argument("--binary", help="the gateway (target/release/portcullis)")
    parser.add_argument("--port-base", type=int, default=19400, help="the first of some ports on loopback")
    parser.add_argument("--keep", metavar="FOLDER", help="keep the profiles here")
    options = parser.parse_args()
    peers.Portcullis.program = run.gateway(options)
    kinds = {kind.name: kind for kind in peers.COMPARED}
    cores = set(process.cores())
    for case in options.cases.split(","):
        for at, name in enumerate(options.peers.split(",")):
            folder = tempfile.mkdtemp(prefix="portcullis-instructions-")
            world = worlds.World(folder, SCALE)
            backend = peers.Backend(world, [options.port_base] * 4, options.port_base)
            backend.start(cores)
            ports = [options.port_base + 40 * (at + 1) + offset for offset in range(4)]
            server = kinds[name](world, ports, options.port_base)
            valgrind = ["valgrind", "--tool=callgrind", "--instr-atstart=no", "--trace-children=yes",
                        f"--callgrind-out-file={folder}/callgrind.%p"]
            server.prepare = lambda plain=server.prepare, valgrind=valgrind: valgrind + plain()
            try:
                server.start(cores)
                with open(world.requests(case), "rb") as file:
                    text = file.read()
                each, files = measured(server, text, options.rounds)
                print(f"{case:<10} {name:<11} {each:10,.0f} instructions a request", flush=True)
                if options.keep:
                    os.makedirs(options.keep, exist_ok=True)
                    for profile in files:
                        shutil.copy(os.path.join(folder, profile), os.path.join(options.keep, f"{case}-{name}-{profile}"))
            finally:
                server.stop()
                backend.stop()
                shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
