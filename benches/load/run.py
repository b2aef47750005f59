#!/usr/bin/env python3
"""The load comparison: Portcullis with everything switched on beside nginx, HAProxy and Envoy, in one run on one machine.

    cargo build --release && python3 benches/load/run.py
    python3 benches/load/run.py --quick

README.md beside this file says what is measured and how."""

import argparse
import json
import math
import os
import platform
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import asdict, dataclass

import cases
import clients
import peers
import plan
import plots
import process
import stats
import targets
import verify
import world as worlds
from process import say

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
# Those that the targets speak of.
USUAL = ("nginx", "haproxy", "envoy-cache", "portcullis")
KEPT = ("cpu", "user", "system", "rps", "p50", "p99", "p99_9", "rss", "pss", "busy")


@dataclass
class Scale:
    """How large everything is."""

    routes: int = 1000
    principals: int = 100_000
    tokens: int = 10_000
    idle: int = 10_000
    reload_routes: int = 10_000
    reload_principals: int = 1_000_000
    memory: tuple = (10_000, 100_000, 1_000_000)
    # How the gateway gets its principals: `yaml` or `tsv` (principals_from).
    people: str = "tsv"


QUICK = Scale(routes=100, principals=2000, tokens=300, idle=200, reload_routes=200, reload_principals=2000, memory=(1000, 5000))


def arguments():
    """The command line."""
    parser = argparse.ArgumentParser(description="Portcullis beside nginx, HAProxy and Envoy: CPU per request, latency, memory.")
    parser.add_argument("--quick", action="store_true", help="a smoke run of some two minutes; its figures mean nothing")
    parser.add_argument("--cases", default="all", help=f"comma-separated: {', '.join(cases.CASES)}; or `all` (without "
                        f"`h2`, which the gateway does not speak without TLS), or `cpu` for the first {len(cases.CPU_CASES)}")
    parser.add_argument("--peers", default=",".join(USUAL), help="comma-separated, or `all`: "
                        f"{', '.join(peer.name for peer in peers.COMPARED)} (those of the targets: {', '.join(USUAL)})")
    parser.add_argument("--rounds", type=int, help="interleaved rounds of each case (5)")
    parser.add_argument("--seconds", type=float, help="length of each measurement (3)")
    parser.add_argument("--warm", type=float, help="what is not counted before it, in seconds (1)")
    parser.add_argument("--reload-seconds", type=float, help="length of each half of `reload` (20)")
    parser.add_argument("--reload-rate", type=int, help="requests a second in `reload` (2000)")
    parser.add_argument("--floods", default=None, help="forged tokens a second in `flood` (1000,5000,10000)")
    parser.add_argument("--people", choices=("yaml", "tsv"), default="tsv", help="how the gateway reads its principals")
    parser.add_argument("--principals", type=int, help="principals of the CPU cases")
    parser.add_argument("--reload-principals", type=int, help="principals of `reload`")
    parser.add_argument("--idle", type=int, help="connections of `idle`")
    parser.add_argument("--memory", help="comma-separated numbers of principals in `memory`")
    parser.add_argument("--binary", help="the gateway (target/release/portcullis)")
    parser.add_argument("--out", default=os.path.join(ROOT, "target", "load"), help="where results.json and the plots go")
    parser.add_argument("--port-base", type=int, default=18400, help="the first of some hundred ports on loopback")
    parser.add_argument("--proxy-core", type=int, help="the core of the proxies (the first)")
    parser.add_argument("--keep", action="store_true", help="keep the folder with configurations and logs, and print where it is")
    parser.add_argument("--replot", action="store_true", help="draw the plots of an existing results.json again")
    options = parser.parse_args()
    quick = options.quick
    options.rounds = options.rounds or (1 if quick else 5)
    options.seconds = options.seconds or (1 if quick else 3)
    options.warm = options.warm or (0 if quick else 1)
    options.reload_seconds = options.reload_seconds or (3 if quick else 20)
    options.reload_rate = options.reload_rate or (500 if quick else 2000)
    options.floods = [int(one) for one in (options.floods or ("500" if quick else "1000,5000,10000")).split(",")]
    usual = {"all": cases.CASES, "cpu": cases.CPU_CASES}.get(options.cases)
    chosen = [case for case in usual if case != "h2"] if usual else options.cases.split(",")
    unknown = [one for one in chosen if one not in cases.CASES]
    if unknown:
        parser.error(f"no such case: {', '.join(unknown)}")
    options.cases = [case for case in cases.CASES if case in chosen]
    names = [peer.name for peer in peers.COMPARED]
    wanted = names if options.peers == "all" else options.peers.split(",")
    unknown = [one for one in wanted if one not in names]
    if unknown:
        parser.error(f"no such peer: {', '.join(unknown)}")
    options.peers = wanted
    return options


