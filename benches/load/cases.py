"""What is measured. Each case gets the running servers and gives figures, most of them a list of rounds for each server."""

import json
import os
import shutil
import socket
import ssl
import time

import clients as generators
import peers
import process
import stats
import world as worlds


# Rounds of cases whose differences are large.
FEW = 3


def say(text):
    print(text, flush=True)


class Bench:
    """What the cases share."""

    def __init__(self, options, world, servers, clients, proxy_cores, all_cores):
        self.options, self.world, self.servers, self.clients = options, world, servers, clients
        self.proxy_cores, self.all_cores = proxy_cores, all_cores

    @property
    def scale(self):
        return self.world.scale

    def in_turn(self, servers, most=None):
        """Rounds in which every server has its turn, the first one a different one each time."""
        for number in range(min(self.options.rounds, most or self.options.rounds)):
            at = number % len(servers)
            for server in servers[at:] + servers[:at]:
                yield number, server

    def measured(self, server, load):
        """One measurement: the generator's figures with what they cost the server."""
        server.cut_log()
        meter = process.Meter(server.process)
        one = load(server, self.options.seconds)
        user, system, wall = meter.read()
        each = 1e6 / max(1, one["requests"])
        one |= {"cpu": (user + system) * each, "user": user * each, "system": system * each, "busy": (user + system) / wall,
                "log_bytes": server.logged() * each / 1e6, **server.memory()}
        server.cut_log()
        return one

    def interleaved(self, name, servers, load, refused=False, least=0, most=None):
        """Rounds of one load: CPU per request, requests a second, latency, memory. `load(server, seconds)` runs a generator;
        `least` is how many requests must have come before those that count, `most` the most rounds."""
        found = {server.name: [] for server in servers}
        for number, server in self.in_turn(servers, most):
            # The first requests do not count: caches fill.
            if self.options.warm:
                one = load(server, self.options.warm)
                if one["requests"] < least:
                    load(server, 1 + 1.2 * self.options.warm * least / max(1, one["requests"]))
            one = self.measured(server, load)
            wrong = one["requests"] - one["refused"] if refused else one["refused"]
            if one["errors"] or not one["requests"]:
                say(f"  {server.name}: {one['errors']} connections failed in {one['requests']} requests; once more")
                one = self.measured(server, load)
                wrong = one["requests"] - one["refused"] if refused else one["refused"]
            if wrong or one["errors"] or not one["requests"]:
                raise process.Failed(f"{name}, {server.name}: of {one['requests']} requests {wrong} were answered in another way, "
                                     f"{one['errors']} connections failed")
            # Of few requests the lines may still be in the server's buffer.
            if server.logs and one["requests"] > 5000 and one["log_bytes"] < 40:
                raise process.Failed(f"{name}, {server.name}: its log grew by {one['log_bytes']:.0f} bytes a request")
            found[server.name].append(one)
            say(f"  round {number + 1}  {server.name:<12} {one['cpu']:7.2f} us a request ({one['user']:.1f} + {one['system']:.1f}), "
                f"{one['rps']:8.0f} a second, p99 {one['p99'] / 1000:.2f} ms, core {one['busy']:.0%} busy")
        return found


def forwarded(bench, requests, tls=False):
    """HTTP/1.1, 64 kept connections, requests of one file."""
    file = bench.world.requests(requests)
    port = lambda server: server.ports[peers.TLS if tls else peers.PLAIN]
    least = bench.scale.tokens if requests == "many" else 0
    return bench.interleaved(requests, bench.servers, lambda server, seconds: bench.clients.wrk(port(server), file, seconds, tls),
                             least=least)


def http2(bench, tls):
    """HTTP/2, 8 connections of 8 streams."""
    headers = generators.h2_headers(bench.world.tokens["good"])
    servers = [server for server in bench.servers if tls or server.clear_h2]
    for server in bench.servers:
        if server not in servers:
            say(f"  {server.name} speaks no HTTP/2 without TLS: left out")

    def load(server, seconds):
        port = server.ports[peers.TLS] if tls else server.clear_h2
        return bench.clients.h2load(port, bench.world.path, headers, seconds, tls)

    return bench.interleaved("h2", servers, load)


def refusals(bench):
    """What a refusal costs beside a forwarded request of the same size, for those that refuse."""
    servers = [server for server in bench.servers if server.checks]
    # Expired ones last: who sends many bad tokens may be refused more shortly after that.
    kinds = ["realistic", "no token", "no role", "no right", "expired"]
    found = {}
    for kind in kinds:
        those = [server for server in servers if server.decides or kind != "no right"]
        if not those:
            continue
        say(f"  {kind}")
        file = bench.world.requests(kind)
        load = lambda server, seconds, file=file: bench.clients.wrk(server.ports[peers.PLAIN], file, seconds)
        found[kind] = bench.interleaved(kind, those, load, refused=kind != "realistic", most=FEW)
    return found


