"""What the gateway means to reach, beside what a run measured."""

import stats

# Case, limit of the CPU per request against nginx that checks nothing.
AGAINST_NGINX = {"tiny": 1.15, "realistic": 1.0, "tls": 1.0, "10k": 1.0, "h2-tls": 1.0, "many": 1.0}
AGAINST_OTHERS = {"haproxy": 0.25, "envoy-cache": 0.2}
REFUSAL, FLOOD = 0.5, 3.0
IDLE_KIB = {"plain": 10, "tls": 30}
TWO_WORKERS, RELOAD = 1.7, 2.0
LATENCY = {"added_p50": 1.5, "p99": 1.0}


def judged(cases):
    """Each target of which the run has the figures: what it is, its limit, what was measured, whether it is met."""
    found = []

    def at_most(what, limit, measured):
        if measured is not None:
            found.append({"what": what, "limit": f"<= {limit:g}", "measured": round(measured, 3), "met": measured <= limit})

    rounds = {name: case["rounds"] for name, case in cases.items() if "rounds" in case}
    for case, limit in AGAINST_NGINX.items():
        summary = cases.get(case, {}).get("summary", {})
        ours = lambda name, summary=summary: summary.get(name, {}).get("portcullis_cpu_ratio")
        at_most(f"CPU, {cases.get(case, {}).get('title')}, to nginx", limit, ours("nginx"))
        for name, less in AGAINST_OTHERS.items():
            at_most(f"CPU, {cases.get(case, {}).get('title')}, to {name}", less, ours(name))
    if "portcullis" in rounds.get("refusals", {}).get("realistic", {}):
        forwarded = rounds["refusals"]["realistic"]["portcullis"]
        for kind, those in rounds["refusals"].items():
            if kind != "realistic":
                at_most(f"CPU, refusal ({kind}), to a forwarded request", REFUSAL, stats.ratio(those["portcullis"], forwarded, "cpu"))
    for level, those in rounds.get("flood", {}).get("portcullis", {}).items():
        # A flood that did not come shows nothing.
        if level != "quiet" and all(one["came"] for one in those):
            at_most(f"good p99 in a flood ({level}), to quiet", FLOOD, stats.ratio(those, rounds["flood"]["portcullis"]["quiet"], "p99"))
    latency = rounds.get("latency", {})
    if "portcullis" in latency and "nginx" in latency:
        for name, limit in LATENCY.items():
            at_most(f"{name.replace('_', ' ')} at half load, to nginx", limit, stats.ratio(latency["portcullis"], latency["nginx"], name))
    for kind, limit in IDLE_KIB.items():
        at_most(f"KiB of an idle connection, {kind}", limit, rounds.get("idle", {}).get("portcullis", {}).get(kind, {}).get("kib_each"))
    if "workers" in rounds:
        measured = rounds["workers"]["capacity_ratio"]
        found.append({"what": "what two cores do to what one does", "limit": f">= {TWO_WORKERS}",
                      "measured": round(measured, 3), "met": measured >= TWO_WORKERS})
    if "reload" in rounds:
        at_most("p99 with a reload a second, to without", RELOAD, rounds["reload"]["p99_ratio"])
        at_most("requests without an answer in reloads", 0, rounds["reload"]["unanswered"])
    return found


def table(found):
    """The same as a table in Markdown."""
    rows = ["| target | limit | measured | |", "|---|---|---|---|"]
    rows += [f"| {one['what']} | {one['limit']} | {one['measured']:g} | {'met' if one['met'] else 'missed'} |" for one in found]
    return "\n".join(rows)
