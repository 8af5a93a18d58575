"""Rules of how a machine is commissioned, measured and followed, at each load that it runs at."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.detectors.adaptive import HALF
from pipelines.detectors.base import FeatureTable
from pipelines.errors import InvalidInput
from pipelines.machines.baseline import Baseline
from pipelines.machines.commissioning import (
    FILLED,
    LEAST,
    NEEDED,
    POINTS_MAX,
    USUAL_LEAST,
    Normal,
    OperatingPoint,
    accept,
    commission,
    normals_of,
)
from pipelines.machines.family import Family
from pipelines.machines.moments import Moments
from pipelines.signals.features import CORRELATION, mean_places
from pipelines.signals.reading import make_feature_table
from pipelines.signals.summary import summarise, terms
from pipelines.signals.windows import Floats, Window
from tests.unit.moved import LEVELS, generic, samples

Values = Mapping[str, Floats]


def table_of(windows: Sequence[Values], normal: Normal | None = None, family: Family | None = None) -> FeatureTable:
    """Return the features of windows beside a normal."""
    read = [Window(values, 1.0) for values in windows]
    return make_feature_table(read, [normal] * len(read), family or generic())


def taught(windows: Sequence[Values]) -> Normal:
    """Return what a machine is commissioned as by windows."""
    return commission(table_of(windows).raw, generic())


def far(normal: Normal, *windows: Values) -> list[float]:
    """Return how far windows lie from a normal."""
    found: list[float] = table_of(windows, normal).distance.tolist()
    return found


def healthy(first: int = 100, count: int = NEEDED) -> list[dict[str, Floats]]:
    """Return healthy windows under one load."""
    return [coupled(seed) for seed in range(first, first + count)]


def coupled(seed: int, levels: Mapping[str, float] | None = None) -> dict[str, Floats]:
    """Return a window in which flow falls as pressure rises, as a pump leaks more under load."""
    values = samples(seed, levels)
    values["flow"] = values["flow"] - 0.4 * (values["pressure"] - values["pressure"].mean())
    return values


def scaled(windows: Sequence[Values], factors: Mapping[str, float]) -> list[dict[str, Floats]]:
    return [{name: factors.get(name, 1.0) * values[name] for name in values} for values in windows]


def without(windows: Sequence[Values], *names: str) -> list[dict[str, Floats]]:
    return [{name: each[name] for name in each if name not in names} for each in windows]


@cache
def own() -> Normal:
    """Return the normal of a machine with one load."""
    return taught(healthy())


def moments_of(normal: Normal, point: int = 0) -> Moments:
    found = normal.points[point].moments
    assert found is not None
    return found


def place_of(feature: str) -> int:
    return [term.feature for term in terms(generic())].index(feature)


# --- one faulty window in ten


def broken(fault: str, seed: int) -> dict[str, Floats]:
    """Return a window with a fault that leaves the load as it is."""
    values = coupled(seed)
    changes: dict[str, tuple[str, Floats]] = {
        "flow lost": ("flow", values["flow"] - 15),
        "heat": ("temperature", values["temperature"] + 20),
        "noise": ("vibration", 1.2 + 5 * (values["vibration"] - 1.2)),
        "stuck": ("flow", np.full(30, 60.0)),
        "a little of everything": ("vibration", values["vibration"] * 1.5),
    }
    if fault == "a little of everything":
        values |= {"flow": values["flow"] * 0.9, "pressure": values["pressure"] * 1.1}
    name, samples_now = changes[fault]
    return values | {name: samples_now}


@pytest.mark.parametrize("fault", ["flow lost", "heat", "noise", "stuck", "a little of everything"])
def test_one_faulty_window_in_ten_does_not_spoil_what_is_normal(fault: str) -> None:
    """The faulty two of twenty are left out: the fault is as far as without them, and healthy windows as near."""
    spoilt = taught([*healthy(count=9), broken(fault, 1), *healthy(109, 9), broken(fault, 2)])
    clean = taught([*healthy(count=9), *healthy(109, 9)])
    assert spoilt.left_out == 2
    assert spoilt.points[0].baseline.count.max() == 18
    for seed in range(300, 310):
        assert far(spoilt, coupled(seed)) == far(clean, coupled(seed))
        assert far(spoilt, broken(fault, seed)) == far(clean, broken(fault, seed))
        assert far(spoilt, broken(fault, seed))[0] > HALF
    assert spoilt.usual == clean.usual


def test_a_machine_that_varies_loses_no_more_than_one_window_in_ten() -> None:
    """Where four of twenty are unlike the others the machine is one that varies: two are left out, and no more."""
    varied = taught([*healthy(count=16), *(broken("heat", seed) for seed in range(4))])
    assert varied.left_out <= 2
    assert far(varied, broken("heat", 9))[0] < HALF


def test_of_a_steady_machine_nothing_is_left_out() -> None:
    """Windows as far out as healthy ones lie teach as all others do."""
    assert own().left_out == 0
    assert own().points[0].baseline.count.tolist() == [NEEDED] * len(own().points[0].baseline.count)
    assert [max(far(own(), *healthy(500, 40))) < HALF, min(far(own(), *healthy(500, 40))) > 0] == [True, True]


def test_too_few_windows_teach_nothing() -> None:
    """Fewer than people may commission from are refused; so are windows of which no two show the same channel."""
    taught(healthy(count=LEAST))
    with pytest.raises(InvalidInput, match=r"at least 6"):
        taught(healthy(count=LEAST - 1))
    odd = [{name: values[name]} for values in healthy() for name in ("pressure", "flow")]
    with pytest.raises(InvalidInput, match="more than half"):
        taught(odd)


def test_what_is_usual_is_told_by_windows_that_did_not_teach_it() -> None:
    """One in ten windows lies beyond, each measured by the others; one measured by itself as well lies nearer."""
    of_itself = float(np.quantile(far(own(), *healthy()), 0.9))
    assert own().usual > 1.2 * of_itself
    later = np.array(far(own(), *healthy(1000, 300)))
    assert 0.02 < (later > own().usual).mean() < 0.35


def test_a_machine_that_stood_still_may_flicker() -> None:
    """Where every commissioning window was the same, the last digit of a sensor is not unusual."""
    at = {name: np.full(30, level) for name, level in LEVELS.items()}
    still = taught([at] * NEEDED)
    assert still.usual == USUAL_LEAST
    flicker = at | {"temperature": at["temperature"] + 0.1 * np.resize([0.0, 1.0], 30)}
    table = table_of([at, flicker], still)
    assert 0 < table.distance[1] < 1
    assert table.unusual.tolist() == [False, False]
    assert far(still, at | {"flow": np.full(30, 50.0)})[0] > HALF


# --- units and sizes


SIZES: Mapping[str, float] = {"pressure": 10.0, "flow": 7.0, "vibration": 3.0}


@pytest.mark.parametrize("factors", [{"pressure": 10.0}, {"flow": 0.1}, SIZES])
def test_a_machine_of_another_size_lies_as_far_from_its_own_normal(factors: Mapping[str, float]) -> None:
    """A machine at ten times the pressure finds the same loads, leaves out the same windows, and measures the same."""
    idle = [coupled(seed, {"pressure": 60.0, "flow": 31.0}) for seed in range(300, 308)]
    windows = [*healthy(), *idle, broken("heat", 3)]
    asked = [*healthy(500, 5), *(broken(fault, 9) for fault in ("flow lost", "heat", "noise")), idle[0]]
    one, other = taught(windows), taught(scaled(windows, factors))
    mine, theirs = table_of(asked, one), table_of(scaled(asked, factors), other)
    np.testing.assert_allclose(theirs.distance, mine.distance, rtol=1e-6)
    np.testing.assert_allclose(theirs.shares, mine.shares, atol=1e-6)
    assert theirs.point.tolist() == mine.point.tolist()
    assert (len(other.points), other.left_out) == (len(one.points), one.left_out) == (2, 1)
    assert other.usual == pytest.approx(one.usual)


# --- what is missing


@pytest.mark.parametrize(
    "lacks", [("vibration",), ("flow",), ("pressure",), ("temperature", "flow"), ("flow", "pressure")]
)
def test_a_channel_that_is_not_sent_is_not_judged(lacks: tuple[str, ...]) -> None:
    """A machine commissioned with all channels is as near its normal without some: they say nothing, nor do pairs."""
    distances = far(own(), *without(healthy(500, 20), *lacks))
    assert np.median(distances) < 1.5
    assert sum(distance > HALF for distance in distances) <= 1
    if "flow" not in lacks:
        assert far(own(), *without([broken("flow lost", 3)], *lacks))[0] > HALF


def test_a_machine_without_a_channel_is_commissioned_without_it() -> None:
    """What it never sent is not known; when it comes later it is not judged, and warns nobody meanwhile."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        deaf = taught(without(healthy(), "vibration", "flow"))
        table = table_of(healthy(500, 5), deaf)
    known = np.isfinite(moments_of(deaf).mean)
    assert {term.feature for term, told in zip(terms(generic()), known, strict=True) if not told} == {
        CORRELATION,
        *(f"{name}_{word}" for name in ("vibration", "flow") for word in ("mean", "std", "step")),
    }
    assert (table.shares[:, ~known] == 0).all()
    assert table.distance.max() < HALF
    assert np.isfinite(deaf.usual)
    assert far(deaf, broken("heat", 3))[0] > HALF