def capacity(bench, server):
    """Requests a second that the server's core could do, by its CPU per request when it is busy."""
    file = bench.world.requests("realistic")
    if bench.options.warm:
        bench.clients.wrk(server.ports[peers.PLAIN], file, bench.options.warm)
    meter = process.Meter(server.process)
    one = bench.clients.wrk(server.ports[peers.PLAIN], file, bench.options.seconds)
    user, system, _ = meter.read()
    server.cut_log()
    return one["requests"] / max(user + system, 0.01)


def _answered(what, one):
    """Good requests at a constant rate must be answered as such; what a busy machine left unanswered is said."""
    if one["other_status"]:
        raise process.Failed(f"{what}: {one['other_status']} good requests were refused")
    if one["unanswered"]:
        say(f"  {what}: {one['unanswered']} requests were still waiting when the run was over; they count with the time until then")


def latency(bench):
    """Latency at half load over a direct connection to the backend at the same rate. nginx and Portcullis get the same rate,
    half of what the slower of the two can do; slower peers get half of what they can do themselves."""
    file = bench.world.requests("realistic")
    able = {server.name: capacity(bench, server) for server in bench.servers}
    common = min(able.get(name, float("inf")) for name in ("nginx", "portcullis"))
    rates = {name: 0.5 * min(most, common) for name, most in able.items()}
    say("  half load: " + ", ".join(f"{name} {rate:.0f}/s" for name, rate in rates.items()))
    found = {server.name: [] for server in bench.servers}
    seconds = bench.options.seconds * 2
    for _, server in bench.in_turn(bench.servers, FEW):
        direct = bench.clients.pace(bench.options.backend, file, rates[server.name], seconds)
        one = bench.clients.pace(server.ports[peers.PLAIN], file, rates[server.name], seconds)
        server.cut_log()
        _answered(f"latency, {server.name}", one)
        # How late the generator itself was counts in both: it says how far small differences can be believed.
        figures = {"rate": rates[server.name], "late_p99": one["late_p99"], "direct_late_p99": direct["late_p99"]}
        for name in ("p50", "p99", "p99_9"):
            figures |= {name: one[name], f"direct_{name}": direct[name], f"added_{name}": one[name] - direct[name]}
        found[server.name].append(figures)
        say(f"  {server.name:<12} p50 {one['p50']:.0f} us (direct {direct['p50']:.0f}), p99 {one['p99']:.0f} (direct {direct['p99']:.0f})")
    return found


def flood(bench):
    """Good traffic at a fifth of what the core can do, quiet and beside floods of forged tokens: at given rates from 64
    other addresses, and as fast as they come from its own. A refused token is never remembered, so each costs what a first
    sight costs; whether it is answered 401 or 429 is the server's choice."""
    good, bad = bench.world.requests("realistic"), bench.world.requests("flood")
    seconds = max(2, bench.options.seconds)
    found = {}
    for server in [server for server in bench.servers if server.checks]:
        rate = 0.2 * capacity(bench, server)
        levels = [0, *[level for level in bench.options.floods], None]
        rounds = {name: [] for name in ("quiet", *[f"{level}/s" for level in bench.options.floods], "unbounded")}
        quiet_cpu = None
        for _ in range(min(FEW, bench.options.rounds)):
            for name, level in zip(rounds, levels):
                port = server.ports[peers.PLAIN]
                other = None
                if level:
                    other = bench.clients.beside(bench.clients.pace_command(port, bad, level, seconds + 1, status=401, warm=0.5, sources=64))
                elif level is None:
                    other = bench.clients.beside(["wrk", "-t1", f"-c{generators.CONNECTIONS}", f"-d{generators.whole(seconds + 2)}s", "-s",
                                                  bench.clients.script, f"http://127.0.0.1:{port}/", "--", bad])
                meter = process.Meter(server.process)
                one = bench.clients.pace(port, good, rate, seconds)
                user, system, wall = meter.read()
                floods, refused = 0, {}
                if other:
                    said, errors = other.communicate(timeout=120)
                    if other.returncode:
                        raise process.Failed(f"flood, {server.name}: {errors[-400:]}")
                    last = json.loads(said.strip().splitlines()[-1])
                    floods = (last["answered"] + last["other_status"]) / (seconds + 1) if level else last["requests"] / (last["micros"] / 1e6)
                    if level:
                        refused = {"answered_401": last["answered"], "answered_else": last["other_status"],
                                   "flood_unanswered": last["unanswered"]}
                _answered(f"flood, {server.name}", one)
                figures = {"rate": rate, "flood": floods, **refused, "unanswered": one["unanswered"], "busy": (user + system) / wall,
                           **{key: one[key] for key in ("p50", "p99", "p99_9")}}
                if level == 0:
                    quiet_cpu = user + system
                elif level and floods:
                    figures["forged_cpu"] = max(0.0, (user + system - quiet_cpu) / (floods * wall) * 1e6)
                rounds[name].append(figures)
                server.cut_log()
        found[server.name] = rounds
        quiet = stats.median(one["p99"] for one in rounds["quiet"])
        say(f"  {server.name:<12} good p99 " + ", ".join(
            f"{name} {stats.median(one['p99'] for one in those):.0f} us "
            f"({stats.ratio(those, rounds['quiet'], 'p99'):.1f}x)" for name, those in rounds.items()) + f"; quiet {quiet:.0f}")
    return found


