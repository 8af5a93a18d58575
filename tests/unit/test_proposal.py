"""Rules of proposing a machine kind from readings: what is found, what is asked, and what is told."""

import numpy as np
import pytest

from pipelines.errors import InvalidInput
from pipelines.machines.proposal import Reading, propose
from pipelines.signals.windows import Floats


def noise(level: float, count: int = 1200, share: float = 0.01) -> Floats:
    return np.random.default_rng(round(level)).normal(level, share * level, count)


def reading(name: str, unit: str | None, values: Floats, guess: str | None = None) -> Reading:
    return Reading(name, f"{name} [x]", unit, guess, values)


def test_units_rate_and_levels_are_read() -> None:
    """Limits are those of the unit where it is known, else four times what the file holds; the rest is left to HDX."""
    found = propose("Press", [reading("pressure", "psi", noise(2600)), reading("speed", "rpm", noise(1480))], 2.0)
    pressure, speed = (found.definition.channels[name] for name in ("pressure", "speed"))
    assert (pressure.bounds, pressure.low) == ((0.0, 10150.0), None)
    assert pressure.typical == pytest.approx(2600, rel=0.01)
    assert (speed.low, speed.rate_hz) == (0.0, 0.5)
    assert speed.high == pytest.approx(6100, rel=0.05)
    assert (found.definition.window_s, found.asked, found.notes) == (120, (), ())


def test_late_stamps_are_no_rate_of_their_own() -> None:
    """A step near one that clocks are set to is that one; another is taken as it is."""
    shown = [reading("pressure", "bar", noise(180))]
    rates = [propose("Press", shown, step).definition.channels["pressure"].rate_hz for step in (1.001, 0.0996, 59.9)]
    assert rates == [1.0, 10.0, pytest.approx(1 / 60)]
    assert propose("Press", shown, 1.37).definition.channels["pressure"].rate_hz == pytest.approx(1 / 1.37)


def test_a_load_cycle_is_the_window() -> None:
    """A press that strokes every 24 s is judged by whole strokes; noise and slow drift repeat nothing."""
    place = np.arange(1200)
    strokes = np.where(place % 24 < 9, 190.0, 40.0) + noise(2, 1200)
    found = propose("Press", [reading("pressure", "bar", strokes)], 1.0)
    assert found.definition.window_s == 24
    assert found.notes == ("a load cycle of 24 s: the window is one of them",)
    drift = 40 + 0.01 * place + noise(1)
    assert propose("Unit", [reading("oil", "degC", drift)], 1.0).definition.window_s == 60


def test_a_slow_log_is_proposed_as_far_as_there_are_windows_of_it() -> None:
    """A window is a day at most: of the few samples that it has people are told, and where they are too few, why."""
    shown = [reading("pressure", "bar", noise(180))]
    for step_s, samples in ((600.0, 60), (3600.0, 24), (7200.0, 12), (8 * 3600.0, 3), (34_000.0, 3)):
        found = propose("Press", shown, step_s)
        assert round(found.definition.window_s / step_s) == samples
        assert any(f"a window has {samples} samples" in note for note in found.notes) == (samples < 20)
    for step_s in (34_561.0, 12 * 3600.0, 86_400.0, 30 * 86_400.0, 300 * 86_400.0):
        with pytest.raises(InvalidInput, match="time: must come more often than every 34560 s: a window is 86400 s"):
            propose("Press", shown, step_s)
    cycle = np.tile([190.0] * 20 + [40.0] * 40, 20)
    (told, *_) = propose("Press", [reading("pressure", "bar", cycle)], 3600.0).notes
    assert told == "a load cycle of 216000 s: the window is but 86400 s, the longest that there is"


def test_a_window_is_one_that_the_service_takes() -> None:
    """Where it takes fewer samples than as shipped, or wants more."""
    shown = [reading("pressure", "bar", noise(180))]
    windows = [propose("Press", shown, 2.0, taken).definition.window_s for taken in ((3, 40), (3, 100), (90, 100))]
    assert windows == [80, 120, 180]
    with pytest.raises(InvalidInput, match="of 90 samples or more"):
        propose("Press", shown, 3600.0, (90, 100))


def test_what_is_odd_is_told_and_what_is_not_known_is_asked() -> None:
    """Stuck and dead channels, values that no machine of such a unit shows, and columns without a unit."""
    readings = [
        reading("pressure", "bar", noise(180)),
        reading("flow", "l/min", np.full(1200, 61.2)),
        reading("drain", "l/min", np.zeros(1200)),
        reading("supply", "bar", noise(2600)),
        reading("PT101", None, noise(5), "pressure"),
        reading("X7", None, noise(5)),
    ]
    found = propose("Unit", readings, 0.0)
    channels = found.definition.channels
    assert [channels[name].required for name in ("pressure", "flow", "drain")] == [True, False, False]
    assert channels["supply"].high == pytest.approx(10700, rel=0.05)
    assert found.asked == ("'PT101 [x]': pressure, in which unit?", "'X7 [x]': which quantity and unit?")
    told = "\n".join(found.notes)
    for part in (
        "flow reads 61.2 throughout: is it stuck?",
        "drain reads nothing but zero",
        "is the unit right?",
        "no time",
    ):
        assert part in told
    with pytest.raises(InvalidInput, match="X7"):
        propose("Unit", readings[5:], 1.0)


def test_gaps_and_short_files_are_taken() -> None:
    """Missing readings are no values, and a file of some seconds gives a kind all the same."""
    values = noise(180)
    values[::7] = np.nan
    assert propose("Unit", [reading("pressure", "bar", values)], 1.0).definition.channels["pressure"].typical
    assert propose("Unit", [reading("pressure", "bar", noise(180, 5))], 0.001).definition.window_s == 1
    assert propose("Unit", [reading("pressure", "bar", noise(180, 5))], 2e-5).definition.window_s == 0.2
