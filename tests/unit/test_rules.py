"""Rules of what is wrong on any machine, and of the state that it is in."""

import time

import numpy as np
import pytest

from pipelines.diagnosis.rules import at_rest, doubts, operating_states, rules
from pipelines.machines.commissioning import Normal, commission
from pipelines.signals.windows import Floats
from tests.unit.moved import LEVELS, generic, samples, table_of

COUNT = np.array([30])


def resting(temperature: float = 21.0) -> dict[str, Floats]:
    """Return a window of a machine that stands."""
    air = samples(9, {"temperature": temperature})["temperature"]
    return {name: np.zeros(30) for name in LEVELS} | {"temperature": air}


def still(channel: str, value: float) -> dict[str, Floats]:
    """Return a window in which one channel does not change."""
    return samples(3) | {channel: np.full(30, value)}


def broken(values: dict[str, Floats], known: bool = True) -> list[tuple[str, str]]:
    """Return rule and channel of each finding on one window."""
    (found,) = rules(table_of(values, known=known), generic(), samples=COUNT)
    return [(finding.rule, finding.channel) for finding in found]


@pytest.mark.parametrize("known", [True, False])
def test_a_healthy_machine_breaks_no_rule(known: bool) -> None:
    """Healthy windows have no findings, before and after the machine is commissioned."""
    windows = [samples(seed) for seed in range(200)]
    assert not any(rules(table_of(*windows, known=known), generic(), samples=np.full(200, 30)))


@pytest.mark.parametrize("channel", ["pressure", "flow", "vibration", "temperature"])
def test_a_channel_that_always_flickers_and_now_stands_still_is_stuck(channel: str) -> None:
    """The last digit of a measured value never rests where it never did."""
    assert broken(still(channel, LEVELS[channel] * 1.01)) == [("stuck", channel)]


@pytest.mark.parametrize("channel", ["pressure", "flow", "vibration"])
def test_where_nothing_shows_that_the_machine_works_no_sensor_is_stuck(channel: str) -> None:
    """One channel of zeros need not mean rest, but oil that stands still beside it says nothing of its sensor."""
    night = {channel: np.zeros(30), "temperature": np.full(30, 21.0)}
    assert broken(night) == []
    assert broken(night | {channel: samples(3)[channel]}) == [("stuck", "temperature")]
    assert broken({"temperature": np.full(30, 48.0)}) == [("stuck", "temperature")]


def test_a_coarse_sensor_may_stand_still() -> None:
    """A channel that stood still in commissioning, too, is coarse and not stuck."""
    table = table_of(still("vibration", 1.2))
    place = table.names.index("vibration_flat")
    table.centre[0, place], table.scatter[0, place] = 0.6, 0.2
    assert rules(table, generic()) == [()]


def test_oil_may_stand_still() -> None:
    """A temperature is still by nature: one that did not flicker all the time is never called stuck."""
    table = table_of(still("temperature", 48.0))
    place = table.names.index("temperature_flat")
    table.centre[0, place], table.scatter[0, place] = 0.4, 0.05
    assert rules(table, generic()) == [()]


def test_before_there_is_a_normal_a_coupled_channel_must_swing() -> None:
    """While it is commissioned a pressure is stuck only where the flow swings by half for thirty samples."""
    steady = still("pressure", 160.0)
    assert broken(steady, known=False) == []
    swinging = steady | {"flow": 60 + 25 * np.sin(np.arange(30))}
    assert broken(swinging, known=False) == [("stuck", "pressure")]
    short = {name: values[:8] for name, values in swinging.items()}
    assert rules(table_of(short, known=False), generic(), samples=np.array([8])) == [()]
    assert rules(table_of(swinging, known=False), generic()) == [()]


def test_a_pump_that_works_without_vibration_has_a_dead_sensor() -> None:
    """Exactly zero vibration under pressure and flow is no measurement, whether a normal is known or not."""
    for known in (True, False):
        assert broken(still("vibration", 0.0), known=known) == [("dead", "vibration")]


def test_a_load_without_any_pressure_has_a_dead_sensor() -> None:
    """Flow as ever and a pressure of exactly zero: the sensor; before a normal is known it may be an idle circuit."""
    assert broken(still("pressure", 0.0)) == [("dead", "pressure")]
    assert broken(still("pressure", 0.0), known=False) == []


def test_no_flow_at_full_pressure_is_a_machine_that_holds() -> None:
    """A press that holds its pressure lets nothing flow; its flow sensor is not dead."""
    assert broken(still("flow", 0.0)) == []


def test_a_sensor_at_the_end_of_what_is_plausible_is_dead() -> None:
    """A broken wire reads the end of the range in every sample."""
    assert broken(still("temperature", 120.0)) == [("dead", "temperature")]
    assert broken(still("temperature", -40.0), known=False) == [("dead", "temperature")]


def test_a_machine_at_rest_breaks_no_rule() -> None:
    """Neither pressure nor flow nor vibration, oil as warm as the air: at rest, neither leaking nor dead."""
    for known in (True, False):
        assert broken(resting(), known=known) == []
        assert at_rest(table_of(resting(), known=known), generic()).tolist() == [True]


def test_one_channel_at_zero_does_not_make_a_machine_rest() -> None:
    """Two channels must agree that nothing moves; alone, a zero may be the sensor."""
    for channel in ("pressure", "flow", "vibration"):
        assert at_rest(table_of(still(channel, 0.0)), generic()).tolist() == [False]
    alone = {"flow": np.zeros(30), "temperature": resting()["temperature"]}
    assert at_rest(table_of(alone), generic()).tolist() == [False]