def _connect(port, wire, tls):
    """A connection on which one request has been answered."""
    plain = socket.create_connection(("127.0.0.1", port), 30)
    # Closing sends a reset: nothing waits in TIME_WAIT, so source ports do not run out.
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    one = tls.wrap_socket(plain, server_hostname=worlds.HOST) if tls else plain
    one.sendall(wire)
    answer = b""
    while b"\r\n\r\n" not in answer or not answer.endswith(b"}\n"):
        piece = one.recv(65536)
        if not piece:
            raise process.Failed("a connection was closed instead of an answer")
        answer += piece
    if not answer.startswith(b"HTTP/1.1 200"):
        raise process.Failed(f"an idle connection began with {answer[:60]!r}")
    return one


# A connection of Portcullis that is idle for 5 s gives its buffers up, and what is given up goes back to the system a
# second or two later. Others are given the same time.
REST = 10


def idle(bench):
    """Memory of idle kept connections, each of which has had one answer: plain and TLS, a second after the last answer
    and once all have been idle for a while. A fresh process each time."""
    wire = worlds.request(bench.world.path, bench.world.tokens["good"]).encode()
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    # Some first: what the process allocates once is not counted to the connections.
    first, count = min(200, bench.scale.idle // 5), bench.scale.idle
    found = {}
    for server in [server for server in bench.servers if server.name not in ("nginx-nolog", "envoy")]:
        found[server.name] = {}
        for kind, tls in (("plain", None), ("tls", context)):
            server.stop()
            server.start(bench.proxy_cores)
            port = server.ports[peers.TLS if tls else peers.PLAIN]
            held = [_connect(port, wire, tls) for _ in range(first)]
            # As long as later, so that these do not make the others look smaller by resting after the first look.
            time.sleep(REST)
            before = server.memory()
            held += [_connect(port, wire, tls) for _ in range(count)]
            time.sleep(1)
            at_once = server.memory()
            time.sleep(REST - 1)
            after = server.memory()
            # A second request on the first ones: they were kept, not closed to make room.
            for one in held[:20]:
                one.sendall(wire)
                if not one.recv(65536).startswith(b"HTTP/1.1 200"):
                    raise process.Failed(f"idle, {server.name}: a connection was not kept")
            each = lambda then, name: (then[name] - before[name]) / count
            found[server.name][kind] = {"connections": count, "kib_each": each(after, "pss"), "rss_kib_each": each(after, "rss"),
                                        "kib_each_at_once": each(at_once, "pss"), "before": before, "at_once": at_once,
                                        "after": after}
            for one in held:
                one.close()
            say(f"  {server.name:<12} {kind:<5} {count} connections, {each(after, 'pss'):.1f} KiB each after {REST} s, "
                f"{each(at_once, 'pss'):.1f} KiB after one")
        server.cut_log()
    return found


def workers(bench):
    """One worker and two. With fewer than four cores the generator shares cores with the proxy, so throughput understates
    both; CPU per request says what a second worker costs in contention: twice the cores at the same CPU is twice the
    throughput."""
    file = bench.world.requests("realistic")
    shared = len(bench.all_cores) < 4
    two_cores = set(bench.all_cores[:2])
    ports = [port + 10 for port in next(server for server in bench.servers if server.name == "portcullis").ports]
    two = peers.PortcullisTwo(bench.world, ports, bench.options.backend)
    one = next(server for server in bench.servers if server.name == "portcullis")
    load_cores = set(bench.all_cores) if shared else set(bench.all_cores[2:])
    load = generators.Clients(bench.world.folder, load_cores, bench.clients.target)
    two.start(two_cores)
    try:
        run = lambda server, seconds: load.wrk(server.ports[peers.PLAIN], file, seconds, connections=128)
        found = bench.interleaved("workers", [one, two], run)
    finally:
        two.stop()
    return {**found, "shared_cores": shared,
            "capacity_ratio": 2 / stats.ratio(found["portcullis-2"], found["portcullis"], "cpu"),
            "throughput_ratio": stats.ratio(found["portcullis-2"], found["portcullis"], "rps")}


def _alone(bench, name):
    """A Portcullis of its own, not yet started."""
    class Alone(peers.Portcullis):
        pass

    Alone.name = name
    base = next((server for server in bench.servers if server.name == "portcullis"), None)
    ports = [port + 20 for port in base.ports]
    return Alone(bench.world, ports, bench.options.backend)


def reload(bench):
    """Latency while the whole policy is read again once a second, and without: many routes and principals. The process may
    use all cores here, since a reload has threads of its own."""
    scale = bench.scale
    server = _alone(bench, "portcullis-reload")
    wide = worlds.path(worlds.ONE, scale.reload_routes)
    file = worlds.write(bench.world.folder, "reload.requests", worlds.request(wide, bench.world.tokens["good"]))
    server.policy = (scale.reload_routes, scale.reload_principals)
    found = {}
    server.start(set(bench.all_cores))
    try:
        seconds = bench.options.reload_seconds
        serial = lambda: json.loads(server.ask("/status")[1])["serial"]
        # Two versions of the route map and of the principals, each renamed over the live ones in its turn.
        for version in (1, 2):
            names = server.write_policy(*server.policy, mark=version, suffix=f".{version}")
        for kind in ("quiet", "reloads"):
            before = serial()
            other = bench.clients.beside(bench.clients.pace_command(server.ports[peers.PLAIN], file, bench.options.reload_rate,
                                                                     seconds, warm=2))
            end, number = time.monotonic() + seconds + 2, 0
            while other.poll() is None and time.monotonic() < end:
                if kind == "reloads":
                    for name in names:
                        worlds.install(server.config, f"{name}.{number % 2 + 1}", name)
                    number += 1
                time.sleep(1)
            said, errors = other.communicate(timeout=120)
            if other.returncode:
                raise process.Failed(f"reload: {errors[-400:]}")
            one = json.loads(said)
            _answered("reload", one)
            found[kind] = {**one, "written": number, "published": serial() - before, **server.memory()}
            say(f"  {kind:<8} p50 {one['p50']:.0f} us, p99 {one['p99']:.0f} us, p99.9 {one['p99_9']:.0f} us, "
                f"{number} files written, {found[kind]['published']} policies published")
            time.sleep(2)
    finally:
        server.stop()
    return {**found, "routes": scale.reload_routes, "principals": scale.reload_principals, "people": scale.people,
            "p99_ratio": found["reloads"]["p99"] / found["quiet"]["p99"]}


def memory(bench):
    """Memory of the gateway against the number of principals, and the time until it is ready."""
    points = []
    for count in bench.scale.memory:
        server = _alone(bench, "portcullis-memory")
        server.policy = (bench.scale.routes, count)
        command = server.prepare()
        server.prepare = lambda command=command: command
        began = time.monotonic()
        server.start(set(bench.all_cores))
        ready = time.monotonic() - began
        try:
            time.sleep(3)
            points.append({"principals": count, "ready_seconds": ready, **server.memory()})
        finally:
            server.stop()
        shutil.rmtree(server.config, ignore_errors=True)
        last = points[-1]
        say(f"  {count:>9} principals: {last['pss'] / 1024:.1f} MiB, at most {last['peak'] / 1024:.1f}, ready after {ready:.2f} s")
    each = stats.slope([(point["principals"], point["pss"] * 1024) for point in points])
    return {"points": points, "people": bench.scale.people, "bytes_each": each}


# Name, what it is, how it is measured; those with rounds of CPU figures come first.
CPU_CASES = {
    "tiny": ("tiny requests", lambda bench: forwarded(bench, "tiny")),
    "realistic": ("realistic requests", lambda bench: forwarded(bench, "realistic")),
    "tls": ("TLS 1.3 in front", lambda bench: forwarded(bench, "realistic", tls=True)),
    "10k": ("answers of 10 KiB", lambda bench: forwarded(bench, "big")),
    "h2": ("HTTP/2 without TLS", lambda bench: http2(bench, tls=False)),
    "h2-tls": ("HTTP/2 over TLS", lambda bench: http2(bench, tls=True)),
    "many": ("another token each time", lambda bench: forwarded(bench, "many")),
}
OTHER_CASES = {
    "refusals": ("refusals", refusals),
    "flood": ("a flood of forged tokens", flood),
    "latency": ("latency at half load", latency),
    "idle": ("idle connections", idle),
    "workers": ("one worker and two", workers),
    "reload": ("latency under reload", reload),
    "memory": ("memory against principals", memory),
}
CASES = {**CPU_CASES, **OTHER_CASES}
