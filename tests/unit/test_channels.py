"""Rules of a body's arrays on their way to a window."""

import pickle
from dataclasses import replace

import numpy as np
import pytest

from configs.settings import Limits
from pipelines.diagnosis.records import Inspection, Quality
from pipelines.errors import InvalidInput
from pipelines.machines.commissioning import Normal
from pipelines.signals.channels import read_window
from pipelines.signals.features import mean_places
from pipelines.signals.quality import qualities, quality, still_channels
from pipelines.signals.reading import make_feature_table
from pipelines.signals.windows import Window, stored_window, to_store
from tests.contract.examples import family, normal, window

GOOD = [100.5, 101.2, 99.8, 100.1]


def refused(data: dict[str, object], sampling_hz: float | None = None, field: str = "sensor_data") -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        read_window(data, sampling_hz, family(), Limits(), field)
    return caught.value


def test_a_good_body_becomes_a_window() -> None:
    """Values keep their order, whole numbers are numbers, and channels come in the family's order."""
    read = read_window({"flow": [25, 24.5, 25, 26], "pressure": GOOD}, 2.0, family(), Limits())
    assert list(read.values) == ["pressure", "flow"]
    assert read.values["pressure"].tolist() == GOOD
    assert read.values["flow"].dtype == np.float64
    assert (read.rate_hz, read.samples, read.seconds) == (2.0, 4, 2.0)


def test_arrays_and_tuples_are_read() -> None:
    """Offline code may hand over numpy arrays and tuples."""
    read = read_window({"pressure": np.array(GOOD, dtype=np.float32), "flow": (25.0,) * 4}, None, family(), Limits())
    np.testing.assert_allclose(read.values["pressure"], GOOD, rtol=1e-6)


def test_no_rate_means_the_family_rate() -> None:
    """Without a rate the family's own one counts."""
    assert read_window({"pressure": GOOD}, None, family(), Limits()).rate_hz == 1.0


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        ("101.2", "must be a number"),
        (True, "must be a number"),
        ([1.0], "must be a number"),
        (float("nan"), "must be finite"),
        (float("inf"), "must be finite"),
        (float("-inf"), "must be finite"),
        (10**400, "must be finite"),
        (-0.1, "must be between 0 and 700 bar"),
        (701, "must be between 0 and 700 bar"),
        (1e308, "must be between 0 and 700 bar"),
    ],
)
def test_one_bad_value_is_named(value: object, rule: str) -> None:
    """The first value that breaks a rule is named by its place."""
    error = refused({"pressure": [*GOOD[:3], value, *GOOD]})
    assert (error.field, error.rule) == ("sensor_data.pressure[3]", rule)


def test_a_null_is_a_missing_sample() -> None:
    """Up to a fifth of a channel: it stands on the line between its neighbours, and is told; more are refused."""
    given = [100.0, None, 102.0, 103.0, None, 105.0, 106.0, 107.0, 108.0, None, None, None, 112.0, 113.0, 114.0]
    told = refused({"pressure": given})
    rule = "must be a number: at most 20% may be missing, and 5 of 15 are null"
    assert (told.field, told.value, told.rule) == ("sensor_data.pressure[1]", None, rule)
    body = {"pressure": [None, 101.0, None, *range(103, 115)], "flow": [None] * 15, "temperature": [45.0] * 15}
    read = read_window(body, None, family(), Limits())
    assert read.values["pressure"].tolist() == [101.0, 101.0, 102.0, *map(float, range(103, 115))]
    assert ("flow" in read.values, read.missing) == (False, (("pressure", 2),))
    assert pickle.loads(pickle.dumps(read)).missing == read.missing  # noqa: S301 (its own)
    assert stored_window(to_store(read)).missing == read.missing
    assert refused({"pressure": [None] * 5}).rule == "must hold at least one sample that is not null"
    assert refused({"pressure": [None, 701, *GOOD]}).field == "sensor_data.pressure[1]"


@pytest.mark.parametrize("given", [5.0, "123", None, {"0": 1.0}, {1.0, 2.0, 3.0}, np.zeros((3, 3))])
def test_not_an_array(given: object) -> None:
    """A channel that is no flat array is refused by name."""
    error = refused({"pressure": given})
    assert (error.field, error.rule) == ("sensor_data.pressure", "must be an array of numbers")


