"""What is measured. Each case gets the running servers and gives figures, most of them a list of rounds for each server."""

import json
import socket
import ssl
import time

import clients as generators
import peers
import policies
import process
import stats
import world as worlds
from process import say

# Rounds of cases whose differences are large.
FEW = 3


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
            at = number % max(1, len(servers))
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
    one = bench.clients.wrk(server.ports[peers.PLAIN], file, min(2, bench.options.seconds))
    user, system, _ = meter.read()
    server.cut_log()
    return one["requests"] / max(user + system, 0.01)


def latency(bench):
    """Latency at half of what each server's own core can do, over a direct connection to the backend at the same rate."""
    file = bench.world.requests("realistic")
    rates = {server.name: 0.5 * capacity(bench, server) for server in bench.servers}
    say("  half load: " + ", ".join(f"{name} {rate:.0f}/s" for name, rate in rates.items()))
    found = {server.name: [] for server in bench.servers}
    for _, server in bench.in_turn(bench.servers, FEW):
        direct = bench.clients.pace(bench.options.backend, file, rates[server.name], bench.options.seconds)
        meter = process.Meter(server.process)
        one = bench.clients.pace(server.ports[peers.PLAIN], file, rates[server.name], bench.options.seconds)
        user, system, wall = meter.read()
        server.cut_log()
        generators.answered(f"latency, {server.name}", one)
        # How late the generator itself was counts in both: it says how far small differences can be believed.
        figures = {"rate": rates[server.name], "busy": (user + system) / wall,
                   "late_p99": one["late_p99"], "direct_late_p99": direct["late_p99"]}
        for name in ("p50", "p99", "p99_9"):
            figures |= {name: one[name], f"direct_{name}": direct[name], f"added_{name}": one[name] - direct[name]}
        found[server.name].append(figures)
        say(f"  {server.name:<12} p50 {one['p50']:.0f} us (direct {direct['p50']:.0f}), p99 {one['p99']:.0f} (direct "
            f"{direct['p99']:.0f}), core {figures['busy']:.0%} busy")
    return found


def flood(bench):
    """Good traffic at a fifth of what the core can do, quiet and beside floods of forged tokens: at given rates from 64
    other addresses, and as fast as they come from its own. A refused token is never remembered, so each costs what a first
    sight costs; whether it is answered 401 or 429 is the server's choice. The flood has what the generators' cores have
    left: were it to delay the good client there, that would not be the server's doing."""
    good, bad = bench.world.requests("realistic"), bench.world.requests("flood")
    seconds = max(2, bench.options.seconds)
    found = {}
    for server in [server for server in bench.servers if server.checks]:
        rate = 0.2 * capacity(bench, server)
        levels = {"quiet": 0, **{f"{level}/s": level for level in bench.options.floods}, "unbounded": None}
        rounds = {name: [] for name in levels}
        for _ in range(min(FEW, bench.options.rounds)):
            quiet_cpu = None
            for name, level in levels.items():
                other = None
                if level != 0:
                    other = bench.clients.beside(_pour(bench, server.ports[peers.PLAIN], bad, level, seconds), yielding=True)
                meter = process.Meter(server.process)
                one = bench.clients.pace(server.ports[peers.PLAIN], good, rate, seconds)
                user, system, wall = meter.read()
                figures = {"rate": rate, "unanswered": one["unanswered"], "busy": (user + system) / wall, "late_p99": one["late_p99"],
                           **{key: one[key] for key in ("p50", "p99", "p99_9")}}
                figures |= _poured(f"flood, {server.name}", other, level, seconds)
                # Half a flood shows nothing of a whole one.
                figures["came"] = figures["flood"] >= 0.5 * (max(bench.options.floods) if level is None else level)
                generators.answered(f"flood, {server.name}", one)
                if level == 0:
                    quiet_cpu = user + system
                elif level and figures["flood"]:
                    figures["forged_cpu"] = max(0.0, (user + system - quiet_cpu) / (figures["flood"] * wall) * 1e6)
                rounds[name].append(figures)
                server.cut_log()
        found[server.name] = rounds
        for name, those in rounds.items():
            middle = lambda key, those=those: stats.median(one.get(key, 0) for one in those)
            say(f"  {server.name:<12} {name:<9} {middle('flood'):6.0f} forged a second, core {middle('busy'):.0%} busy, good p50 "
                f"{middle('p50'):.0f} us, p99 {middle('p99'):.0f} us ({stats.ratio(those, rounds['quiet'], 'p99'):.1f} of quiet)"
                + (f", {middle('forged_cpu'):.0f} us of CPU a forged one" if levels[name] else "")
                + ("" if all(one["came"] for one in those) else ": the machine was too busy for a flood of that rate, not judged"))
    return found


