"""The cases about the gateway's policy: reading it again under load, and what many principals take."""

import json
import shutil
import time

import clients as generators
import peers
import process
import stats
import world as worlds
from process import say

# How long the memory of what was replaced has to come back, in seconds.
SETTLE = 5


def _alone(bench, name):
    """A Portcullis of its own, not yet started."""
    class Alone(peers.Portcullis):
        pass

    Alone.name = name
    base = next(server for server in bench.servers if server.name == "portcullis")
    return Alone(bench.world, [port + 20 for port in base.ports], bench.options.backend)


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
        # Two versions of the route map and of the principals, each renamed over the live ones in its turn.
        for version in (1, 2):
            names = server.write_policy(*server.policy, mark=version, suffix=f".{version}")
        for kind in ("quiet", "reloads"):
            found[kind] = _under(bench, server, file, names if kind == "reloads" else [])
            one = found[kind]
            say(f"  {kind:<8} p50 {one['p50']:.0f} us, p99 {one['p99']:.0f} us, p99.9 {one['p99_9']:.0f} us, "
                f"{one['written']} versions written, {one['published']} policies published, "
                f"{one['after']['pss'] / 1024:.0f} MiB after it, at most {one['after']['peak'] / 1024:.0f}")
    finally:
        server.stop()
        shutil.rmtree(server.config, ignore_errors=True)
    if not found["reloads"]["published"]:
        raise process.Failed("reload: files were written, and no policy was published")
    return {**found, "routes": scale.reload_routes, "principals": scale.reload_principals, "people": scale.people,
            "rate": bench.options.reload_rate, "p99_ratio": found["reloads"]["p99"] / found["quiet"]["p99"],
            "unanswered": found["reloads"]["unanswered"],
            "memory_ratio": found["reloads"]["after"]["pss"] / found["quiet"]["after"]["pss"]}


def _under(bench, server, file, names):
    """One half: requests at a constant rate, with another version of these files a second. A request that is lost, because
    a connection is closed under it or the answer is another, ends the case."""
    serial = lambda: json.loads(server.ask("/status")[1])["serial"]
    before, seconds = serial(), bench.options.reload_seconds
    other = bench.clients.beside(bench.clients.pace_command(server.ports[peers.PLAIN], file, bench.options.reload_rate, seconds,
                                                            warm=2))
    began, number = time.monotonic(), 0
    while other.poll() is None and time.monotonic() < began + seconds + 2:
        for name in names:
            worlds.install(server.config, f"{name}.{number % 2 + 1}", name)
        number += 1
        time.sleep(max(0.0, began + number - time.monotonic()))
    said, errors = other.communicate(timeout=120)
    if other.returncode:
        raise process.Failed(f"reload: {errors[-400:]}")
    one = json.loads(said)
    generators.answered("reload", one)
    time.sleep(SETTLE)
    return {**one, "written": number if names else 0, "published": serial() - before, "after": server.memory()}


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
            unused = server.memory()
            # An allocator gives back what reading took when threads next ask it for something, so some requests come first.
            bench.clients.wrk(server.ports[peers.PLAIN], bench.world.requests("realistic"), 1)
            time.sleep(1)
            points.append({"principals": count, "ready_seconds": ready, **server.memory(), "before_requests": unused["pss"]})
        finally:
            server.stop()
        shutil.rmtree(server.config, ignore_errors=True)
        last = points[-1]
        say(f"  {count:>9} principals: {last['pss'] / 1024:.1f} MiB ({last['before_requests'] / 1024:.1f} before the first requests), "
            f"at most {last['peak'] / 1024:.1f}, ready after {ready:.2f} s")
    each = stats.slope([(point["principals"], point["pss"] * 1024) for point in points])
    return {"points": points, "people": bench.scale.people, "bytes_each": each}
