"""Rules of the features that every detector reads."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.machines.baseline import Baseline, learn
from pipelines.machines.commissioning import Normal
from pipelines.signals.features import channels_of, feature_names, level_columns, raw_features
from pipelines.signals.reading import make_feature_table
from pipelines.signals.windows import Floats, Window, stack
from tests.contract.examples import family, normal, window


def features_of(values: dict[str, list[float]], rate_hz: float = 1.0) -> dict[str, float]:
    one = Window({name: np.array(samples, dtype=np.float64) for name, samples in values.items()}, rate_hz)
    table = make_feature_table([one], [None], family())
    return dict(zip(table.names, table.raw[0].tolist(), strict=True))


def test_names_match_the_columns() -> None:
    """There is one column for each name, and every name leads back to channels of the family."""
    names = feature_names(family())
    assert len(set(names)) == len(names)
    assert raw_features(stack([window(1)], tuple(family().channels)), family()).shape == (1, len(names))
    assert all(set(channels_of(name)) <= set(family().channels) for name in names)
    assert channels_of("motor_current_mean") == ("motor_current",)


def test_statistics_of_a_ramp() -> None:
    """Each statistic of a straight line is what it can be worked out to by hand; the slope is a second's."""
    found = features_of({"pressure": [10, 12, 14, 16, 18]}, rate_hz=2.0)
    expected = {"mean": 14, "min": 10, "max": 18, "std": 8**0.5, "slope": 4, "step": 2, "flat": 0, "range": 7.2}
    for statistic, value in expected.items():
        assert found[f"pressure_{statistic}"] == pytest.approx(value)
    assert found["pressure_spike"] == pytest.approx(4 / 8**0.5)


def test_cross_features() -> None:
    """Power is p Q / 600 kW, channels that move together correlate by 1, and p / Q is of the means."""
    found = features_of({"pressure": [100, 110, 120], "flow": [20, 22, 24]})
    assert found["hydraulic_power_kw"] == pytest.approx((2000 + 2420 + 2880) / 3 / 600)
    assert found["pressure_flow_correlation"] == pytest.approx(1)
    assert found["pressure_per_flow"] == pytest.approx(5)


def test_stuck_sensor() -> None:
    """A channel that stands still has no spread at all and the longest rest; its correlation is unknown."""
    found = features_of({"pressure": [0.1] * 7, "flow": [1, 2, 3, 3, 3, 1, 1]})
    assert [found[f"pressure_{name}"] for name in ("std", "step", "spike", "flat", "range")] == [0, 0, 0, 1, 0]
    assert found["flow_flat"] == pytest.approx(2 / 6)
    assert np.isnan(found["pressure_flow_correlation"])


def test_missing_channel_is_nan_and_touches_no_other() -> None:
    """Features of a missing channel are NaN, those of the others are the same as with it."""
    whole = make_feature_table([window(1)], [None], family())
    without = Window({name: v for name, v in window(1).values.items() if name != "flow"}, 1.0)
    less = make_feature_table([without], [None], family())
    gone = np.array(["flow" in channels_of(name) for name in whole.names])
    assert np.isnan(less.raw[0, gone]).all()
    np.testing.assert_array_equal(less.raw[0, ~gone], whole.raw[0, ~gone])


@pytest.mark.parametrize("reading", ["raw", "relative"])
def test_batch_equals_single(reading: str) -> None:
    """A window has bit for bit the same features alone and beside windows of any other length."""
    lengths = [3, 4, 5, 29, 30, 30, 31, 60, 129, 1000, 9_999, 10_000]
    windows = [window(seed, seed % 3, samples=length) for seed, length in enumerate(lengths)]
    windows.append(Window({"pressure": window(1).values["pressure"]}, 1.0))
    windows.append(Window({}, 1.0))
    kind = family(reading)
    own = [normal() if row % 2 else None for row in range(len(windows))]
    together = make_feature_table(windows, own, kind)
    for row, one in enumerate(windows):
        alone = make_feature_table([one], [own[row]], kind)
        for part in ("raw", "read", "centre", "scatter", "count"):
            np.testing.assert_array_equal(getattr(alone, part)[0], getattr(together, part)[row])


def test_place_in_time_does_not_matter() -> None:
    """No feature knows when a window was taken: the same samples later have the same features."""
    samples = window(3).values
    long = {name: np.concatenate([values, values]) for name, values in samples.items()}
    first = Window({name: values[:30] for name, values in long.items()}, 1.0)
    later = Window({name: values[30:] for name, values in long.items()}, 1.0)
    table = make_feature_table([first, later], [None, None], family())
    np.testing.assert_array_equal(table.raw[0], table.raw[1])


def test_raw_reading_is_raw() -> None:
    """A family that reads raw levels reads the raw features, in an array of its own."""
    table = make_feature_table([window(1)], [normal()], family("raw"))
    np.testing.assert_array_equal(table.read, table.raw)
    assert not np.shares_memory(table.read, table.raw)