def test_a_window_with_an_odd_channel_does_not_stop_commissioning() -> None:
    """Windows that show nothing of what the others do are left out, and do not decide what is normal."""
    odd = [{"vibration": values["vibration"]} for values in healthy(400, 2)]
    found = taught([*without(healthy(count=18), "vibration"), *odd])
    clean = taught(without(healthy(count=18), "vibration"))
    assert found.left_out == 2
    assert far(found, *healthy(500, 5)) == far(clean, *healthy(500, 5))


def test_single_samples_are_levels() -> None:
    """A machine that sends one sample at a time has no steps, and is judged by its levels."""
    single = [{name: values[:1] for name, values in each.items()} for each in healthy()]
    found = taught(single)
    assert np.isnan(moments_of(found).mean[place_of("flow_step")])
    assert np.isfinite(moments_of(found).mean[place_of("flow_mean")])
    lost, well = ({name: values[:1] for name, values in each.items()} for each in (broken("flow lost", 3), coupled(4)))
    assert far(found, lost)[0] > HALF > far(found, well)[0]


def test_a_machine_at_rest_can_be_commissioned() -> None:
    """Zero on every channel is a level as any other: rest is near, work is far, and nothing is infinite."""
    at_rest = [{name: np.zeros(30) for name in LEVELS}] * NEEDED
    found = taught(at_rest)
    assert np.isfinite(moments_of(found).mean).all()
    assert far(found, at_rest[0])[0] == pytest.approx(0)
    assert far(found, coupled(1))[0] > HALF


