"""Rules of how what is normal follows its machine, and how far."""

from dataclasses import replace

import numpy as np
import pytest

from pipelines.detectors.adaptive import HALF
from pipelines.machines.baseline import Baseline, learn
from pipelines.machines.commissioning import NEEDED, Learned, Normal
from pipelines.machines.moments import Moments, measure
from pipelines.signals.summary import scale, terms
from tests.unit.moved import LEVELS, generic, samples
from tests.unit.test_commissioning import (
    HALF_LOAD,
    Values,
    coupled,
    far,
    moments_of,
    own,
    place_of,
    table_of,
    taught,
    two_loads,
)


def lesson(values: Values, normal: Normal) -> Learned:
    """Return what a window judged normal teaches."""
    table = table_of([values], normal)
    return Learned(int(table.point[0]), learn(table.raw[0]), table.summary[0])


def test_a_window_teaches_its_own_load_and_no_other() -> None:
    """One more window at a load moves that load's sums and moments; the other stays the same object."""
    after = two_loads().learning(lesson(coupled(9, HALF_LOAD), two_loads()))
    assert after.points[0] is two_loads().points[0]
    assert after.points[1].baseline.count.max() == 9
    assert moments_of(after, 1).count == 9
    np.testing.assert_array_equal(moments_of(after, 1).origin, moments_of(two_loads(), 1).origin)


def test_what_belongs_elsewhere_teaches_nothing() -> None:
    """A point that is gone and sums of other features change nothing; a summary of other terms only the sums."""
    known, right = own(), lesson(coupled(9), own())
    assert known.learning(right._replace(point=1)) is known
    foreign = Baseline(np.ones(3), np.ones(3), np.ones(3))
    assert known.learning(right._replace(sums=foreign)) is known
    for summary in (None, np.zeros(3)):
        after = known.learning(right._replace(summary=summary))
        assert after.points[0].baseline.count.max() == NEEDED + 1
        assert after.points[0].moments is known.points[0].moments


def drifted(normal: Normal, channel: str, ends: float, windows: int) -> Normal:
    """Return what is normal after a level has moved slowly, where windows that lie near enough teach."""
    for place, level in enumerate(np.linspace(LEVELS[channel], ends, windows)):
        values = coupled(place % 50, {channel: float(level)})
        if far(normal, values)[0] < HALF / 2:
            normal = normal.learning(lesson(values, normal))
    return normal


def test_wear_within_an_hour_is_not_learned() -> None:
    """Flow that falls by a third in a hundred windows is soon too far to teach, and is a fault as it ever was."""
    followed = drifted(own(), "flow", 42.0, 100)
    assert moments_of(followed).count < NEEDED + 10
    assert far(followed, coupled(3, {"flow": 48.0}))[0] > 10 * HALF


def test_normal_is_measured_on_a_leash() -> None:
    """A mean that has gone further than its family allows is taken to stand at the end of the leash, on either side."""
    place, learned = place_of("flow_mean"), moments_of(own())
    leash = float(scale(generic()).leash[place])
    assert leash == pytest.approx(0.06)
    for way in (-1.0, 1.0):
        gone = learned.mean + 0.0
        gone[place] += way * 5 * leash
        at = np.tile(learned.mean, (3, 1))
        at[:, place] += way * leash * np.array([0.0, 1.0, 5.0])
        moments = Moments(learned.count, learned.weight, learned.origin, gone, learned.scatter)
        apart = way * measure(at, [moments] * 3, scale(generic())).apart[:, place]
        assert apart[1] == pytest.approx(0, abs=1e-9)
        assert apart[0] < 0 < apart[2]


def test_warming_up_is_followed() -> None:
    """Oil that warms by some kelvin and stays so becomes normal: it is no farther than the machine ever was."""
    warmer = drifted(own(), "temperature", 51.0, 100)
    place = place_of("temperature_mean")
    assert moments_of(warmer).count > NEEDED + 90
    assert 0.5 < moments_of(warmer).mean[place] - moments_of(own()).mean[place] < 3
    hot = coupled(3, {"temperature": 51.0})
    assert 0.8 * far(own(), hot)[0] > far(warmer, hot)[0]


@pytest.mark.parametrize(
    ("channel", "ends"), [("vibration", 4.0), ("temperature", 1.8), ("flow", 0.6), ("pressure", 0.7)]
)
def test_no_creep_is_slow_enough(channel: str, ends: float) -> None:
    """A level that creeps for as long as it likes is beyond all that normal may follow before it is gone.

    What teaches widens the scatter, and no distance tells it then.
    """
    normal, places = own(), [term.feature for term in terms(generic())]
    for place, level in enumerate(np.linspace(LEVELS[channel], ends * LEVELS[channel], 600)):
        values = coupled(place % 50, {channel: float(level)})
        table = table_of([values], normal)
        strayed = np.abs(table.strayed[0])
        if table.distance[0] < HALF / 2 and (strayed <= 1).all():
            normal = normal.learning(lesson(values, normal))
    assert strayed[places.index(f"{channel}_mean")] > 1
    healthy = [table_of([coupled(seed)], own()).strayed[0] for seed in range(60, 80)]
    assert np.abs(healthy).max() < 1


def test_scatter_grows_no_farther_than_a_share_of_the_leash() -> None:
    """Beyond what commissioning showed, a third of the leash: what fades in slowly is not measured by itself."""
    place, learned = place_of("temperature_mean"), moments_of(own())
    wide = learned.scatter.copy()
    wide[place, place] += learned.weight * 20.0**2
    moments = replace(learned, scatter=wide, shown=learned.learned)
    hot = learned.mean.copy()
    hot[place] += 30.0
    known, loose = (
        measure(hot[None], [each], scale(generic())).apart[0, place] for each in (moments, replace(moments, shown=None))
    )
    assert loose < 2
    assert known > 5
    again = Moments.from_array(moments.to_array())
    np.testing.assert_array_equal(again.learned, moments.learned)
    older = Moments.from_array(moments.to_array()[: -len(hot)])
    np.testing.assert_array_equal(older.learned, np.diagonal(wide) / learned.weight)


def test_short_windows_are_as_healthy_after_a_day_as_at_first() -> None:
    """A machine whose windows are too short to teach their spread keeps the one that it was commissioned with."""
    seeds = [{name: values[:6] for name, values in samples(seed).items()} for seed in range(20)]
    normal = taught(seeds)
    levels = np.array([term.statistic == "mean" for term in terms(generic())])
    short = [{name: values[:6] for name, values in samples(seed).items()} for seed in range(1000, 1040)]
    before = np.median(far(normal, *short))
    for place in range(400):
        learned = lesson(short[place % 40], normal)
        assert learned.summary is not None
        normal = normal.learning(learned._replace(summary=np.where(levels, learned.summary, np.nan)))
    assert np.median(far(normal, *short)) < 2 * before
