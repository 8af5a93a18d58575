"""Says what is wrong on any machine, whether its normal is known or not: stuck and dead sensors, limits of people.

It also tells the state that a machine is in, since what stands still because the machine does is no fault.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.detectors.base import FeatureTable
from pipelines.diagnosis.moves import FLICKERS, FROZEN_DEVIATIONS, LEAST
from pipelines.diagnosis.patterns import QUANTITIES, quantity_of
from pipelines.machines.baseline import RESOLVED, levels_of
from pipelines.machines.commissioning import Normal
from pipelines.machines.family import Family, by_family
from pipelines.signals.features import feature_names
from pipelines.signals.summary import KELVIN
from pipelines.signals.windows import Floats

State = Literal["at rest", "idle", "holding", "failed", "zero", "changing", "running", "unknown"]
Limits = Mapping[str, Mapping[str, float]]
Flags = NDArray[np.bool_]

PRESSURE, FLOW, TEMPERATURE, VIBRATION = (QUANTITIES.index(name) for name in QUANTITIES)
WORDS = ("mean", "min", "max", "flat", "step", "range")
MEAN, LOW, HIGH, FLAT, STEP, RANGE = range(len(WORDS))
# A level is zero below this share of the system's own, or of the family's typical one. Source: own choice; sensors of a
# wide range are off by a quarter of a per cent of it, and a pump's stand-by is some ten per cent.
ZERO_OWN, ZERO_TYPICAL = 0.05, 0.01
# The same for vibration: what neighbours shake. Source: own choice; a motor that runs without load shakes about half.
SHAKEN_OWN, SHAKEN_TYPICAL = 0.4, 0.1
# Share of its normal from which on another channel shows that the machine works. Source: own choice.
WORKS = 0.5
# What cannot stand still while it measures; oil may keep its temperature.
MEASURING = (PRESSURE, FLOW, VIBRATION)
# Samples that a channel must stand still for, and the share of its level by which a coupled one must move meanwhile,
# where no normal says how still it usually is. Source: own choice; a sensor of 10 bits resolves a thousandth, and
# pressure and flow of a controlled pump move each other by some per cent.
STILL_SAMPLES, COUPLED = 30, 0.5
# A channel whose lowest samples lie so many of their deviations above zero never reads zero while the machine is well.
# Source: the usual three.
NEVER_DEVIATIONS = 3.0
# How many times as far as its normal may follow a level lies when nobody needs to look twice. Source: own choice; an
# eighth of the flow or 24 K, and six deviations of its own.
FAR = 2.0


class RuleFinding(NamedTuple):
    """What is wrong with one channel in one window.

    Attributes:
        sustained: Whether all of the window says so; a single sample may be a spike.
        text: For people, with numbers in the channel's unit.
    """

    rule: Literal["stuck", "dead", "limit", "moved"]
    channel: str
    sustained: bool
    text: str


class _Channels(NamedTuple):
    """The channels of a family: `columns` `int64[C, W]` of each statistic; `places` of each one's quantity or -1.

    `moving` tells those that cannot stand still while they measure, `hydraulic` those of pressure and flow.
    """

    names: tuple[str, ...]
    units: tuple[str, ...]
    columns: NDArray[np.int64]
    places: NDArray[np.int64]
    moving: Flags
    hydraulic: Flags
    typical: Floats
    bounds: Floats
    zeroed: Flags
    absolute: Flags


@by_family
def _channels(family: Family) -> _Channels:
    features, channels = feature_names(family), family.channels
    columns = [[features.index(f"{name}_{word}") for word in WORDS] for name in channels]
    known = [quantity_of(channel.unit) for channel in channels.values()]
    typical = np.array([channel.typical for channel in channels.values()])
    spread = np.array([channel.spread for channel in channels.values()])
    places = np.array([-1 if name is None else QUANTITIES.index(name) for name in known], dtype=np.int64)
    return _Channels(
        names=tuple(channels),
        units=tuple(channel.unit for channel in channels.values()),
        columns=np.array(columns, dtype=np.int64),
        places=places,
        moving=np.isin(places, MEASURING),
        hydraulic=np.isin(places, (PRESSURE, FLOW)),
        typical=typical,
        bounds=np.array([[channel.low, channel.high] for channel in channels.values()]).T,
        # A pressure that swings about zero does not tell whether the machine runs.
        zeroed=typical > spread,
        absolute=np.array([channel.unit in ("mm/s", "in/s") for channel in channels.values()]),
    )


class _Seen(NamedTuple):
    """Statistics of N windows, each `float64[N, C]` by word: now, normal, scatter; and whether the normal is known."""

    now: Floats
    normal: Floats
    scatter: Floats
    known: Flags


def _seen(table: FeatureTable, kind: _Channels) -> _Seen:
    now, normal, scatter = (part[:, kind.columns] for part in (table.raw, table.centre, table.scatter))
    return _Seen(now, normal, scatter, table.count[:, kind.columns[:, MEAN]] >= LEAST)


def _zeros(seen: _Seen, kind: _Channels) -> Floats:
    """Return the level below which each channel counts as zero: `float64[N, C]`."""
    shaken = kind.places == VIBRATION
    own = np.where(shaken, SHAKEN_OWN, ZERO_OWN) * np.where(seen.known, seen.normal[..., MEAN], 0.0)
    result: Floats = np.maximum(own, np.where(shaken, SHAKEN_TYPICAL, ZERO_TYPICAL) * kind.typical)
    return result


def at_rest(table: FeatureTable, family: Family) -> Flags:
    """Tell in which windows the machine stands: neither pressure nor flow, and no more vibration than neighbours make.

    Two channels at least must say so: a single zero may be a sensor.

    Shapes: `bool[N]`.
    """
    kind = _channels(family)
    return _rests(_seen(table, kind), kind)


def _rests(seen: _Seen, kind: _Channels) -> Flags:
    tells, hydraulic = _tells(seen, kind)
    result: Flags = _quiet(seen, kind, tells) & (tells.sum(axis=1) >= 2) & np.asarray(hydraulic.any(axis=1))
    return result


def _tells(seen: _Seen, kind: _Channels) -> tuple[Flags, Flags]:
    """Return which channels tell whether the machine works, and which of these are hydraulic: `bool[N, C]` each."""
    tells = ~np.isnan(seen.now[..., HIGH]) & kind.moving & kind.zeroed
    # What a quiet machine's neighbours shake is known only from its own normal.
    hydraulic = tells & kind.hydraulic
    enough = hydraulic.sum(axis=1, keepdims=True) >= 2
    return tells & ((kind.places != VIBRATION) | seen.known | ~enough), hydraulic


def _none(seen: _Seen, zero: Floats) -> Flags:
    """Tell which channels read nothing but zero, to either side of it: a vacuum is a pressure. `bool[N, C]`."""
    return np.asarray((seen.now[..., HIGH] <= zero) & (seen.now[..., LOW] >= -zero))


def _quiet(seen: _Seen, kind: _Channels, tells: Flags) -> Flags:
    """Tell in which windows some channel tells whether the machine works, and none says that it does: `bool[N]`."""
    result: Flags = np.asarray((_none(seen, _zeros(seen, kind)) | ~tells).all(axis=1) & tells.any(axis=1))
    return result


def operating_states(table: FeatureTable, family: Family) -> list[State]:
    """Return the state that the machine is in: at rest, idle (flow without pressure), holding (pressure without flow),
    failed (neither, though it shakes), zero (all that is measured of both, which may be rest or a sensor), changing
    between these within the window, running, or unknown where neither pressure nor flow is measured.
    """
    kind = _channels(family)
    seen = _seen(table, kind)
    zero = _zeros(seen, kind)
    rests = _rests(seen, kind)
    with np.errstate(invalid="ignore"):
        none, always = _none(seen, zero), np.asarray((seen.now[..., LOW] > zero) | (seen.now[..., HIGH] < -zero))
    by_quantity = [
        ((none | ~here).all(axis=1) & here.any(axis=1), (always & here).any(axis=1), here.any(axis=1))
        for place in (PRESSURE, FLOW)
        for here in [~np.isnan(seen.now[..., HIGH]) & (kind.places == place) & kind.zeroed]
    ]
    (no_bar, bar, has_bar), (no_flow, flow, has_flow) = by_quantity
    found = np.full(len(rests), "running", dtype=object)
    found[~(bar | flow)] = "changing"
    found[(no_bar | ~has_bar) & (no_flow | ~has_flow)] = "zero"
    found[no_bar & no_flow] = "failed"
    found[no_bar & flow] = "idle"
    found[no_flow & bar] = "holding"
    found[rests] = "at rest"
    found[~(has_bar | has_flow)] = "unknown"
    states: list[State] = found.tolist()
    return states


def rules(
    table: FeatureTable,
    family: Family,
    limits: Sequence[Limits | None] | None = None,
    samples: NDArray[np.int64] | None = None,
) -> list[tuple[RuleFinding, ...]]:
    """Return by window what is wrong on any machine; empty where nothing is.

    Args:
        limits: By window what people stated for its system, `{channel: {low, high}}` in the channel's unit.
        samples: `int64[N]` of each window. Where they are not told, and no normal is known, nothing is called stuck.
    """
    kind = _channels(family)
    seen = _seen(table, kind)
    rests = _rests(seen, kind)
    stuck, dead = _silent(seen, kind, rests, samples)
    found: list[tuple[RuleFinding, ...]] = [()] * len(rests)
    for row in np.flatnonzero((stuck | dead).any(axis=1)).tolist():
        broken = np.flatnonzero(stuck[row] | dead[row]).tolist()
        found[row] = tuple(_sensor(kind, place, seen.now[row, place, MEAN], bool(dead[row, place])) for place in broken)
    for row, place in zip(*np.nonzero((np.abs(_strayed(table, family)) > 1) & ~rests[:, None]), strict=True):
        name, now, unit = kind.names[place], seen.now[row, place, MEAN], kind.units[place]
        text = f"{name} is {now:.4g} {unit}, farther from where it was commissioned than its normal may follow"
        found[row] += (RuleFinding("moved", name, True, text),)
    if limits is not None:
        for row, stated in enumerate(limits):
            if stated:
                found[row] += tuple(_beyond(stated, seen.now[row], kind, bool(rests[row])))
    return found


def much_moved(table: FeatureTable, family: Family) -> Flags:
    """Tell in which windows a level lies `FAR` times as far from where it was commissioned as its normal may follow.

    Cold oil is that of a start.

    Shapes: `bool[N]`.
    """
    strayed = _strayed(table, family)
    warm = [channel.unit in KELVIN for channel in family.channels.values()]
    return np.asarray((np.where(warm, strayed, np.abs(strayed)) > FAR).any(axis=1))


def _strayed(table: FeatureTable, family: Family) -> Floats:
    """Return how far levels lie from where they were commissioned, in shares of how far their normal may follow.

    Shapes: `float64[N, C]`; 0 on machines that are not judged by their own normal.
    """
    found = np.zeros((len(table.raw), len(family.channels)))
    if family.reading == "relative":
        places = [table.names[term] for term in table.terms]
        for channel, name in enumerate(family.channels):
            if (mean := f"{name}_mean") in places:
                found[:, channel] = table.strayed[:, places.index(mean)]
    return found


def _silent(seen: _Seen, kind: _Channels, rests: Flags, samples: NDArray[np.int64] | None) -> tuple[Flags, Flags]:
    """Return which channels are stuck, and which are dead: `bool[N, C]` each."""
    low, high, mean = (seen.now[..., word] for word in (LOW, HIGH, MEAN))
    # A single sample has no step, and cannot be told to stand still.
    still = (low == high) & ~np.isnan(seen.now[..., STEP])
    if not still.any():
        return still, still
    wired = still & ((low == kind.bounds[0]) & (kind.bounds[0] != 0) | (high == kind.bounds[1]))
    zero = still & (mean == 0)
    lively = seen.normal[..., FLAT] + FROZEN_DEVIATIONS * seen.scatter[..., FLAT] < 1.0
    lively &= (kind.places != TEMPERATURE) | (seen.normal[..., FLAT] < FLICKERS)
    idle = rests | _quiet(seen, kind, _tells(seen, kind)[0])  # a single zero may be a sensor, but shows no work
    stuck = still & ~zero & ~wired & seen.known & lively & (kind.places >= 0) & ~idle[:, None]
    works = _works(seen, kind, mean)
    # Oil of exactly zero degrees, a pump that works without any vibration, a load without pressure: open circuits,
    # unless the machine has shown as much while it was well, as one does that holds its load with the pump off.
    never = seen.normal[..., LOW] > NEVER_DEVIATIONS * seen.scatter[..., LOW]
    felt = np.isin(kind.places, (PRESSURE, VIBRATION)) & seen.known
    dead = wired | zero & works & (never | ~seen.known) & (felt | kind.absolute | (kind.places == TEMPERATURE))
    if samples is not None:
        stuck |= _uncoupled(seen, kind, still & ~zero & ~wired) & (samples >= STILL_SAMPLES)[:, None]
    return stuck & ~dead, dead


def _works(seen: _Seen, kind: _Channels, mean: Floats) -> Flags:
    """Tell by channel whether pressure or flow elsewhere show that the machine works: `bool[N, C]`.

    With a normal the others must reach half of it; without one both pressure and flow must be there.
    """
    least = np.where(seen.known, WORKS * seen.normal[..., MEAN], 2 * ZERO_TYPICAL * kind.typical)
    with np.errstate(invalid="ignore"):
        there = (mean > np.maximum(least, ZERO_TYPICAL * kind.typical)) & kind.hydraulic
    total = there.sum(axis=1, keepdims=True) - there
    result: Flags = total >= np.where(seen.known, 1, 2)
    return result


def _uncoupled(seen: _Seen, kind: _Channels, still: Flags) -> Flags:
    """Return the channels that stand still while a coupled one swings, where no normal is known: `bool[N, C]`.

    Oil is still by nature.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        swings = (seen.now[..., RANGE] > COUPLED * np.abs(seen.now[..., MEAN])) & kind.hydraulic
        loaded = seen.now[..., LOW] > ZERO_TYPICAL * kind.typical
    others = (swings & loaded).sum(axis=1, keepdims=True) - (swings & loaded)
    result: Flags = still & kind.moving & ~seen.known & (others > 0)
    return result