channels = st.sets(st.sampled_from(list(LEVELS)), min_size=1)


@settings(max_examples=25, deadline=None)
@given(st.lists(channels, min_size=LEAST, max_size=12), st.sampled_from([1, 2, 30]), st.sampled_from([0.0, 1.0, 40.0]))
def test_whatever_teaches_no_window_is_judged_by_what_is_not_a_number(
    sent: list[set[str]], count: int, factor: float
) -> None:
    """Any channels in any windows, at rest or at work, of any length: what is normal is told in numbers, or refused."""
    windows = [
        {name: factor * samples(seed)[name][:count] for name in sorted(names)} for seed, names in enumerate(sent)
    ]
    try:
        normal = taught(windows)
    except InvalidInput:
        return
    assert normal.usual >= USUAL_LEAST
    table = table_of([*windows, coupled(1)], normal)
    known = np.isfinite(table.summary) & [np.isfinite(moments_of(normal, int(point)).mean) for point in table.point]
    assert (np.isfinite(table.distance) == known.any(axis=1)).all()
    assert (table.distance[known.any(axis=1)] >= 0).all()
    assert np.isfinite(table.shares).all()
    assert table.commissioned.all()
    again = Normal.from_bytes(normal.to_bytes())
    assert again.to_bytes() == normal.to_bytes()


# --- operating points

HALF_LOAD = {"pressure": 80.0, "flow": 62.0}


@cache
def two_loads() -> Normal:
    """Return the normal of a press that works twelve windows of twenty, and holds half its load for the others."""
    light = [coupled(seed, HALF_LOAD) for seed in range(300, 308)]
    return taught([*healthy(count=12), *light])


def test_each_load_has_its_own_normal() -> None:
    """A window is set against the load it lies nearest to; what is healthy at one load is not at the other."""
    assert [point.baseline.count.max() for point in two_loads().points] == [12, 8]
    table = table_of([coupled(1), coupled(2, HALF_LOAD)], two_loads())
    assert table.point.tolist() == [0, 1]
    assert table.distance.max() < HALF
    place = mean_places(generic())["pressure"]
    np.testing.assert_allclose(table.centre[:, place], [160, 80], rtol=0.01)
    lost = coupled(3, HALF_LOAD | {"flow": 50.0})
    assert table_of([lost], two_loads()).point.tolist() == [1]
    assert far(two_loads(), lost, coupled(4, {"pressure": 115.0}))[0] > HALF


def test_what_few_windows_of_a_load_did_not_show_is_lent_by_the_others() -> None:
    """A load of eight windows is measured with the scatter of all twenty; a single load is lent nothing."""
    small = moments_of(two_loads(), 1)
    assert (small.count, small.weight) == (8, FILLED)
    alone = Moments.of(summarise(table_of([coupled(seed, HALF_LOAD) for seed in range(300, 308)]).raw, generic()))
    assert (np.diagonal(small.scatter) > np.diagonal(alone.scatter)).all()
    assert moments_of(own()).weight == NEEDED
    np.testing.assert_allclose(small.mean, alone.mean)


