"""Figures from several rounds: medians, spreads, ratios."""

import math


def median(values):
    """The median; `None` of nothing."""
    ordered = sorted(value for value in values if value is not None)
    if not ordered:
        return None
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def percentile(values, share):
    """The smallest value that at least `share` (0 to 1) of all values do not exceed; `None` of nothing."""
    ordered = sorted(values)
    if not ordered:
        return None
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def spread(values):
    """Half the distance from the smallest to the largest, as a share of the median; `None` of nothing."""
    values = [value for value in values if value is not None]
    middle = median(values)
    return (max(values) - min(values)) / 2 / middle if middle else None


def medians(rounds):
    """The median of each figure over rounds, which are dictionaries of numbers."""
    names = [name for name, value in rounds[0].items() if isinstance(value, (int, float))]
    return {name: median(one.get(name) for one in rounds) for name in names}


def ratio(rounds, base, name):
    """The median over rounds of one figure against that of the base in the same round: what slowed both down in a round
    does not count. A base that is not above 0 (a difference lost in noise) is no base."""
    pairs = zip(rounds, base)
    return median(one[name] / other[name] for one, other in pairs if one.get(name) is not None and (other.get(name) or 0) > 0)


def slope(points):
    """The slope of the straight line that fits (x, y) points best; `None` of fewer than two different x."""
    count = len(points)
    if count < 2:
        return None
    mean_x, mean_y = sum(x for x, _ in points) / count, sum(y for _, y in points) / count
    across = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / across if across else None
