"""Proposes a machine kind from a file of readings: its channels with units and limits, its rate, its load cycle.

What the file does not say is asked about, and what looks constant, dead or like several machines is told.
"""

from typing import NamedTuple

import numpy as np

from pipelines.errors import InvalidInput
from pipelines.machines.definition import CHANNELS_MAX, WINDOW_MAX_S, ChannelDefinition, Definition, plausible
from pipelines.signals.windows import Floats

# Values that are plausible where a unit does not say it: so many times what the file holds. Source: own choice; a
# fault doubles what a machine shows, and a sensor's range is twice what it is used for.
WIDER = 4.0
# Samples of a window where no load cycle is found, and of one at least. Source: own choice; the statistics of a window
# are known to a tenth of themselves from some fifty samples on.
SAMPLES, SAMPLES_LEAST = 60, 20
# Samples of one that detect takes, the fewest and the most, as shipped. Source: `Limits.values_min`, `Limits.values`.
SAMPLES_TAKEN = 3, 10_000
# Correlation of a channel with itself a cycle later that shows a load cycle. Source: own choice; noise of a thousand
# samples stays below 0.1.
REPEATS = 0.5
# Steps that clocks are set to, times a power of ten, and the share by which late stamps move one. Source: own choice.
STEPS, NEAR = (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.5, 8.0, 9.0, 10.0), 0.01
# Characters of a header that a definition keeps. Source: `ChannelDefinition`.
COLUMN_MAX = 200
# A column whose values differ by less than this share of themselves does not change. Source: doubles.
STILL = 1e-9
# Below this share of the largest value a machine does nothing. Source: own choice; the tenth from which on a signal's
# rise is measured (IEC 60469).
IDLE = 0.1


class Reading(NamedTuple):
    """One column of the file, as a channel.

    Attributes:
        name: Of the channel.
        header: Of the column.
        unit: Canonical; None where the file does not say.
        guess: What a tag's letters may mean.
        values: NaN where there is none.
    """

    name: str
    header: str
    unit: str | None
    guess: str | None
    values: Floats


class Proposal(NamedTuple):
    """A definition, and what people should know before they take it.

    Attributes:
        asked: Columns that are left out until somebody says what they are.
    """

    definition: Definition
    notes: tuple[str, ...]
    asked: tuple[str, ...]


def propose(title: str, readings: list[Reading], step_s: float, taken: tuple[int, int] = SAMPLES_TAKEN) -> Proposal:
    """Return the machine kind that readings show.

    Args:
        title: One line for people.
        readings: Columns of the file.
        step_s: Time from one row to the next; 0 where the file has none.
        taken: Samples of a window that detect takes, the fewest and the most.

    Raises:
        InvalidInput: No column has a unit, or rows come so seldom that no window can be told.
    """
    known = [each for each in readings if each.unit is not None and np.isfinite(each.values).any()]
    asked = tuple(
        f"{each.header!r}: {f'{each.guess}, in which unit' if each.guess else 'which quantity and unit'}?"
        for each in readings
        if each.unit is None
    )
    if not known:
        say = "say what each is by --channel, as pressure='PT101 [bar]'"
        rule = f"must hold a column with a unit; {say}: {'; '.join(asked)}"
        raise InvalidInput("channels", len(readings), rule)
    more, known = known[CHANNELS_MAX:], known[:CHANNELS_MAX]
    rate_hz = 1 / _plain_step(step_s) if step_s > 0 else 1.0
    cycle = max((_cycle(each.values) for each in known), default=0)
    samples = max(cycle, SAMPLES_LEAST) if cycle else SAMPLES
    window_s = _window_s(samples, rate_hz, taken, step_s or 1.0)
    channels, notes = {}, []
    for each in known:
        channels[each.name], told = _channel(each, rate_hz)
        notes += told
    if more:
        names = ", ".join(repr(each.header) for each in more[:5])
        notes.append(f"left out: {len(more)} columns beyond {CHANNELS_MAX} channels, {names}")
    if cycle:
        is_whole = window_s * rate_hz > cycle - 0.5
        what = "is one of them" if is_whole else f"is but {window_s:g} s, the longest that there is"
        notes.append(f"a load cycle of {cycle / rate_hz:g} s: the window {what}")
    if round(window_s * rate_hz) < SAMPLES_LEAST:
        least = f"a faster log, of {SAMPLES_LEAST} or more, tells faults earlier and more surely"
        notes.append(f"a row every {1 / rate_hz:g} s: a window has {round(window_s * rate_hz)} samples; {least}")
    if not step_s:
        notes.append("the file has no time: one sample a second is assumed")
    return Proposal(Definition(title=title, channels=channels, window_s=window_s), tuple(notes), asked)