def gateway(options):
    """The binary that is measured."""
    if options.binary:
        return os.path.abspath(options.binary)
    target = os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target"))
    built = os.path.join(target, "release", "portcullis")
    if not os.path.exists(built):
        sys.exit("there is no binary: cargo build --release")
    return built


def machine():
    """What it ran on."""
    model = platform.machine()
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        model = next((line.partition(":")[2].strip() for line in file if line.startswith("model name")), model)
    with open("/proc/meminfo", encoding="ascii") as file:
        total = int(file.readline().split()[1]) // 1024
    return {"processor": model, "cores": len(process.cores()), "memory_mib": total, "kernel": platform.release().partition("-")[0],
            "python": platform.python_version(), "load_before": os.getloadavg()}


def summary(rounds, base):
    """Medians of each server's rounds, their spread, and the ratios to nginx."""
    found = {}
    for name, those in rounds.items():
        one = {key: value for key, value in stats.medians(those).items() if key in KEPT}
        one["cpu_spread"] = stats.spread(each["cpu"] for each in those)
        if rounds.get("portcullis"):
            one["portcullis_cpu_ratio"] = stats.ratio(rounds["portcullis"], those, "cpu")
        if base:
            one["cpu_ratio"] = stats.ratio(those, base, "cpu")
            one["rps_ratio"] = stats.ratio(those, base, "rps")
        found[name] = one
    return found


def table(found):
    """The figures of one case as a table in Markdown."""
    rows = ["| | CPU a request, us | of it user | to nginx | +/- | Portcullis to it | requests/s | p50 ms | p99 ms | p99.9 ms | PSS MiB |",
            "|---|---|---|---|---|---|---|---|---|---|---|"]
    for name, one in found.items():
        ratio, ours = (f"{one[key]:.2f}" if one.get(key) else "" for key in ("cpu_ratio", "portcullis_cpu_ratio"))
        rows.append(f"| {name} | {one['cpu']:.1f} | {one['user']:.1f} | {ratio} | {one['cpu_spread']:.0%} | {ours} | {one['rps']:.0f} "
                    f"| {one['p50'] / 1000:.2f} | {one['p99'] / 1000:.2f} | {one['p99_9'] / 1000:.2f} | {one['pss'] / 1024:.1f} |")
    return "\n".join(rows)