def test_relative_reading_forgets_the_machine() -> None:
    """Two machines whose levels differ by a factor (a ratio channel) or an offset read the same by their own levels."""

    def on(seed: int, factor: float, offset: float) -> Window:
        values = dict(window(seed).values)
        values |= {name: factor * values[name] for name in ("pressure", "flow", "vibration", "motor_current")}
        return Window(values | {"temperature": values["temperature"] + offset}, 1.0)

    def own(factor: float, offset: float) -> Normal:
        raw = make_feature_table([on(seed, factor, offset) for seed in range(10)], [None] * 10, family()).raw
        first, *rest = (learn(row) for row in raw)
        return Normal.of(sum(rest, first))

    pair = [(1.0, 0.0), (1.7, 12.0)]
    table = make_feature_table([on(50, *pair[0]), on(50, *pair[1])], [own(*pair[0]), own(*pair[1])], family())
    assert not np.allclose(table.raw[0], table.raw[1], rtol=1e-3, equal_nan=True)
    np.testing.assert_allclose(table.read[0], table.read[1], rtol=1e-9, atol=1e-9)


def test_without_a_baseline_the_typical_level_counts() -> None:
    """A healthy window at the family's typical levels reads as 1 on ratio channels and as 0 on difference channels."""
    table = make_feature_table([window(1)], [None], family())
    read = dict(zip(table.columns, table.read[0], strict=True))
    assert read["pressure_mean"] == pytest.approx(1, abs=0.02)
    assert read["temperature_mean"] == pytest.approx(0, abs=0.5)
    assert np.isnan(table.centre).all()
    assert table.evidence.tolist() == [0]


def test_level_of_zero_does_not_explode() -> None:
    """A system whose baseline was taken at rest reads finite values when it runs."""
    at_rest = Window({name: np.zeros(30) for name in family().channels}, 1.0)
    rest = learn(make_feature_table([at_rest], [None], family()).raw[0])
    table = make_feature_table([window(1)], [Normal.of(rest)], family())
    assert np.isfinite(table.read[:, : len(table.names)]).all()


def test_sheet_carries_the_baseline() -> None:
    """Centre and scatter are the mean and the standard deviation of what was learned, evidence its windows."""
    raw = make_feature_table([window(seed) for seed in range(5)], [None] * 5, family()).raw
    first, *rest = (learn(row) for row in raw)
    table = make_feature_table([window(9)], [Normal.of(sum(rest, first))], family())
    np.testing.assert_allclose(table.centre[0], raw.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(table.scatter[0], raw.std(axis=0), rtol=1e-3, atol=1e-6)
    assert table.evidence[0] == 5


def test_baseline_of_other_features_counts_as_none() -> None:
    """A stored baseline that does not fit the features of today is not mixed into them."""
    old = Baseline(np.ones(3), np.ones(3), np.ones(3))
    table = make_feature_table([window(1)], [Normal.of(old)], family())
    assert np.isnan(table.centre).all()


def test_learn_counts_only_what_is_known() -> None:
    """One window adds 1, its value and its square for a known feature, and nothing for an unknown one."""
    change = learn(np.array([2.0, np.nan, -3.0]))
    assert change.count.tolist() == [1, 0, 1]
    assert change.total.tolist() == [2, 0, -3]
    assert change.squares.tolist() == [4, 0, 9]


def test_levels_are_the_means() -> None:
    """Exactly the channels' means are taken to be independent of a window's length."""
    names = feature_names(family())
    marked = [name for name, level in zip(names, level_columns(names), strict=True) if level]
    assert marked == [f"{channel}_mean" for channel in family().channels]


ROWS = st.lists(
    st.lists(st.one_of(st.floats(-1e6, 1e6), st.just(float("nan"))), min_size=4, max_size=4), min_size=1, max_size=12
)


def assert_close(one: Baseline, other: Baseline, size: Floats) -> None:
    np.testing.assert_array_equal(one.count, other.count)
    np.testing.assert_allclose(one.total, other.total, rtol=1e-9, atol=1e-9 * (1 + size.max()))
    np.testing.assert_allclose(one.squares, other.squares, rtol=1e-9, atol=1e-9)


@given(rows=ROWS, data=st.data())
@settings(max_examples=100, deadline=None)
def test_baselines_merge_in_any_order(rows: list[list[float]], data: st.DataObject) -> None:
    """Changes from concurrent requests add up to the same baseline, in any order and in any grouping."""
    changes = [learn(np.array(row)) for row in rows]
    shuffled = data.draw(st.permutations(changes))
    cut = data.draw(st.integers(0, len(changes)))
    zero = Baseline(np.zeros(4), np.zeros(4), np.zeros(4))
    in_turn = sum(changes, zero)
    grouped = sum(shuffled[:cut], zero) + sum(shuffled[cut:], zero)
    assert_close(in_turn, grouped, np.abs(np.nan_to_num(np.array(rows))))