def test_one_point_alone_measures_as_among_the_others() -> None:
    """What a window that belongs to a point is judged by is that point, and all else of the normal stays."""
    alone = two_loads().at(1)
    assert (len(alone.points), alone.usual, alone.left_out) == (1, two_loads().usual, two_loads().left_out)
    assert far(alone, coupled(2, HALF_LOAD)) == far(two_loads(), coupled(2, HALF_LOAD))
    assert own().at(0) is own()


def test_people_accept_a_load_that_commissioning_did_not_show() -> None:
    """The accepted load is one more point, with the machine's scatter until its own is known; all others stay."""
    light = [coupled(seed, HALF_LOAD) for seed in range(300, 303)]
    wider = accept(own(), table_of(light).raw, generic())
    assert far(own(), coupled(9, HALF_LOAD))[0] > HALF > far(wider, coupled(9, HALF_LOAD))[0]
    assert wider.points[0] is own().points[0]
    assert (moments_of(wider, 1).count, moments_of(wider, 1).weight) == (3, FILLED)
    assert far(wider, coupled(8)) == far(own(), coupled(8))
    assert (wider.usual, wider.left_out) == (own().usual, own().left_out)
    one = accept(own(), table_of(light[:1]).raw, generic())
    assert far(one, coupled(9, HALF_LOAD))[0] < HALF


def test_loads_are_accepted_up_to_a_number() -> None:
    """Every window is measured at every point of its system: their number bounds what it costs."""
    light = table_of([coupled(seed, HALF_LOAD) for seed in range(300, 303)]).raw
    full = replace(own(), points=own().points * POINTS_MAX)
    with pytest.raises(InvalidInput, match=f"more than {POINTS_MAX}"):
        accept(full, light, generic())
    assert len(accept(replace(full, points=full.points[1:]), light, generic()).points) == POINTS_MAX


def test_an_accepted_load_shows_every_channel_of_the_normal() -> None:
    """A point that knows no flow would lie near every window of its pressure, whatever has become of the flow."""
    light = [coupled(seed, HALF_LOAD) for seed in range(300, 304)]
    halves = light[:2] + without(light[2:], "flow")
    for windows in (without(light, "flow"), halves):
        with pytest.raises(InvalidInput, match="show flow"):
            accept(own(), table_of(windows).raw, generic())
    assert len(accept(own(), table_of(light + halves).raw, generic()).points) == 2
    fewer = taught(without(healthy(), "flow"))
    assert len(accept(fewer, table_of(without(light, "flow")).raw, generic()).points) == 2


def test_a_load_is_not_accepted_beside_what_was_learned_on_other_features() -> None:
    """What other features say cannot be kept beside it; the system is commissioned anew."""
    known = own().points[0]
    fewer = [part[:-1] for part in (known.baseline.count, known.baseline.total, known.baseline.squares)]
    other = Normal((OperatingPoint(Baseline(*fewer), known.moments),))
    with pytest.raises(InvalidInput, match="this version"):
        accept(other, table_of(healthy(count=3)).raw, generic())


def test_running_sums_stay_running_sums_when_a_load_is_accepted() -> None:
    """A system that was never commissioned has points of one kind, and its bytes come back."""
    sums = Normal.of(own().points[0].baseline)
    wider = accept(sums, table_of([coupled(seed, HALF_LOAD) for seed in range(300, 303)]).raw, generic())
    assert [point.moments for point in wider.points] == [None, None]
    assert Normal.from_bytes(wider.to_bytes()).to_bytes() == wider.to_bytes()


# --- what the store keeps


def test_a_normal_comes_back_bit_for_bit() -> None:
    """All points, their moments, what is not known and what is usual; and the same again measures the same."""
    for normal in (own(), two_loads(), taught(without(healthy(), "flow")), Normal.of(own().points[0].baseline)):
        again = Normal.from_bytes(normal.to_bytes())
        assert again.to_bytes() == normal.to_bytes()
        assert (len(again.points), again.left_out, again.usual) == (len(normal.points), normal.left_out, normal.usual)
        for mine, theirs in zip(normal.points, again.points, strict=True):
            assert (mine.moments is None) == (theirs.moments is None)
            if mine.moments is not None and theirs.moments is not None:
                np.testing.assert_array_equal(mine.moments.to_array(), theirs.moments.to_array())
        assert far(again, *healthy(500, 3)) == far(normal, *healthy(500, 3))


def test_running_sums_of_before_are_read_as_a_normal() -> None:
    """What was stored before systems were commissioned is one point without moments."""
    sums = own().points[0].baseline
    read = Normal.from_bytes(sums.to_bytes())
    assert (len(read.points), read.points[0].moments, read.usual) == (1, None, np.inf)
    assert read.points[0].baseline.to_bytes() == sums.to_bytes()
    (kept, none) = normals_of([sums, None])
    assert kept is not None
    assert (kept.to_bytes(), none) == (Normal.of(sums).to_bytes(), None)
