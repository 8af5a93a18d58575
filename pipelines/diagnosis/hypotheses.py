"""Names what may be wrong from physics, where no trained detector speaks: hypotheses, each with what speaks for it.

The moves of one window from its own normal are compared with `patterns`. Nothing is named where several fit alike.
"""

from collections.abc import Sequence
from functools import cache, lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.detectors.base import FeatureTable
from pipelines.diagnosis.calibration import expit
from pipelines.diagnosis.evidence import told
from pipelines.diagnosis.moves import Moves, moves_of
from pipelines.diagnosis.patterns import CALM, PATTERNS, QUANTITIES, component_of
from pipelines.diagnosis.rules import at_rest
from pipelines.machines.family import FAMILIES_KEPT, Family
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


class _Fits(NamedTuple):
    """How well H hypotheses explain one window.

    Attributes:
        weights: `float64[H]` logarithms of what each weighs before anything is seen.
        likelihoods: `float64[H]` logarithms.
        channels: `float64[H, C]` logarithms of how well each explains each channel, up to one constant a channel.
    """

    weights: Floats
    likelihoods: Floats
    channels: Floats


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


def hypothesise(family: Family, table: FeatureTable, rows: Sequence[int]) -> list[tuple[Hypothesis, ...]]:
    """Explain anomalous windows, the most plausible hypothesis of each first; none at rest, and without a normal.

    One hypothesis a component: its likeliest fault speaks for it. One that nothing seen speaks for is not told.
    """
    if not rows:
        return []
    resting = at_rest(table.rows(np.array(rows)), family)
    moves = [None if rests else moves_of(family, table, row) for row, rests in zip(rows, resting, strict=True)]
    return [() if each is None else _explained(family, each) for each in moves]


def _explained(family: Family, moves: Moves) -> tuple[Hypothesis, ...]:
    still, anything = _still(moves), _anything(moves)
    calm, open_minded = np.log(still), np.log(anything)
    patterns, sensors = _machine(moves, still), _sensors(moves, calm, open_minded)
    unmeasured = len(QUANTITIES) - len(np.unique(moves.places))
    unknown = np.log(UNEXPLAINED) + unmeasured * np.log(BLIND) + float(open_minded.sum())
    log = np.concatenate([patterns.weights + patterns.likelihoods, sensors.weights + sensors.likelihoods])
    shares = _shares(log, unknown)
    found = []
    for (component, cause), places in _groups(family, len(moves.names)):
        share = float(shares[places].sum())
        if share >= TOLD:
            fault, channel, fits = _best(patterns, sensors, int(places[shares[places].argmax()]), calm, open_minded)
            speaks_for, against = told(moves, fault, fits, calm, open_minded)
            if speaks_for:  # what nothing was seen of is likely by itself alone, and no finding
                name = "" if channel is None else moves.names[channel]
                found.append(Hypothesis(component, fault or cause, share, speaks_for, against, name))
    return tuple(sorted(found, key=lambda hypothesis: -hypothesis.plausibility))


def _best(
    patterns: _Fits, sensors: _Fits, place: int, calm: Floats, open_minded: Floats
) -> tuple[str, int | None, Floats]:
    """Return the fault of one hypothesis, the channel whose sensor is meant, and how well it explains each channel."""
    if place < len(PATTERNS):
        return PATTERNS[place].fault, None, patterns.channels[place]
    sensor, channel = divmod(place - len(PATTERNS), len(calm))
    fits = (open_minded if STUCK[sensor] else calm).copy()
    fits[channel] = sensors.channels[sensor, channel]
    return SENSORS[sensor].fault, channel, fits


@lru_cache(maxsize=4 * FAMILIES_KEPT)  # a family, with as many channels as its systems send
def _groups(family: Family, channels: int) -> tuple[tuple[tuple[str, str], NDArray[np.int64]], ...]:
    """Return, by component and cause, the places of its hypotheses: patterns, then sensors by channel."""
    groups: dict[tuple[str, str], list[int]] = {}
    causes = [(each.fault, each.cause) for each in PATTERNS]
    causes += [(each.fault, "") for each in SENSORS for _ in range(channels)]
    for place, (fault, cause) in enumerate(causes):
        groups.setdefault((component_of(family, fault), cause), []).append(place)
    return tuple((key, np.array(places)) for key, places in groups.items())


def _shares(log: Floats, unknown: float) -> Floats:
    """Return the plausibility of each hypothesis beside one that none of them holds, of the given log-likelihood."""
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


