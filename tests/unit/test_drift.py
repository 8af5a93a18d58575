"""Rules of drift: what is found and how soon, what is not, and what a system may take."""

from collections.abc import Callable

import numpy as np
import pytest

from pipelines.datasets.simulator import HEALTHY, simulate
from pipelines.diagnosis.calibration import expit, logit
from pipelines.drift.charts import BLOCK, CLIP, CORRELATION_MAX, REFERENCE, RUN, SHIFT, TOLERANCE, threshold
from pipelines.drift.fleet import FleetMonitor, drifting
from pipelines.drift.monitor import DriftMonitor, DriftState, streams, watched, watched_of
from pipelines.machines.baseline import Baseline, learn
from pipelines.machines.family import read_family
from pipelines.signals.features import feature_names, mean_places
from pipelines.signals.reading import make_feature_table
from pipelines.signals.windows import Floats

FAMILY = read_family("generic")
K = len(streams(FAMILY))
FIRST = BLOCK * REFERENCE
FEW = -(-threshold(2 * K) // (SHIFT * (CLIP - TOLERANCE) - SHIFT * SHIFT / 2))  # blocks that a great change takes


def rows_of(count: int, seed: int = 1) -> Floats:
    return np.random.default_rng(seed).normal(10, 1, (count, K))


def scores_of(count: int, seed: int = 2) -> Floats:
    return np.random.default_rng(seed).beta(1, 9, count)


def seen(rows: Floats, scores: Floats | None = None) -> DriftMonitor:
    monitor = DriftMonitor.new(FAMILY, "7")
    monitor.observe(rows, scores_of(len(rows)) if scores is None else scores)
    return monitor


def test_a_false_alarm_is_as_rare_as_stated() -> None:
    """Within n blocks at most n in RUN systems without a change have an alarm of a kind, whatever neighbours share."""
    blocks, systems = 60, 100
    stated = systems * blocks / RUN
    for correlation in (0.0, CORRELATION_MAX):
        found = 0
        for seed in range(systems):
            noise = np.random.default_rng(seed).normal(size=(FIRST + blocks * BLOCK, K))
            for number in range(1, len(noise)):
                noise[number] = correlation * noise[number - 1] + np.sqrt(1 - correlation**2) * noise[number]
            found += seen(noise).state().drifting
        assert found <= stated


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda rows: rows + 3 * np.eye(K)[0], f"{streams(FAMILY)[0]}, up"),
        (lambda rows: rows - 3 * np.eye(K)[3], f"{streams(FAMILY)[3]}, down"),
        (lambda rows: rows * np.where(np.arange(K) == 2, 1.5, 1.0), f"{streams(FAMILY)[2]}, up"),
    ],
)
def test_a_great_change_is_found_in_four_blocks_and_named(change: Callable[[Floats], Floats], what: str) -> None:
    """One stream that moves by three deviations of a window is found at once, by name, side and beginning."""
    rows = rows_of(FIRST + int(FEW) * BLOCK)
    rows[FIRST:] = change(rows[FIRST:])
    found = seen(rows).state().of("input")
    assert FEW == 4
    assert (found.drifting, found.what, found.since) == (True, what, len(rows) - FIRST)
    assert not seen(rows[:-BLOCK]).state().drifting
    assert not seen(rows).state().of("score").drifting


def test_a_slow_ramp_is_found() -> None:
    """A hundredth of a deviation more each window is found within 200 windows."""
    rows = rows_of(FIRST + 200)
    rows[FIRST:, 1] += 0.01 * np.arange(200)
    assert seen(rows).state().of("input").drifting


def test_a_shift_of_the_scores_is_found() -> None:
    """Scores that come to lie higher are a drift of the score, and of nothing else."""
    count = FIRST + 5 * BLOCK
    scores = scores_of(count)
    scores[FIRST:] = expit(logit(scores[FIRST:]) + 3)
    state = seen(rows_of(count), scores).state()
    assert [drift.kind for drift in state.drifts if drift.drifting] == ["score"]
    assert state.of("score").what == "score, up"


def test_an_alarm_ends_when_the_change_has_gone() -> None:
    """However long a change lasts, a system that is back is quiet again within seven blocks."""
    rows = rows_of(FIRST + 1000 + 8 * BLOCK)
    rows[FIRST : FIRST + 1000, 0] += 5
    assert seen(rows[: FIRST + 1000]).state().drifting
    assert not seen(rows).state().drifting


def test_missing_channels_and_abstentions_are_no_drift() -> None:
    """What is not known says nothing: a channel that goes, one that never was, and scores of windows nobody judged."""
    rows = rows_of(FIRST + 240)
    rows[:, 0] = np.nan
    rows[FIRST:, 1] = np.nan
    scores = scores_of(len(rows))
    scores[FIRST:] = np.nan
    assert not seen(rows, scores).state().drifting
    assert not seen(rows, np.full(len(rows), np.nan)).state().drifting


def test_nothing_is_said_before_there_is_a_reference() -> None:
    """The first blocks are the reference, whatever they hold."""
    state = seen(np.linspace(0, 1e3, FIRST - 1)[:, None] * np.ones(K)).state()
    assert not state.drifting
    assert not state.of("input").ready
    assert seen(rows_of(FIRST)).state().of("input").ready


def test_windows_may_come_in_any_batches() -> None:
    """A monitor knows the same whether windows come one by one or all at once."""
    rows, scores = rows_of(FIRST + 50), scores_of(FIRST + 50)
    monitor = DriftMonitor.new(FAMILY, "7")
    for place in range(len(rows)):
        monitor.observe(rows[place : place + 1], scores[place : place + 1])
    assert monitor.state() == seen(rows, scores).state()


