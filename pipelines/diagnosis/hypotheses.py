"""Names what may be wrong from physics, where no trained detector speaks: hypotheses, each with what speaks for it.

The moves of one window from its own normal are compared with `patterns`. Nothing is named where several fit alike.
"""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np

from pipelines.detectors.base import FeatureTable
from pipelines.diagnosis.calibration import expit
from pipelines.diagnosis.evidence import told
from pipelines.diagnosis.moves import Moves, moves_of
from pipelines.diagnosis.patterns import PATTERNS, QUANTITIES, component_of
from pipelines.diagnosis.rules import at_rest
from pipelines.machines.family import Family
from pipelines.signals.windows import Floats

# Sizes that a fault may have, as shares of a part's function. Source: own choice; below a tenth nobody repairs.
SIZES = np.array([0.1, 0.18, 0.3, 0.45, 0.65, 1.0])
# A hypothesis is named from here on, unless the next one is within a factor. Source: more likely than all others
# together; simulated units of even seeds: with 1.7 the named component is wrong in 0.4 % of windows with faults, and
# half of the hot days name nothing; with 1.0 it is 1.7 %, and a third.
NAMED, ALIKE = 0.5, 1.7
# Source: own choice; a hypothesis that is less plausible is not worth a technician's look.
TOLD = 0.05
# Weights before anything is seen, where each class of fault has 1. Source: own choice: a window whose operating point
# is known is seldom another load; some faults are none of these.
BENIGN, UNEXPLAINED = 0.8, 0.5
# By how much each quantity that is not measured makes what nobody thought of more likely. Source: own choice; what one
# channel shows alone, anything that it is coupled to may cause.
BLIND = 2.0
# Share of windows whose channel does what nobody expects, and how far it then goes: logarithm of the ratio, kelvin.
# Source: own choice.
STRAY, STRAY_K, FAR, FAR_K = 0.01, 0.12, 0.4, 8.0
# The same of the logarithm of a spread's ratio.
RESTLESS = 1.2
# How far a channel's peaks may lie on one side, -1 to 1. Source: a single peak among n samples gives 1 - 2 / n;
# switching transients overshoot on both sides.
ROUND, ONE_SIDED = (0.0, 0.6), (0.25, 1.0)
LOPSIDED_ERROR = 0.15
# Probability that a channel touches zero, and that it stands still to the last digit where it never did.
# Source: own choice; what is rare is not impossible.
TOUCHES, FREEZES, RARE = 0.9, 0.998, 0.005


# Source: the logistic function of this slope lies within a hundredth of the normal distribution, with longer tails.
STEEP = 1.702


class Hypothesis(NamedTuple):
    """What may be wrong, ranked by how well it explains one window.

    Attributes:
        component: Of the family where it has it, else the general one; "" where nothing is broken.
        fault: The class of the fault as family `generic` has it, or what changed where nothing is broken.
        plausibility: 0..1 among all hypotheses, one that none of them holds included.
        evidence_for: What was seen that it explains, for a technician.
        against: What was seen that it does not explain, or expects and was not seen.
        channel: The channel whose sensor is meant, else "".
    """

    component: str
    fault: str
    plausibility: float
    evidence_for: tuple[str, ...]
    against: tuple[str, ...]
    channel: str = ""


class _Fit(NamedTuple):
    """How well one hypothesis explains each channel: `fits` `float64[C]` logarithms, up to one constant a channel."""

    fault: str
    prior: float
    log_likelihood: float
    fits: Floats
    channel: str = ""
    cause: str = ""


def settled(hypotheses: Sequence[Hypothesis]) -> Hypothesis | None:
    """Return the first hypothesis where it is more plausible than not, and the next one much less."""
    if not hypotheses:
        return None
    first, *others = hypotheses
    alike = any(other.plausibility * ALIKE > first.plausibility for other in others)
    return first if first.plausibility >= NAMED and not alike else None


def named(hypotheses: Sequence[Hypothesis]) -> str | None:
    """Return the component to name: that of a settled hypothesis by which something is broken."""
    first = settled(hypotheses)
    return None if first is None else first.component or None


def hypothesise(family: Family, table: FeatureTable, row: int) -> tuple[Hypothesis, ...]:
    """Explain one anomalous window, the most plausible hypothesis first; empty at rest, and without a normal.

    One hypothesis a component: its likeliest fault speaks for it. One that nothing seen speaks for is not told.
    """
    moves = moves_of(family, table, row)
    if moves is None or at_rest(table.rows(np.array([row])), family)[0]:
        return ()
    still, anything = _still(moves), _anything(moves)
    calm, open_minded = np.log(still), np.log(anything)
    fits = [*_machine(moves, still), *_sensors(moves, calm, open_minded)]
    unmeasured = len(QUANTITIES) - len(np.unique(moves.places))
    shares = _shares(fits, np.log(UNEXPLAINED) + unmeasured * np.log(BLIND) + float(open_minded.sum()))
    groups: dict[tuple[str, str], list[int]] = {}
    for place, fit in enumerate(fits):
        groups.setdefault((component_of(family, fit.fault), fit.cause), []).append(place)
    found = []
    for (component, cause), places in groups.items():
        share = float(shares[places].sum())
        best = fits[max(places, key=lambda place: shares[place])]
        if share >= TOLD:
            speaks_for, against = told(moves, best.fault, best.fits, calm, open_minded)
            if speaks_for:  # what nothing was seen of is likely by itself alone, and no finding
                found.append(Hypothesis(component, best.fault or cause, share, speaks_for, against, best.channel))
    return tuple(sorted(found, key=lambda hypothesis: -hypothesis.plausibility))


