"""The plots of one run, each drawn if its figures are there."""

import os

import stats
import svg


def draw(results, folder):
    """Writes the plots and gives their names."""
    found = {name: case for name, case in results["cases"].items() if "failed" not in case}
    titles = results["titles"]
    made = []

    def save(name, text):
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            file.write(text)
        made.append(name)

    measured = [case for case in found if "summary" in found[case] and case not in ("workers",)]
    names = [title for name, title in titles.items()]
    if measured:
        cpu = lambda case: {titles[name]: one["cpu"] for name, one in found[case]["summary"].items() if name in titles}
        save("load-cpu.svg", svg.bars("Processor time of the proxy for one request", "microseconds, user and system",
                                      [(found[case]["title"], cpu(case)) for case in measured], names, _note(results)))
        against = lambda case: {titles[name]: one["cpu_ratio"] for name, one in found[case]["summary"].items() if name in titles and one.get("cpu_ratio")}
        groups = [(found[case]["title"], against(case)) for case in measured]
        if any(values for _, values in groups):
            save("load-ratio.svg", svg.bars("Processor time for one request", "nginx without any check = 1", groups, names, _note(results)))
    if "refusals" in found:
        groups = []
        for kind, rounds in found["refusals"]["rounds"].items():
            groups.append(("forwarded" if kind == "realistic" else kind,
                           {titles[name]: stats.median(one["cpu"] for one in those) for name, those in rounds.items()}))
        save("load-refusals.svg", svg.bars("Processor time of a refusal", "microseconds", groups, names, _note(results)))
    if "flood" in found:
        rounds = found["flood"]["rounds"]
        groups = [(level, {titles[name]: stats.median(one["p99"] for one in levels[level]) / 1000
                           for name, levels in rounds.items() if all(one["came"] for one in levels[level])})
                  for level in dict.fromkeys(level for levels in rounds.values() for level in levels)]
        save("load-flood.svg", svg.bars("p99 of good requests beside a flood of forged tokens", "milliseconds", groups, names, _note(results)))
    if "workers" in found:
        one = found["workers"]["rounds"]
        groups = [("CPU a request", {"one": 1, "two": one["cost_ratio"]}), ("capacity", {"one": 1, "two": one["capacity_ratio"]}),
                  ("throughput", {"one": 1, "two": one["throughput_ratio"]})]
        save("load-workers.svg", svg.bars("One worker and two", "one worker = 1", groups, ["one", "two"], _note(results)))
    if "latency" in found:
        groups = []
        for figure, label in (("added_p50", "p50"), ("added_p99", "p99"), ("added_p99_9", "p99.9")):
            groups.append((label, {titles[name]: max(0, stats.median(one[figure] for one in those))
                                   for name, those in found["latency"]["rounds"].items()}))
        save("load-latency.svg", svg.bars("Latency that a proxy adds at half load", "microseconds over a direct connection", groups,
                                          names, _note(results)))
    if "idle" in found:
        groups = [(kind, {titles[name]: one[kind]["kib_each"] for name, one in found["idle"]["rounds"].items()})
                  for kind in ("plain", "tls")]
        save("load-idle.svg", svg.bars("Memory of an idle connection", "KiB", groups, names, _note(results)))
    if "reload" in found:
        one = found["reload"]["rounds"]
        series = []
        for kind, label in (("quiet", "without reloads"), ("reloads", "a reload a second")):
            step = one[kind]["window_ms"] / 1000
            series.append((label, [(at * step, window[2]) for at, window in enumerate(one[kind]["windows"]) if window[0]]))
        title = f"p99 while the policy is read again: {one['routes']:,} routes, {one['principals']:,} principals"
        save("load-reload.svg", svg.lines(title, "seconds", f"p99 of windows of {one['quiet']['window_ms']} ms, microseconds", series,
                                          _note(results), logarithmic=True))
    if "memory" in found:
        one = found["memory"]["rounds"]
        mib = lambda name: [(max(1, point["principals"]), point[name] / 1024) for point in one["points"]]
        save("load-memory.svg", svg.lines("Memory of the gateway against principals, three grants each", "principals", "MiB",
                                          [("in use (PSS)", mib("pss")), ("most while reading (peak)", mib("peak"))], _note(results),
                                          logarithmic=True, log_across=True, dots=True))
    return made


def _note(results):
    machine = results["machine"]
    return f"{machine['cores']} cores, {machine['processor']}; {results['date']}; Portcullis {results['versions'].get('portcullis', '?')}"