def hidden(value, places):
    """The same without the folders of this machine."""
    if isinstance(value, dict):
        return {key: hidden(one, places) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [hidden(one, places) for one in value]
    if isinstance(value, str):
        for place, name in places:
            value = value.replace(place, name)
    return value


def main():
    options = arguments()
    os.makedirs(options.out, exist_ok=True)
    if options.replot:
        with open(os.path.join(options.out, "results.json"), encoding="utf-8") as file:
            print("\n".join(plots.draw(json.load(file), options.out)))
        return
    absent = clients.missing()
    if not shutil.which("openssl"):
        absent["openssl"] = "apt-get install openssl"
    if not peers.Backend.found():
        absent["nginx"] = f"{peers.Backend.package} (it is the backend)"
    if absent:
        sys.exit("missing: " + "; ".join(f"{name}: {how}" for name, how in absent.items()))
    peers.Portcullis.program = gateway(options)

    scale = QUICK if options.quick else Scale()
    scale.people = options.people
    scale.principals = options.principals or scale.principals
    scale.reload_principals = options.reload_principals or scale.reload_principals
    scale.idle = options.idle or scale.idle
    if options.memory:
        scale.memory = tuple(int(one) for one in options.memory.split(","))
    files = process.many_files()
    if files < 1.25 * scale.idle:
        say(f"Only {files} files may be open (ulimit -n): `idle` takes fewer connections.")
        scale.idle = int(files / 1.5)
    all_cores = process.cores()
    proxy = options.proxy_core if options.proxy_core is not None else all_cores[0]
    others = set(all_cores) - {proxy} or {proxy}
    busy = os.getloadavg()[0]
    if busy > 0.5:
        say(f"The machine is busy (load {busy:.1f}): latencies and throughput will be those of a busy machine.")
    if len(all_cores) < 2:
        say("There is one core: the generator takes time from the proxies; only CPU per request means something.")

    # Being told to end is no reason to leave servers behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    folder = tempfile.mkdtemp(prefix="portcullis-load-")
    started = []
    begun = time.monotonic()
    left_out = {}
    options.backend = options.port_base
    try:
        say("keys, tokens and configuration ...")
        world = worlds.World(folder, scale)
        backend = peers.Backend(world, [options.backend] * 4, options.backend)
        backend.start(others)
        started.append(backend)
        servers = []
        for at, kind in enumerate(peers.COMPARED):
            if kind.name not in options.peers:
                continue
            if not kind.found():
                left_out[kind.name] = f"not installed: {kind.package}"
                say(f"{kind.name} is left out, {left_out[kind.name]}")
                continue
            # The gateways of some cases come 10 and 20 above those of the one that always runs.
            ports = [options.port_base + 40 * (at + 1) + offset for offset in range(4)]
            server = kind(world, ports, options.backend)
            server.start({proxy})
            started.append(server)
            servers.append(server)
        versions = {server.name: server.version() for server in servers}
        versions.update(clients.Clients(folder, others, "").versions())

        results = {
            "date": time.strftime("%Y-%m-%d", time.gmtime()), "quick": options.quick, "machine": machine(), "versions": versions,
            "options": {key: value for key, value in vars(options).items() if key not in ("out", "binary", "keep", "replot")},
            "scale": asdict(scale), "titles": {server.name: server.title for server in servers}, "left_out": left_out,
            "token_bytes": {name: len(text) for name, text in world.tokens.items()},
            "proxy_core": proxy, "other_cores": sorted(others),
            "commands": {server.name: server.process.args for server in started}, "verified": {}, "cases": {},
        }
        for server in servers:
            results["verified"][server.name] = verify.checked(server, world)
            say(f"verified: {server.name} ({len(results['verified'][server.name])} answers)")

        generator = clients.Clients(folder, others, os.path.join(ROOT, "target", "load-pace"))
        bench = cases.Bench(options, world, servers, generator, {proxy}, all_cores)
        own = any(server.name == "portcullis" for server in servers)
        say(f"some {math.ceil(plan.seconds(options, scale, servers) / 60)} minutes")
        for case in options.cases:
            title, measure = cases.CASES[case]
            if case in ("workers", "reload", "memory") and not own:
                continue
            say(f"\n## {title}")
            at = time.monotonic()
            try:
                rounds = measure(bench)
            except process.Failed as failed:
                results["cases"][case] = {"title": title, "failed": str(failed)}
                say(f"FAILED: {failed}")
                continue
            entry = {"title": title, "rounds": rounds, "took_seconds": round(time.monotonic() - at, 1)}
            if case in cases.CPU_CASES:
                entry["summary"] = summary(rounds, rounds.get("nginx"))
                say("\n" + table(entry["summary"]))
            elif case == "refusals":
                for kind in rounds:
                    if kind != "realistic":
                        say(f"  {kind}: " + ", ".join(f"{name} {stats.ratio(those, rounds['realistic'][name], 'cpu'):.2f}"
                                                            for name, those in rounds[kind].items()) + " of a forwarded request")
            elif case == "workers":
                shared = " (the generator shared their cores)" if rounds["shared_cores"] else ""
                say(f"  two workers: a request costs {rounds['cost_ratio']:.2f} times that of one, the busier has "
                    f"{rounds['busiest']:.0%} of the work: two cores do {rounds['capacity_ratio']:.2f} times what one does; "
                    f"throughput {rounds['throughput_ratio']:.2f} times{shared}")
            elif case == "reload":
                say(f"  p99 {rounds['p99_ratio']:.2f} times, {rounds['unanswered']} requests without an answer, memory afterwards "
                    f"{rounds['memory_ratio']:.2f} times")
            elif case == "memory":
                say(f"  {rounds['bytes_each'] or 0:.0f} bytes a principal, names and all")
            results["cases"][case] = entry
            reached = targets.judged({case: entry})
            if reached:
                say("\n" + targets.table(reached))
            save(results, options, folder)
        results["commands"] |= generator.commands
        results["log_lines_dropped"] = {server.name: server.dropped() for server in servers if isinstance(server, peers.Portcullis)}
        results["targets"] = targets.judged(results["cases"])
        for name, lines in results["log_lines_dropped"].items():
            if lines:
                say(f"{name} dropped {lines} lines of its decision log")
        if results["targets"]:
            say("\n## all targets\n\n" + targets.table(results["targets"]))
        results["took_seconds"] = round(time.monotonic() - begun)
        made = save(results, options, folder)
        say(f"\n{results['took_seconds']} s; results.json, {', '.join(made)}")
        failed = [case for case, entry in results["cases"].items() if "failed" in entry]
        if failed:
            sys.exit(f"failed: {', '.join(failed)}")
    except process.Failed as failed:
        sys.exit(f"failed: {failed}")
    finally:
        for server in reversed(started):
            server.stop()
        if options.keep:
            say(f"kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


def save(results, options, folder):
    """Writes what there is so far; gives the names of the plots."""
    places = [(folder, "$FOLDER"), (peers.Portcullis.program, "portcullis"), (ROOT, "$ROOT")]
    clean = hidden(results, places)
    with open(os.path.join(options.out, "results.json"), "w", encoding="utf-8") as file:
        json.dump(clean, file, indent=1)
        file.write("\n")
    return plots.draw(clean, options.out)


if __name__ == "__main__":
    main()