def _pour(bench, port, bad, level, seconds):
    """The command of a flood that lasts as long as the good client's run: at a rate from many addresses, or without bound."""
    if level:
        return bench.clients.pace_command(port, bad, level, seconds + 1, status=401, warm=0.5, sources=64)
    return ["wrk", "-t1", f"-c{generators.CONNECTIONS}", f"-d{generators.whole(seconds + 1)}s", "-s", bench.clients.script,
            f"http://127.0.0.1:{port}/", "--", bad]


def _poured(what, other, level, seconds):
    """What came of a flood: how many forged tokens were answered a second and, where it had a rate, how."""
    if not other:
        return {"flood": 0}
    said, errors = other.communicate(timeout=120)
    if other.returncode:
        raise process.Failed(f"{what}: {errors[-400:]}")
    last = json.loads(said.strip().splitlines()[-1])
    if level:
        return {"flood": (last["answered"] + last["other_status"]) / (seconds + 1), "answered_401": last["answered"],
                "answered_else": last["other_status"], "flood_unanswered": last["unanswered"]}
    if last["refused"] != last["requests"]:
        raise process.Failed(f"{what}: {last['requests'] - last['refused']} forged tokens were not refused")
    return {"flood": last["requests"] / (last["micros"] / 1e6)}


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
    """One worker and two. With fewer than four cores the generator and the backend take time from the second worker, so
    throughput says more about them; what can be told everywhere is how many requests a second of each core's own time is
    worth, and how evenly the two share the work: the busier one is the first that has no more to give."""
    file = bench.world.requests("realistic")
    shared = len(bench.all_cores) < 4
    one = next(server for server in bench.servers if server.name == "portcullis")
    two = peers.PortcullisTwo(bench.world, [port + 10 for port in one.ports], bench.options.backend)
    load = generators.Clients(bench.world.folder, set(bench.all_cores if shared else bench.all_cores[2:]), bench.clients.target)
    two.start(set(bench.all_cores[:2]))

    def run(server, seconds):
        before = process.threads(server.process.pid, "worker-")
        found = load.wrk(server.ports[peers.PLAIN], file, seconds, connections=128)
        after = process.threads(server.process.pid, "worker-")
        spent = [after[thread] - before.get(thread, 0) for thread in after]
        return {**found, "busiest": max(spent) / max(0.01, sum(spent))}

    try:
        found = bench.interleaved("workers", [one, two], run, most=FEW)
    finally:
        two.stop()
    cost = stats.ratio(found["portcullis-2"], found["portcullis"], "cpu")
    busiest = stats.median(each["busiest"] for each in found["portcullis-2"])
    return {**found, "shared_cores": shared, "cost_ratio": cost, "busiest": busiest, "capacity_ratio": 1 / (cost * busiest),
            "throughput_ratio": stats.ratio(found["portcullis-2"], found["portcullis"], "rps")}


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
    "reload": ("latency under reload", policies.reload),
    "memory": ("memory against principals", policies.memory),
}
CASES = {**CPU_CASES, **OTHER_CASES}