def _sensor(kind: _Channels, place: int, level: float, dead: bool) -> RuleFinding:
    """Put a silent sensor into words."""
    name, at = kind.names[place], f"{level:.4g} {kind.units[place]}"
    if dead:
        return RuleFinding("dead", name, True, f"{name} reads {at} and nothing else while the machine works")
    return RuleFinding("stuck", name, True, f"{name} stands still at {at}, to the last digit, while the machine works")


def _beyond(stated: Limits, now: Floats, kind: _Channels, rests: bool) -> list[RuleFinding]:
    """Return where a window passes what people stated; a machine at rest need not reach its lowest pressure or flow.

    Shapes: `now` `float64[C, W]`.
    """
    found = []
    for name, bounds in stated.items():
        if name not in kind.names:
            continue
        place = kind.names.index(name)
        mean, low, high = now[place, [MEAN, LOW, HIGH]].tolist()
        unit = kind.units[place]
        most, least = bounds.get("high"), bounds.get("low")
        if most is not None and high > most:
            found.append(_limit(name, "above", high, most, unit, mean > most))
        if least is not None and low < least and not (rests and kind.places[place] != TEMPERATURE):
            found.append(_limit(name, "below", low, least, unit, mean < least))
    return found


def _limit(name: str, side: str, value: float, limit: float, unit: str, sustained: bool) -> RuleFinding:
    verb = "stays" if sustained else "went"
    text = f"{name} {verb} {side} its limit of {limit:g} {unit}: {value:.4g} {unit}"
    return RuleFinding("limit", name, sustained, text)