def _shares(fits: Sequence[_Fit], unknown: float) -> Floats:
    """Return the plausibility of each fit beside a hypothesis that none of them holds, of the given log-likelihood."""
    log = np.array([np.log(fit.prior) + fit.log_likelihood for fit in fits])
    top = max(float(log.max()), unknown)
    weights = np.exp(log - top)
    shares: Floats = weights / (weights.sum() + np.exp(unknown - top))
    return shares


@cache
def _boxes() -> tuple[Floats, Floats]:
    """Return, by pattern and quantity, from where to where its level moves at each size, and its spread.

    Shapes: `float64[2, T, S, Q]`, `float64[2, T, Q]`.
    """
    level = np.array([[getattr(pattern, name) for name in QUANTITIES] for pattern in PATTERNS], dtype=np.float64)
    spread = np.array([[getattr(p, f"{name}_spread") for name in QUANTITIES] for p in PATTERNS], dtype=np.float64)
    sized = _sized(level.transpose(2, 0, 1)[:, :, None, :], SIZES[None, None, :, None])
    return sized, spread.transpose(2, 0, 1)


def _sized(level: Floats, size: Floats) -> Floats:
    """Return moves at a size: kelvin in proportion, all others as the logarithm of the ratio to normal."""
    kelvin = np.array([name == "temperature" for name in QUANTITIES])
    moved = level * size
    return np.where(kelvin, moved, np.log1p(np.maximum(moved, -0.95)))


def _machine(moves: Moves, still: Floats) -> list[_Fit]:
    """Fit the patterns of faults, and of changes that are none."""
    sized, spread = _boxes()
    levels = _box(moves.level, moves.level_error, sized[..., moves.places])
    spreads = _box(moves.spread, moves.spread_error, spread[..., moves.places])
    round_ = _stray(_shape(moves, ROUND) * _flags(moves, RARE, RARE), moves)
    fits = _stray(levels * spreads[:, None, :], moves) * round_
    # Where a quantity is measured at several places, a fault moves at least one of them and leaves the others.
    joint = np.ones(fits.shape[:2])
    for place in np.unique(moves.places):
        same = np.flatnonzero(moves.places == place)
        joint *= _at_least_one(fits[:, :, same], still[same])
    likelihood = joint.mean(axis=1)
    best = joint.argmax(axis=1)
    return [
        _Fit(
            pattern.fault,
            pattern.share * (1.0 if pattern.fault else BENIGN),
            float(np.log(max(likelihood[row], 1e-300))),
            np.log(fits[row, best[row]]),
            cause=pattern.cause,
        )
        for row, pattern in enumerate(PATTERNS)
    ]


def _at_least_one(fits: Floats, still: Floats) -> Floats:
    """Return the likelihood of channels of which each follows a pattern or stays, but not all stay.

    Shapes: `float64[T, S, K]`, `float64[K]` -> `float64[T, S]`.
    """
    count = fits.shape[2]
    if count == 1:
        return fits[:, :, 0]
    either = np.prod(0.5 * (fits + still), axis=2) - np.prod(0.5 * still)
    likelihood: Floats = np.maximum(either, 1e-300) / (1 - 0.5**count)
    return likelihood


class _Broken(NamedTuple):
    """What a broken sensor shows: its level at size 1, its spread, its peaks, whether it touches zero or freezes."""

    fault: str
    share: float
    level: tuple[float, float]
    kelvin: tuple[float, float]
    spread: tuple[float, float]
    shape: tuple[float, float] = ROUND
    touches: float = RARE
    freezes: float = RARE


# Weight of a thermometer or accelerometer that drifts up beside one that drifts down. Source: own choice; oil warms and
# a machine shakes for many reasons, and neither cools nor calms down by itself.
RISEN = 0.35
# Source: article `sensor-stuck-or-drift` and `sensor-spikes-and-dropout`; a sensor of temperature is off by some 40 K
# where the others are off by all of their level.
SENSORS = (
    _Broken("sensor_drift", 0.4, (0.45, 1.05), (18, 42), (-0.5, 1.5)),
    _Broken("sensor_drift", 0.5, (-1.0, -0.45), (-42, -18), (-1.0, 1.5)),
    _Broken("sensor_spike", 0.6, (0.0, 0.4), (0, 20), (0.5, 5.0), ONE_SIDED),
    _Broken("sensor_spike", 0.4, (-0.4, 0.0), (-20, 0), (0.5, 5.0), ONE_SIDED, 0.1),
    _Broken("sensor_dropout", 1.0, (-1.0, -0.05), (-60, -2), (1.0, 6.0), (0.0, 1.0), TOUCHES),
    _Broken("sensor_stuck", 0.85, (-0.05, 0.05), (-3, 3), (-9.0, 0.3), ROUND, RARE, FREEZES),
    _Broken("sensor_stuck", 0.15, (-1.0, 0.5), (-60, 60), (-9.0, 0.3), ROUND, 0.5, FREEZES),
)


