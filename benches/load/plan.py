"""How long a run will take, so that whoever starts it knows when to come back."""

import cases

# What goes with each measurement beside its length: starting the generator, reading /proc.
EACH = 0.4


def seconds(options, scale, servers):
    """The chosen cases with these options, without what is prepared before them."""
    count, checking = len(servers), sum(server.checks for server in servers)
    rounds, few = options.rounds, min(options.rounds, cases.FEW)
    one = options.warm + options.seconds + 2 * EACH
    steady, able = options.seconds + 1 + EACH, options.warm + min(2, options.seconds) + 2 * EACH
    levels = len(options.floods) + 2
    million = scale.reload_principals / 1e6
    takes = {
        **{case: count * rounds * one for case in cases.CPU_CASES},
        "refusals": (4 * checking + 1) * few * one,
        "flood": checking * (able + few * levels * (max(2, options.seconds) + 2 + EACH)),
        "latency": count * (able + few * 2 * steady),
        "idle": count * 2 * (4 + scale.idle / 1500),
        "workers": 2 * few * one + 3,
        "reload": 2 * (options.reload_seconds + 9) + 12 * million,
        "memory": sum(6 + 7 * principals / 1e6 for principals in scale.memory),
    }
    return sum(takes[case] for case in options.cases)
