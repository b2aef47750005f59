#!/usr/bin/env python3
"""Instructions of user code that a forwarded request takes (callgrind): what they are spent on, and a figure that does not
depend on what else the machine does.

    cargo build --profile dist && python3 benches/load/instructions.py
    CARGO_PROFILE_DIST_DEBUG=line-tables-only cargo build --profile dist && python3 benches/load/instructions.py --keep

Needs valgrind, nginx and openssl. The second pair keeps the profile; `callgrind_annotate` shows it, `--inclusive=yes` with callers.
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

# Nobody else has to wait for a million principals here.
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


def control(pid, *options):
    """Tells callgrind something."""
    subprocess.run(["callgrind_control", *options, str(pid)], check=True, capture_output=True)


def measured(server, text, out, rounds):
    """Instructions a request of a running server, once caches are filled."""
    connections = [socket.create_connection(("127.0.0.1", server.ports[peers.PLAIN])) for _ in range(CONNECTIONS)]
    ask(connections, text, 60)
    time.sleep(1)
    pid = server.process.pid
    control(pid, "-z")
    control(pid, "-i", "on")
    count = ask(connections, text, rounds)
    time.sleep(0.5)
    control(pid, "-i", "off")
    control(pid, "-d")
    for connection in connections:
        connection.close()
    dumps = sorted(name for name in os.listdir(os.path.dirname(out)) if name.startswith(os.path.basename(out)))
    total = 0
    for name in dumps:
        with open(os.path.join(os.path.dirname(out), name), encoding="utf-8", errors="replace") as file:
            total += sum(int(line.split()[1]) for line in file if line.startswith(("totals:", "summary:")) and line.startswith("totals:"))
    return total / count, dumps


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description="Instructions of user code a forwarded request, by callgrind.")
    parser.add_argument("--cases", default="tiny,realistic", help="tiny, realistic, big (answers of 10 KiB)")
    parser.add_argument("--peers", default="portcullis,bare,nginx", help="portcullis, bare, nginx")
    parser.add_argument("--rounds", type=int, default=60, help=f"rounds of {CONNECTIONS} requests (60)")
    parser.add_argument("--binary", help="the gateway (the newest of target/dist, target/release)")
    parser.add_argument("--port-base", type=int, default=19400, help="the first of some ports on loopback")
    parser.add_argument("--keep", help="a folder that keeps the profiles")
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
            out = os.path.join(folder, "callgrind")
            plain = server.prepare
            valgrind = ["valgrind", "--tool=callgrind", "--instr-atstart=no", "--separate-threads=no", f"--callgrind-out-file={out}",
                        # What nginx's worker does is its child's.
                        "--trace-children=yes" if name == "nginx" else "--trace-children=no"]
            server.prepare = lambda plain=plain, valgrind=valgrind: valgrind + plain()
            try:
                server.start(cores)
                with open(world.requests(case), "rb") as file:
                    text = file.read()
                each, dumps = measured(server, text, out, options.rounds)
                print(f"{case:<10} {name:<11} {each:10,.0f} instructions a request", flush=True)
                if options.keep:
                    os.makedirs(options.keep, exist_ok=True)
                    for dump in dumps:
                        shutil.copy(os.path.join(folder, dump), os.path.join(options.keep, f"{case}-{name}-{dump}"))
            finally:
                server.stop()
                backend.stop()
                shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