def doubts(normal: Normal, family: Family) -> tuple[str, ...]:
    """Return what speaks against the windows that a normal was learned from, in words; empty where nothing does.

    A channel that read one and the same value in all of them measures nothing, unless it is zero, or a temperature,
    which may stand still by nature. Of a machine that stood all the while, nothing is known that could be judged.
    """
    kind = _channels(family)
    known = [point.baseline for point in normal.points if len(point.baseline.count) == len(feature_names(family))]
    if not known or max(each.count.max() for each in known) < LEAST:
        return ()
    level, scatter = (np.stack(part)[:, kind.columns] for part in zip(*map(levels_of, known), strict=True))
    mean, hydraulic = level[..., MEAN], np.isin(kind.places, (PRESSURE, FLOW)) & kind.zeroed
    with np.errstate(invalid="ignore"):
        same = np.maximum(np.ptp(mean, axis=0), scatter[..., MEAN].max(axis=0)) <= RESOLVED * np.abs(mean[0])
        still = same & (level[..., RANGE] == 0).all(axis=0) & (mean[0] != 0) & np.isin(kind.places, MEASURING)
        works = (np.abs(mean) > ZERO_TYPICAL * kind.typical).any(axis=0) & hydraulic
    found = [
        f"{kind.names[place]} read {mean[0, place]:.4g} {kind.units[place]}, to the last digit, in all windows: "
        "its sensor may be stuck"
        for place in np.flatnonzero(still).tolist()
    ]
    if (np.isfinite(mean).any(axis=0) & hydraulic).any() and not works.any():
        found.append("neither pressure nor flow was read in any window: teach it again from windows while it runs")
    return tuple(found)