def size(monitor: DriftMonitor) -> int:
    levels = monitor.levels
    arrays = [levels.pending, levels.blocks, levels.scale, levels.freedom, levels.chart.height, levels.chart.age]
    return sum(array.nbytes for array in arrays)


def test_memory_is_bounded() -> None:
    """A system takes no more than 4 kB, and no more after ten thousand windows than after its reference."""
    monitor = DriftMonitor.new(FAMILY, "7")
    sizes = []
    for number in range(60):
        monitor.observe(rows_of(167, number), scores_of(167, number))
        sizes.append(size(monitor))
    assert max(sizes) < 4096
    assert max(sizes[10:]) <= max(sizes[:10])


def test_a_watch_forgets_who_was_not_seen_longest() -> None:
    """A replica watches no more systems than it may."""
    watch = FleetMonitor(FAMILY, systems_max=3)
    for system in ("a", "b", "c", "a", "d"):
        watch.observe([system], rows_of(1), scores_of(1))
    assert [state.system for state in watch.states()] == ["", "c", "a", "d"]


def confirmed(shift: float, slope: float, count: int, seed: int) -> DriftState:
    random = np.random.default_rng(seed)
    stated = random.beta(0.5, 0.8, count)
    truth = random.random(count) < expit(shift + slope * logit(stated))
    monitor = DriftMonitor.new(FAMILY, "7")
    for probability, is_anomaly in zip(stated.tolist(), truth.tolist(), strict=True):
        monitor.confirm(probability, is_anomaly)
    return monitor.state()


def test_calibrated_probabilities_are_no_drift() -> None:
    """In 30 times 300 judgements of calibrated probabilities there are no more alarms than one in RUN judgements."""
    found = sum(confirmed(0.0, 1.0, 300, seed).drifting for seed in range(30))
    assert found <= 30 * 300 / RUN


@pytest.mark.parametrize(
    ("shift", "slope", "words"),
    [(1.5, 1.0, "too low"), (-1.5, 1.0, "too high"), (0.0, 0.4, "too sure"), (0, 2.5, "unsure")],
)
def test_miscalibration_is_found_and_named(shift: float, slope: float, words: str) -> None:
    """Probabilities that no longer hold are found within 300 judgements, and it is said how they err."""
    found = confirmed(shift, slope, 300, 3).of("calibration")
    assert found.drifting
    assert words in found.what
    assert 0 < found.since <= 300


def baseline_at(level: float) -> Baseline:
    """Return a baseline whose origin is 100 bar and whose present level is another."""
    place = mean_places(FAMILY)["pressure"]
    table = np.random.default_rng(4).normal(100, 1, (50, len(feature_names(FAMILY))))
    learned = [learn(row) for row in table]
    found = sum(learned[1:], learned[0])
    for noise in np.random.default_rng(5).normal(0, 1, 2000):
        row = np.full(len(found.count), np.nan)
        row[place] = level + noise
        found = found + learn(row)
    return found


def test_a_baseline_that_has_moved_is_a_drift() -> None:
    """The system's own normal is compared with where it first settled; since when is counted in windows."""
    monitor = seen(rows_of(20))
    monitor.meet(baseline_at(100.1))
    state = monitor.state().of("baseline")
    assert (state.ready, state.drifting) == (True, False)
    monitor.meet(baseline_at(140.0))
    monitor.observe(rows_of(30), scores_of(30))
    state = monitor.state().of("baseline")
    assert (state.drifting, state.what, state.since) == (True, "pressure normal", 30)
    monitor.meet(None)
    assert monitor.state().of("baseline").drifting


def test_a_family_drifts_when_many_of_its_systems_do() -> None:
    """One system of five is its own affair, two of five are the family's; reasons say so in words."""
    watch = FleetMonitor(FAMILY)
    names = [str(number) for number in range(5)]

    def feed(count: int, moved: int) -> None:
        for number in range(count):
            rows = rows_of(5, number)
            rows[:moved, 0] += 6
            watch.observe(names, rows, scores_of(5, number))

    feed(FIRST, 0)
    assert drifting(watch.states()) == []
    feed(6 * BLOCK, 1)
    assert [words.split(":")[0] for words in drifting(watch.states())] == ["input drift of system 0"]
    feed(6 * BLOCK, 2)
    (family, *systems) = drifting(watch.states())
    assert family.startswith("input drift of family generic: 2 of 5 systems, most often pressure level, up")
    assert len(systems) == 2


def test_the_family_hears_feedback_of_all_systems() -> None:
    """Feedback is scarce: the calibration of a family is judged by that of all its systems together."""
    watch = FleetMonitor(FAMILY)
    for number in range(60):
        watch.confirm(str(number), 0.9, False)
    states = watch.states()
    assert states[0].of("calibration").what.startswith("probabilities stated too high")
    assert not any(state.drifting for state in states[1:])


def test_a_summary_is_the_same_from_samples_and_from_features() -> None:
    """Without a table the gateway computes what the features say: mean and deviation of each channel."""
    windows = [simulate(HEALTHY, 0.0, samples, samples) for samples in (3, 5, 60)]
    del windows[1].values["flow"]  # type: ignore[attr-defined]
    raw = make_feature_table(windows, [None] * 3, FAMILY).raw
    np.testing.assert_allclose(watched_of(windows, FAMILY), watched(raw, FAMILY), rtol=1e-12)


def test_levels_that_no_detector_reads_are_not_watched() -> None:
    """The water loop's temperature names the day and not the machine: its spread alone is watched."""
    names = [str(stream) for stream in streams(read_family("water-loop"))]
    assert "temperature spread" in names
    assert "temperature level" not in names