def _window_s(samples: int, rate_hz: float, taken: tuple[int, int], step_s: float) -> float:
    """Return how long a window of so many samples is, or the nearest that a definition may have.

    Raises:
        InvalidInput: It may have none: the longest window holds fewer samples than detect takes.
    """
    fewest, most = taken
    window_s = round(min(max(max(samples, fewest) / rate_hz, 1.0), most / rate_hz, WINDOW_MAX_S), 3)
    if round(window_s * rate_hz) < fewest:
        window = f"a window is {WINDOW_MAX_S:g} s at most, and of {fewest} samples or more"
        rule = f"must come more often than every {WINDOW_MAX_S / (fewest - 0.5):g} s: {window}"
        raise InvalidInput("time", f"a row every {step_s:g} s", rule)
    return window_s


def _channel(reading: Reading, rate_hz: float) -> tuple[ChannelDefinition, list[str]]:
    """Return a channel, and what is odd about it."""
    values = reading.values[np.isfinite(reading.values)]
    low, high, typical = float(values.min()), float(values.max()), float(np.median(values))
    notes = []
    still = high - low <= STILL * max(abs(high), abs(low))
    if still:
        what = "reads nothing but zero: is it connected?" if high == 0 else f"reads {high:g} throughout: is it stuck?"
        notes.append(f"{reading.name} {what}")
    like = plausible(reading.unit or "")
    reach = _rounded(WIDER * max(abs(low), abs(high), 1e-6))
    bounds = {"low": -reach if low < 0 else 0.0, "high": reach}
    if like is not None and like.low <= low <= high <= like.high:
        bounds = {}
    elif like is not None:
        bounds = {"low": min(like.low, bounds["low"]), "high": max(like.high, reach)}
        notes.append(f"{reading.name} goes from {low:g} to {high:g} {reading.unit}: is the unit right?")
    # What never changes must not lower an answer where it is missing.
    working = values[np.abs(values) > IDLE * max(abs(high), abs(low))]
    if len(working) and abs(typical) <= IDLE * max(abs(high), abs(low)) and (like is None or like.relation == "ratio"):
        notes.append(f"{reading.name} is about zero most of the time: its typical level is that of the rest")
        typical = float(np.median(working))
    given = {
        "unit": reading.unit,
        "typical": _rounded(typical),
        "rate_hz": rate_hz,
        "column": reading.header[:COLUMN_MAX],
    }
    return ChannelDefinition.model_validate(given | bounds | {"required": not still}), notes


def _plain_step(step_s: float) -> float:
    """Return the step that a clock was set to, where one that people set is near; else the step itself."""
    power = 10.0 ** np.floor(np.log10(step_s))
    near = [each * power for each in STEPS if abs(each * power - step_s) <= NEAR * step_s]
    return float(near[0]) if near else step_s


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")


def _cycle(values: Floats) -> int:
    """Return the samples of a load cycle; 0 where nothing repeats.

    By the first peak of the autocorrelation that reaches `REPEATS`, of what is left of slow change.
    """
    filled = values[np.isfinite(values)][:20_000]
    if len(filled) < 4 * SAMPLES_LEAST or np.ptp(filled) == 0:
        return 0
    apart = filled - filled.mean()
    size = 1 << (2 * len(apart) - 1).bit_length()
    spectrum = np.fft.rfft(apart, size)
    alike = np.fft.irfft(spectrum * spectrum.conj(), size)[: len(apart) // 4]
    alike = alike / max(alike[0], 1e-300) * len(apart) / (len(apart) - np.arange(len(alike)))
    below = np.flatnonzero(alike < 0)
    if not len(below):
        return 0
    peaks = np.flatnonzero((alike[1:-1] >= alike[:-2]) & (alike[1:-1] > alike[2:]) & (alike[1:-1] > REPEATS)) + 1
    peaks = peaks[peaks > below[0]]
    return int(peaks[0]) if len(peaks) else 0