def _sensors(moves: Moves, calm: Floats, open_minded: Floats) -> list[_Fit]:
    """Fit broken sensors: one channel does what the machine cannot, and all others stay."""
    fits = []
    for broken in SENSORS:
        level = np.array([broken.kelvin if kelvin else broken.level for kelvin in moves.kelvin], dtype=np.float64)
        sized = level.T[:, None, :] * SIZES[None, :, None]
        boxes = np.where(moves.kelvin, sized, np.log1p(np.maximum(sized, -0.95)))
        level_fit = _box(moves.level, moves.level_error, boxes).mean(axis=0)
        shown = _box(moves.spread, moves.spread_error, np.tile(np.array(broken.spread)[:, None], len(moves.names)))
        shape = _shape(moves, broken.shape) * _flags(moves, broken.touches, broken.freezes)
        density = _stray(level_fit * shown, moves) * shape
        own = np.log(density)
        # While a sensor stands still the machine may do anything.
        others = open_minded if broken.fault == "sensor_stuck" else calm
        likelihood = others.sum() - others + own
        for place, name in enumerate(moves.names):
            each = others.copy()
            each[place] = own[place]
            prior = broken.share / len(moves.names)
            rises = QUANTITIES[moves.places[place]] in ("temperature", "vibration") and moves.level[place] > 0
            if broken.fault == "sensor_drift" and rises:
                prior *= RISEN
            fits.append(_Fit(broken.fault, prior, float(likelihood[place]), each, name))
    return fits


def _still(moves: Moves) -> Floats:
    """Return how likely each channel is what it is while nothing happens: `float64[C]`."""
    level = _box(moves.level, moves.level_error, np.zeros((2, len(moves.names))))
    spread = _box(moves.spread, moves.spread_error, np.tile(np.array([[-0.5], [0.5]]), len(moves.names)))
    result: Floats = _stray(level * spread, moves) * _shape(moves, ROUND) * _flags(moves, RARE, RARE)
    return result


def _anything(moves: Moves) -> Floats:
    """Return how likely each channel is what it is under a fault that nobody thought of: `float64[C]`."""
    shape = _shape(moves, (0.0, 1.0)) * _flags(moves, 0.05, 0.05)
    level = 0.5 * _box(moves.level, moves.level_error, np.zeros((2, len(moves.names)))) + 0.5 * _far(moves)
    result: Floats = level * _restless(moves) * shape
    return result


def _far(moves: Moves) -> Floats:
    """Return the density of a level that nobody expects."""
    scale = np.where(moves.kelvin, FAR_K, FAR)
    result: Floats = np.exp(-np.abs(moves.level) / scale) / (2 * scale)
    return result


def _restless(moves: Moves) -> Floats:
    """Return the density of a spread that nobody expects."""
    result: Floats = np.exp(-np.abs(moves.spread) / RESTLESS) / (2 * RESTLESS)
    return result


def _stray(density: Floats, moves: Moves) -> Floats:
    """Allow for what nobody expects, so that one odd channel does not outweigh all others."""
    stray = np.where(moves.kelvin, STRAY_K, STRAY)
    return (1 - stray) * density + stray * _far(moves) * _restless(moves)


def _box(value: Floats, error: Floats, box: Floats) -> Floats:
    """Return the density of values that lie evenly between two bounds, seen with an error.

    Shapes: `value`, `error` `float64[C]`, `box` `float64[2, ..., C]` -> `float64[..., C]`.
    """
    low, high = box
    middle, half = (low + high) / 2, np.maximum((high - low) / 2, 0.25 * error)
    steep = STEEP / error
    density: Floats = (expit((value - middle + half) * steep) - expit((value - middle - half) * steep)) / (2 * half)
    return np.maximum(density, 1e-300)


def _shape(moves: Moves, box: tuple[float, float]) -> Floats:
    """Return the density of how one-sided each channel's peaks are; 1 for channels that are as calm as ever."""
    if not moves.peaked.any():
        return np.ones(len(moves.names))
    bounds = np.tile(np.array(box)[:, None], len(moves.names))
    density = _box(moves.lopsided, np.full(len(moves.names), LOPSIDED_ERROR), bounds)
    return np.where(moves.peaked, density, 1.0)


def _flags(moves: Moves, touches: float, freezes: float) -> Floats:
    """Return the probability that each channel touches zero and stands still, as it does or does not."""
    result: Floats = np.where(moves.zero, touches, 1 - touches) * np.where(moves.frozen, freezes, 1 - freezes)
    return result
