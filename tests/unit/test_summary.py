"""Rules of the few numbers that a window is put into, so that machines of any size vary alike."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.machines.family import Family, read_family
from pipelines.signals.features import CORRELATION, feature_names
from pipelines.signals.reading import make_feature_table
from pipelines.signals.summary import (
    COARSE,
    COLD_FLOOR,
    RESOLUTION,
    REST,
    SUMMARISED,
    WARM_FLOOR,
    load_terms,
    scale,
    scales,
    summarise,
    term_places,
    terms,
    typical,
)
from pipelines.signals.windows import Floats, Window
from tests.unit.moved import LEVELS, generic, samples

RATIOS = ("pressure", "flow", "vibration")


def raw_of(*windows: Mapping[str, Floats], family: Family | None = None) -> Floats:
    """Return the raw features of windows."""
    read = [Window(values, 1.0) for values in windows]
    return make_feature_table(read, [None] * len(read), family or generic()).raw


def summary_of(*windows: Mapping[str, Floats]) -> dict[str, Floats]:
    """Return by feature what windows are summarised as."""
    found = summarise(raw_of(*windows), generic())
    return {term.feature: found[:, place] for place, term in enumerate(terms(generic()))}


def place_of(feature: str) -> int:
    return [term.feature for term in terms(generic())].index(feature)


def test_a_window_is_level_spread_and_step_of_each_channel_and_how_two_move_together() -> None:
    """Each number stands for the feature that it is made from, in the order of the channels."""
    named = [f"{name}_{word}" for name in generic().channels for word in SUMMARISED]
    assert [term.feature for term in terms(generic())] == [*named, CORRELATION]
    assert [feature_names(generic())[place] for place in term_places(generic())] == [*named, CORRELATION]


def test_the_longest_tail_is_summarised_where_a_family_reads_tails() -> None:
    """What the machine does now says more than what it did; without pressure and flow nothing moves together."""
    assert {term.feature.partition("@")[2] for term in terms(read_family("water-loop"))[:-1]} == {"20s"}
    channels = {name: channel for name, channel in generic().channels.items() if name != "flow"}
    tailed = generic().model_copy(update={"name": "tailed", "tails_s": (9.0, 10.0), "channels": channels})
    names = [term.feature for term in terms(tailed)]
    assert len(names) == 3 * len(channels)
    assert all(name.endswith("@10s") for name in names)
    window = {name: np.concatenate([np.full(20, 1.0), np.full(10, 7.0)]) for name in channels}
    found = summarise(raw_of(window, family=tailed), tailed)[0]
    assert found[names.index("pressure_mean@10s")] == pytest.approx(np.log(7))


@settings(max_examples=25, deadline=None)
@given(st.floats(0.2, 60.0), st.sampled_from(RATIOS), st.integers(0, 1000))
def test_a_machine_of_another_size_varies_alike(factor: float, channel: str, seed: int) -> None:
    """What a channel is multiplied by shifts its numbers by one and the same logarithm, and no other number."""
    values = samples(seed)
    larger = values | {channel: factor * values[channel]}
    one, other = (summarise(raw_of(each), generic())[0] for each in (values, larger))
    own = {f"{channel}_{word}" for word in SUMMARISED}
    moved = [place for place, term in enumerate(terms(generic())) if term.feature in own]
    expected = np.zeros_like(one)
    expected[moved] = np.log(factor)
    np.testing.assert_allclose(other - one, expected, atol=1e-9)


def test_a_temperature_is_told_in_kelvin() -> None:
    """Ten kelvin more are ten more, be the oil cold or hot, below zero or above."""
    cold, hot = samples(1, {"temperature": -15.0}), samples(1, {"temperature": 65.0})
    found = summary_of(cold, hot)["temperature_mean"]
    assert found[1] - found[0] == pytest.approx(80)


def test_rest_is_no_level() -> None:
    """Zero has no logarithm, and what a sensor reads about zero is noise: both are the same rest."""
    still = [samples(1) | {"flow": np.full(30, level)} for level in (0.0, -0.001, 0.02)]
    spread = generic().channels["flow"].spread
    np.testing.assert_allclose(summary_of(*still)["flow_mean"], np.log(REST * spread))


def test_the_resolution_of_a_sensor_is_no_spread() -> None:
    """A channel that stands still, and one that flickers by a ten-thousandth, are as steady as a sensor can tell."""
    flicker = 160 + 0.004 * np.resize([1.0, -1.0], 30)
    found = summary_of(samples(1) | {"pressure": np.full(30, 160.0)}, samples(1) | {"pressure": flicker})
    np.testing.assert_allclose(found["pressure_std"], np.log(RESOLUTION * 160), atol=1e-3)
    oil = summary_of(samples(1) | {"temperature": np.full(30, 48.0)})["temperature_step"]
    assert oil == pytest.approx(np.log(COARSE * generic().channels["temperature"].spread))


def test_a_spread_above_the_resolution_is_told() -> None:
    """Twice the noise is a logarithm of two more, where the sensor resolves it."""
    calm, restless = (160 + size * np.resize([1.0, -1.0], 30) for size in (10.0, 20.0))
    found = summary_of(samples(1) | {"pressure": calm}, samples(1) | {"pressure": restless})
    assert np.diff(found["pressure_std"]) == pytest.approx(np.log(2), abs=1e-3)
    assert np.diff(found["pressure_step"]) == pytest.approx(np.log(2), abs=1e-3)


# --- what is not known


@pytest.mark.parametrize("missing", list(LEVELS))
def test_a_missing_channel_is_not_known_and_no_other_number_is_lost(missing: str) -> None:
    """What was not sent is not a number, also what it would move together with; all else is as with it."""
    whole = samples(1)
    with_it = summary_of(whole)
    without = summary_of({name: values for name, values in whole.items() if name != missing})
    lost = {name for name, value in without.items() if np.isnan(value[0])}
    assert lost == {f"{missing}_{word}" for word in SUMMARISED} | ({CORRELATION} & set(coupled(missing)))
    assert all(without[name] == with_it[name] for name in without if name not in lost)


def coupled(channel: str) -> Sequence[str]:
    return [CORRELATION] if channel in ("pressure", "flow") else []


def test_what_stands_still_moves_with_nothing() -> None:
    """Where pressure and flow are measured and one does not move, they do not move together: that is known."""
    assert summary_of(samples(1) | {"flow": np.full(30, 60.0)})[CORRELATION] == 0.0
    rising = np.linspace(100, 200, 30)
    assert summary_of(samples(1) | {"pressure": rising, "flow": 0.3 * rising})[CORRELATION] == pytest.approx(1)


def test_one_sample_shows_no_step() -> None:
    """A single sample has a level, and stands as still as its sensor; from one to the next it shows nothing."""
    found = summary_of({name: values[:1] for name, values in samples(1).items()})
    assert {name for name, value in found.items() if np.isnan(value[0])} == {f"{name}_step" for name in LEVELS}


levels = st.dictionaries(st.sampled_from(list(LEVELS)), st.floats(-40, 700, width=32), min_size=1)


@settings(max_examples=40, deadline=None)
@given(levels, st.integers(2, 12), st.floats(0, 5))
def test_whatever_is_measured_is_a_number(at: dict[str, float], count: int, noise: float) -> None:
    """Every channel that was sent has finite numbers, at any level and however still it is."""
    random = np.random.default_rng(1)
    found = summary_of({name: level + noise * random.normal(size=count) for name, level in at.items()})
    for name, value in found.items():
        sent = {"pressure", "flow"} <= set(at) if name == CORRELATION else name.rpartition("_")[0] in at
        assert np.isfinite(value[0]) == sent, name


# --- what is known of any healthy machine


def test_deviations_of_features_are_those_of_their_logarithms() -> None:
    """A share of a level is the same on the logarithmic scale; kelvin and the correlation stay what they are."""
    centre = raw_of(samples(1))[0]
    found = scales(np.full_like(centre, 0.25), centre, generic())
    assert found[place_of("flow_mean")] == pytest.approx(0.25 / 60, rel=0.01)
    assert found[place_of("temperature_mean")] == 0.25
    assert found[place_of("temperature_std")] == pytest.approx(0.25 / centre[terms(generic())[4].place])
    assert found[place_of(CORRELATION)] == 0.25
    assert np.isfinite(scales(np.zeros_like(centre), np.zeros_like(centre), generic())).all()


def test_oil_may_be_colder_than_it_may_be_warmer() -> None:
    """Temperatures are the only numbers that heat does not widen, and the only ones that may be cold."""
    known = scale(generic())
    place = place_of("temperature_mean")
    assert known.warm == (place,)
    assert (known.floor[place], known.cold, known.per_kelvin[place]) == (WARM_FLOOR, COLD_FLOOR, 0.0)
    assert (np.delete(known.per_kelvin, place) > 0).all()
    assert (known.leash > known.floor).all()


def test_a_load_is_told_by_what_is_steady_under_one() -> None:
    """Pressure and flow tell it; vibration scatters too widely, and heat follows late."""
    assert [terms(generic())[place].feature for place in load_terms(generic())] == ["pressure_mean", "flow_mean"]
    assert load_terms(read_family("water-loop"))


def test_typical_levels_are_those_of_the_family_and_nothing_else() -> None:
    """A window at typical levels has the typical summary; what is no level is not known of a machine never seen."""
    at = {name: np.full(5, channel.typical) for name, channel in generic().channels.items()}
    found, expected = summarise(raw_of(at), generic())[0], typical(generic())
    is_level = np.array([term.statistic == "mean" for term in terms(generic())])
    np.testing.assert_allclose(found[is_level], expected[is_level])
    assert np.isnan(expected[~is_level]).all()