def test_a_motor_that_runs_does_not_rest() -> None:
    """Vibration as ever without pressure and flow is a machine that runs and delivers nothing."""
    runs = resting() | {"vibration": samples(4)["vibration"]}
    assert at_rest(table_of(runs), generic()).tolist() == [False]


def test_what_neighbours_shake_does_not_wake_a_machine() -> None:
    """Before a normal is known, vibration without pressure and flow may come from the machine next to it."""
    shaken = resting() | {"vibration": samples(4, {"vibration": 0.3})["vibration"]}
    assert at_rest(table_of(shaken, known=False), generic()).tolist() == [True]
    assert at_rest(table_of(shaken), generic()).tolist() == [True]


def test_the_state_of_a_machine_is_told_by_pressure_and_flow() -> None:
    """Running, idle without pressure, holding without flow, changing within the window, at rest, or not known."""
    starts = samples(5)
    for name in ("pressure", "flow"):
        starts[name][:10] = 0.0
    windows = [samples(1), still("pressure", 0.2), still("flow", 0.0), starts, resting()]
    found = operating_states(table_of(*windows), generic())
    assert found == ["running", "idle", "holding", "changing", "at rest"]
    unmeasured = {"temperature": samples(1)["temperature"]}
    assert operating_states(table_of(unmeasured), generic()) == ["unknown"]


# --- limits that people stated


def test_a_value_beyond_a_stated_limit_is_told_with_both() -> None:
    """Value and limit stand in the channel's unit; a single sample is told apart from a level."""
    values = samples(6)
    values["pressure"][4] = 205.0
    stated = {"pressure": {"high": 200.0}, "temperature": {"low": 10.0, "high": 45.0}}
    (found,) = rules(table_of(values), generic(), [stated])
    spike, level = found
    assert (spike.rule, spike.channel, spike.sustained) == ("limit", "pressure", False)
    assert spike.text == "pressure went above its limit of 200 bar: 205 bar"
    assert (level.channel, level.sustained) == ("temperature", True)


def test_within_the_limits_nothing_is_told() -> None:
    """A limit is part of what is permitted, and a channel that was not sent passes none."""
    exact = samples(1) | {"pressure": np.r_[np.full(15, 159.0), np.full(15, 161.0)]}
    stated = {"pressure": {"low": 159.0, "high": 161.0}, "speed": {"high": 1.0}, "flow": {}}
    assert rules(table_of(exact), generic(), [stated]) == [()]
    unsent = {"pressure": samples(1)["pressure"], "temperature": samples(1)["temperature"]}
    assert rules(table_of(unsent), generic(), [{"flow": {"low": 10.0}}]) == [()]


def test_at_rest_the_lowest_limits_wait() -> None:
    """A machine at rest has no pressure to keep, but its oil may still freeze."""
    stated = {"pressure": {"low": 100.0}, "temperature": {"low": 25.0}}
    (found,) = rules(table_of(resting()), generic(), [stated])
    assert [finding.channel for finding in found] == ["temperature"]


def test_the_lowest_limits_hold_for_a_pump_that_delivers_nothing() -> None:
    """While its motor shakes the machine does not rest: what it does not deliver lies below its limits."""
    fails = resting() | {"vibration": samples(4)["vibration"]}
    (found,) = rules(table_of(fails), generic(), [{"pressure": {"low": 100.0}, "flow": {"low": 10.0}}])
    assert [(finding.channel, finding.sustained) for finding in found] == [("pressure", True), ("flow", True)]


def test_each_window_has_its_own_limits() -> None:
    """Limits belong to a system: a window without any passes none."""
    hot = samples(1, {"temperature": 80})
    found = rules(table_of(hot, hot), generic(), [None, {"temperature": {"high": 70.0}}])
    assert [len(each) for each in found] == [0, 1]


# --- commissioning


def learned(*windows: dict[str, Floats]) -> Normal:
    return commission(table_of(*windows, known=False).raw, generic())


def test_what_speaks_against_a_normal_is_told() -> None:
    """One and the same digit in all windows: stuck, but for a temperature. A machine that stood shows nothing."""
    windows = [samples(seed) | {"pressure": np.full(30, 87.3), "temperature": np.full(30, 45.0)} for seed in range(20)]
    (stuck,) = doubts(learned(*windows), generic())
    assert stuck.startswith("pressure read 87.3 bar, to the last digit")
    (stood,) = doubts(learned(*[resting()] * 20), generic())
    assert "neither pressure nor flow" in stood
    assert doubts(learned(*[samples(seed) for seed in range(20)]), generic()) == ()
    assert doubts(Normal(()), generic()) == ()
    levels = [samples(seed) | {"pressure": np.full(30, 80.0 + seed)} for seed in range(20)]
    assert doubts(learned(*levels), generic()) == (), "a coarse sensor that follows the load measures"


def test_rules_are_cheap() -> None:
    """They run for every window: a thousand cost less than a tenth of a second, on a loaded machine."""
    table = table_of(*[samples(seed) for seed in range(1000)])
    rules(table, generic())
    least = min(_timed(table) for _ in range(5))
    assert least < 0.1


def _timed(table: object) -> float:
    begin = time.perf_counter()
    rules(table, generic())  # type: ignore[arg-type]
    return time.perf_counter() - begin