def _machine(moves: Moves, still: Floats) -> _Fits:
    """Fit the patterns of faults, and of changes that are none."""
    sized, spread = _boxes()
    levels = _box(moves.level, moves.level_error, sized[..., moves.places])
    spreads = _box(moves.spread, moves.spread_error, spread[..., moves.places])
    round_ = _stray(_shape(moves, np.array(ROUND)) * _flags(moves, RARE, RARE), moves)
    fits = _stray(levels * spreads[:, None, :], moves) * round_
    # Where a quantity is measured at several places, a fault moves at least one of them and leaves the others.
    joint = np.ones(fits.shape[:2])
    for place in np.unique(moves.places):
        same = np.flatnonzero(moves.places == place)
        joint *= _at_least_one(fits[:, :, same], still[same])
    best = fits[np.arange(len(fits)), joint.argmax(axis=1)]
    return _Fits(_weights(), np.log(np.maximum(joint.mean(axis=1), 1e-300)), np.log(best))


@cache
def _weights() -> Floats:
    """Return the logarithm of what each pattern weighs before anything is seen: `float64[T]`."""
    weights: Floats = np.array([pattern.share * (1.0 if pattern.fault else BENIGN) for pattern in PATTERNS])
    return np.log(weights)


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


# Whether each leaves the rest of the machine open: while a sensor stands still the machine may do anything.
STUCK = np.array([broken.fault == "sensor_stuck" for broken in SENSORS])
DRIFTS = np.array([broken.fault == "sensor_drift" for broken in SENSORS])
RISING = [QUANTITIES.index(name) for name in ("temperature", "vibration")]


@cache
def _of_sensors(name: str) -> Floats:
    """Return a number or bounds of each broken sensor: `float64[K]`, `float64[2, K]`."""
    return np.array([getattr(broken, name) for broken in SENSORS], dtype=np.float64).T


@cache
def _sensor_boxes() -> tuple[Floats, Floats]:
    """Return from where to where each broken sensor's level moves at each size: by ratio, by kelvin.

    Shapes: `float64[2, K, S]` each.
    """
    level, kelvin = (_of_sensors(name)[..., None] * SIZES for name in ("level", "kelvin"))
    return np.log1p(np.maximum(level, -0.95)), kelvin


def _sensors(moves: Moves, calm: Floats, open_minded: Floats) -> _Fits:
    """Fit broken sensors: one channel does what the machine cannot, and all others stay.

    Its hypotheses are K sensors of C channels; `channels` is `float64[K, C]`, of the one whose sensor is meant.
    """
    ratio, kelvin = _sensor_boxes()
    boxes = np.where(moves.kelvin, kelvin[..., None], ratio[..., None])
    levels = _box(moves.level, moves.level_error, boxes).mean(axis=1)
    shown = _box(moves.spread, moves.spread_error, _of_channels(_of_sensors("spread"), moves))
    shape = _shape(moves, _of_sensors("shape"))
    flags = _flags(moves, _of_sensors("touches")[:, None], _of_sensors("freezes")[:, None])
    own = np.log(_stray(levels * shown, moves) * (shape * flags))
    others = np.where(STUCK[:, None], open_minded.sum() - open_minded, calm.sum() - calm)
    share = _of_sensors("share")[:, None] / len(moves.names)
    rises = np.isin(moves.places, RISING) & (moves.level > 0)
    weights = np.log(np.where(DRIFTS[:, None] & rises, share * RISEN, share))
    return _Fits(weights.ravel(), (others + own).ravel(), own)


def _of_channels(box: Floats, moves: Moves) -> Floats:
    """Repeat bounds for each channel: `float64[2, ...]` -> `float64[2, ..., C]`."""
    return np.repeat(box[..., None], len(moves.names), axis=-1)


def _still(moves: Moves) -> Floats:
    """Return how likely each channel is what it is while nothing happens: `float64[C]`."""
    level = _box(moves.level, moves.level_error, np.zeros((2, len(moves.names))))
    spread = _box(moves.spread, moves.spread_error, _of_channels(np.array(CALM), moves))
    result: Floats = _stray(level * spread, moves) * _shape(moves, np.array(ROUND)) * _flags(moves, RARE, RARE)
    return result


def _anything(moves: Moves) -> Floats:
    """Return how likely each channel is what it is under a fault that nobody thought of: `float64[C]`."""
    shape = _shape(moves, np.array((0.0, 1.0))) * _flags(moves, 0.05, 0.05)
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


def _shape(moves: Moves, box: Floats) -> Floats:
    """Return the density of how one-sided each channel's peaks are; 1 for channels that are as calm as ever.

    Shapes: `box` `float64[2, ...]` -> `float64[..., C]`.
    """
    if not moves.peaked.any():
        return np.ones((*box.shape[1:], len(moves.names)))
    density = _box(moves.lopsided, np.full(len(moves.names), LOPSIDED_ERROR), _of_channels(box, moves))
    return np.where(moves.peaked, density, 1.0)


def _flags(moves: Moves, touches: Floats | float, freezes: Floats | float) -> Floats:
    """Return the probability that each channel touches zero and stands still, as it does or does not."""
    result: Floats = np.where(moves.zero, touches, 1 - touches) * np.where(moves.frozen, freezes, 1 - freezes)
    return result