@pytest.mark.parametrize(
    ("count", "rule"),
    [
        (0, "must have at least 3 values"),
        (2, "must have at least 3 values"),
        (10_001, "must have at most 10000 values"),
    ],
)
def test_too_few_or_too_many_values(count: int, rule: str) -> None:
    """Fewer than three values and more than ten thousand are refused, with their number."""
    error = refused({"pressure": [100.0] * count})
    assert (error.field, error.value, error.rule) == ("sensor_data.pressure", count, rule)


def test_bounds_themselves_are_right() -> None:
    """Three values, ten thousand values, and values at the very bounds are accepted."""
    assert read_window({"pressure": [0, 700, 0.0]}, None, family(), Limits()).samples == 3
    assert read_window({"pressure": [1.0] * 10_000}, 1e5, family(), Limits()).samples == 10_000


def test_unknown_channel() -> None:
    """A channel that the family does not have is named, with those that it has."""
    error = refused({"pressure": GOOD, "presure": GOOD})
    assert error.field == "sensor_data.presure"
    assert "pressure, temperature, flow" in error.rule


def test_no_channel() -> None:
    """An empty body of channels is refused."""
    assert refused({}).field == "sensor_data"


def test_unequal_lengths() -> None:
    """Channels of unequal length are refused, since samples are simultaneous."""
    error = refused({"pressure": GOOD, "flow": [25.0] * 3})
    assert (error.field, error.value, error.rule) == ("sensor_data.flow", 3, "must have as many values as pressure (4)")


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf"), 100_001.0])
def test_bad_rate(rate: float) -> None:
    """A sampling rate is finite, above 0 and at most 1e5."""
    assert refused({"pressure": GOOD}, rate).field == "sampling_hz"


def test_field_is_the_callers() -> None:
    """The path in an error begins as the caller says."""
    assert refused({"pressure": ["x"] * 3}, field="items[2].sensor_data").field == "items[2].sensor_data.pressure[0]"


def rated(inspection: Inspection) -> Quality:
    """Return the quality of one window."""
    table = make_feature_table([inspection.window], [inspection.baseline], family())
    (score,) = qualities(table, np.array([inspection.window.seconds]), family())
    return quality(inspection, family(), float(score), still_channels(table, family())[0])


def test_quality_of_a_whole_window_is_one() -> None:
    """A full window of every required channel has quality 1 and nothing to note, without the extra channel too."""
    values = {name: samples for name, samples in window(1).values.items() if name != "motor_current"}
    found = rated(Inspection(Window(values, 1.0), "made-up", normal()))
    assert (found.score, found.missing, found.notes) == (1.0, (), ())


def test_each_lack_lowers_quality_and_is_noted() -> None:
    """Shortness, a missing channel, a constant channel and a missing baseline each cost and are each said."""
    short = Window({"pressure": np.array([100.0, 100.0, 100.0])}, 1.0)
    found = rated(Inspection(short, "made-up"))
    assert found.missing == ("temperature", "flow", "vibration")
    assert len(found.notes) == 4
    assert 0 < found.score < 0.25
    less = [
        rated(Inspection(window(1, samples=10), "made-up", normal())),
        rated(Inspection(Window({"pressure": window(1).values["pressure"]}, 1.0), "made-up", normal())),
        rated(Inspection(window(1), "made-up")),
    ]
    assert all(each.score < 1 and len(each.notes) == 1 for each in less)


def test_a_channel_that_comes_after_its_normal_is_noted() -> None:
    """What commissioning did not show has no normal, however many windows have shown it since."""
    known = normal().points[0].baseline
    place = mean_places(family())["flow"]
    assert known.origin is not None
    origin = known.origin.copy()
    origin[place] = np.nan
    later = Normal.of(replace(known, origin=origin))
    found = rated(Inspection(window(1), "made-up", later))
    assert found.notes == ("its normal was learned without flow: teach it anew to have that judged",)
    less = {name: samples for name, samples in window(1).values.items() if name != "flow"}
    assert not any("learned without" in note for note in rated(Inspection(Window(less, 1.0), "made-up", later)).notes)
