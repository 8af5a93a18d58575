"""Rules of how a fault is named from physics, and of what is not named."""

from collections.abc import Mapping

import numpy as np
import pytest

from pipelines.diagnosis.hypotheses import TOLD, Hypothesis, hypothesise, named
from pipelines.diagnosis.moves import moves_of
from pipelines.diagnosis.patterns import PARTS, PATTERNS, component_of, quantity_of, title_of
from pipelines.machines.baseline import learn
from pipelines.machines.commissioning import Normal
from pipelines.machines.family import read_family
from pipelines.signals.reading import make_feature_table
from pipelines.signals.windows import Floats, Window
from tests.unit.moved import LEVELS, NOISE, generic, normal, samples, table_of


def explained(values: Mapping[str, Floats]) -> tuple[Hypothesis, ...]:
    """Return the hypotheses of one window."""
    return hypothesise(generic(), table_of(values), [0])[0]


def at(**levels: float) -> tuple[Hypothesis, ...]:
    """Return the hypotheses of one window at levels."""
    return explained(samples(1, levels))


# By fault, levels that it would have on this machine: pressure 160 bar, 48 degC, 60 l/min, 1.2 mm/s.
SIGNS: Mapping[str, Mapping[str, float]] = {
    "pump_wear": {"flow": 44, "temperature": 58, "vibration": 1.6, "pressure": 150},
    "internal_leakage": {"pressure": 125, "temperature": 56},
    "external_leakage": {"flow": 44, "pressure": 132, "temperature": 45},
    "cooler_fouling": {"temperature": 68},
    "clogged_filter": {"pressure": 195, "temperature": 56},
    "cavitation": {"vibration": 3.0, "flow": 57.5},
}


@pytest.mark.parametrize("fault", SIGNS)
def test_a_fault_is_named_by_what_physics_makes_of_it(fault: str) -> None:
    """Levels that move as a fault moves them name its component, and the fault as its cause."""
    found = at(**SIGNS[fault])
    assert found[0].fault == fault
    assert named(found) == component_of(generic(), fault)


def test_flow_lost_with_heat_and_noise_is_the_pump_and_without_them_a_leak_outside() -> None:
    """Heat and noise tell a worn pump from oil that leaves: the one keeps the lost power, the other takes it away."""
    assert at(**SIGNS["pump_wear"])[0].component == "pump"
    assert at(**SIGNS["external_leakage"])[0].component == "hoses"


def test_late_switching_knocks_and_air_swings() -> None:
    """Pressure that knocks on both sides at steady flow is a valve; pressure and flow that swing together are air."""
    knocking, foaming = samples(2), samples(3, {"vibration": 1.7, "flow": 58.5})
    knocking["pressure"][::5] += 30
    knocking["pressure"][1::5] -= 20
    swing = np.random.default_rng(4).normal(size=len(foaming["flow"]))
    foaming["pressure"] += 8 * swing
    foaming["flow"] += 2 * swing
    assert (explained(knocking)[0].component, explained(foaming)[0].component) == ("valve", "fluid")


@pytest.mark.parametrize("channel", ["pressure", "flow"])
@pytest.mark.parametrize("factor", [0.5, 1.8])
def test_one_channel_that_moves_far_alone_is_its_sensor(channel: str, factor: float) -> None:
    """Where all that is coupled to a channel stays, an implausible move of it speaks for the sensor."""
    found = at(**{channel: factor * LEVELS[channel]})
    sensor = next(hypothesis for hypothesis in found if hypothesis.component == "sensor")
    assert sensor.channel == channel
    assert found[0] is sensor or sensor.plausibility > 0.1


def test_oil_does_not_cool_down_by_itself() -> None:
    """A temperature that falls by 25 K while the machine works as before is named as its sensor."""
    found = at(temperature=20)
    assert (named(found), found[0].channel) == ("sensor", "temperature")


def test_a_spike_and_a_dropout_are_the_sensor() -> None:
    """One wild sample, or samples of zero, in one channel alone are no machine's."""
    spiked, dropped = samples(5), samples(6)
    spiked["flow"][7] = 110
    dropped["pressure"][10:16] = 0.0
    for values, fault, channel in ((spiked, "sensor_spike", "flow"), (dropped, "sensor_dropout", "pressure")):
        found = explained(values)
        assert (found[0].component, found[0].fault, found[0].channel) == ("sensor", fault, channel)


def test_a_channel_that_stands_still_to_the_last_digit_is_stuck() -> None:
    """A channel that always flickers, and now does not, is stuck."""
    values = samples(7)
    values["flow"] = np.full_like(values["flow"], 60.1)
    found = explained(values)
    assert (named(found), found[0].fault, found[0].channel) == ("sensor", "sensor_stuck", "flow")


def test_nothing_is_named_where_several_fit_alike() -> None:
    """Oil that is 7 K warmer and nothing else may be a fouled cooler or a hot day: both are told, none is named."""
    found = at(temperature=55)
    assert named(found) is None
    assert {"cooler", ""} <= {hypothesis.component for hypothesis in found}
    assert all(hypothesis.plausibility >= TOLD for hypothesis in found)


def test_one_channel_alone_names_nothing() -> None:
    """Where only pressure is measured its rise may be a filter, a load or the sensor: none of them is named."""
    found = explained({"pressure": samples(8, {"pressure": 190})["pressure"]})
    assert len(found) > 1
    assert named(found) is None


def test_another_load_is_told_as_such() -> None:
    """Pressure, heat and noise that rise together at the same flow are told as another load as well."""
    found = at(pressure=230, temperature=58, vibration=1.55)
    assert "another load" in {hypothesis.fault for hypothesis in found if not hypothesis.component}


def test_a_machine_at_rest_has_no_fault() -> None:
    """Neither pressure nor flow, and oil as warm as the air: the machine stands, and nothing leaks."""
    values = {name: np.zeros(30) for name in LEVELS} | {"temperature": samples(9, {"temperature": 21})["temperature"]}
    assert explained(values) == ()


def test_without_a_normal_nothing_is_explained() -> None:
    """A move has no size where nobody knows from where."""
    assert hypothesise(generic(), table_of(samples(1, SIGNS["pump_wear"]), known=False), [0]) == [()]


def test_plausibilities_leave_room_for_what_nobody_thought_of() -> None:
    """All hypotheses together stay below one, the first is the most plausible, and a component stands once."""
    for levels in (*SIGNS.values(), {"pressure": 60.0, "flow": 90.0, "vibration": 0.4}):
        found = at(**levels)
        shares = [hypothesis.plausibility for hypothesis in found]
        assert sum(shares) < 1
        assert shares == sorted(shares, reverse=True)
        components = [hypothesis.component for hypothesis in found if hypothesis.component]
        assert len(components) == len(set(components))


def test_moves_that_contradict_each_other_name_nothing() -> None:
    """Half the pressure at half as much flow again, quieter and hotter, is no fault of the table."""
    assert named(at(pressure=60, flow=95, vibration=0.3, temperature=75)) is None


# --- evidence


def test_evidence_is_told_in_the_units_and_words_of_a_technician() -> None:
    """Shares for pressure, flow and vibration, kelvin for oil, and what did not move beside what did."""
    leak = at(**SIGNS["external_leakage"])[0]
    assert any(text.startswith("flow 27 % below normal") for text in leak.evidence_for)
    beside = [text for text in leak.evidence_for if text.endswith(" about normal")]
    assert [text.startswith("pressure 18 % below normal, ") for text in beside] == [True]
    wear = at(**SIGNS["pump_wear"])[0]
    assert any(text.startswith("temperature 10 K above normal") for text in wear.evidence_for)


def test_what_a_hypothesis_expects_and_was_not_seen_speaks_against_it() -> None:
    """Vibration about its normal speaks against cavitation, and a move that is not explained is told."""
    from pipelines.diagnosis.evidence import told

    moves = moves_of(generic(), table_of(samples(1, {"flow": 50})), 0)
    assert moves is not None
    place = moves.names.index("vibration")
    expects = np.zeros(4)
    expects[place] = -3.0
    _, against = told(moves, "cavitation", expects, np.zeros(4), np.zeros(4))
    assert against == ("vibration about normal speaks against cavitation",)
    expects = np.zeros(4)
    expects[moves.names.index("flow")] = -3.0
    _, against = told(moves, "cooler_fouling", expects, np.full(4, -5.0), np.zeros(4))
    assert against == ("flow 17 % below normal is not explained by cooler fouling",)


def test_a_silent_sensor_has_nothing_against_it_in_other_channels() -> None:
    """While a sensor stands still the machine may run on as ever."""
    values = samples(7)
    values["flow"] = np.full_like(values["flow"], 60.1)
    stuck = explained(values)[0]
    assert (stuck.fault, stuck.against) == ("sensor_stuck", ())


@pytest.mark.parametrize("moved", [{"pressure": 153.0}, {"flow": 57.5, "temperature": 51.0}, {"vibration": 1.5}])
def test_a_hypothesis_without_evidence_is_not_told(moved: Mapping[str, float]) -> None:
    """What nothing seen speaks for may be likely by itself, and is no finding."""
    assert all(hypothesis.evidence_for for hypothesis in at(**moved))


def test_rounding_of_a_coarse_thermometer_is_no_unrest() -> None:
    """Where oil stands still to the half kelvin, one step within a window speaks against nothing."""
    calm = [{**samples(seed), "temperature": np.full(30, 48.0)} for seed in range(20)]
    rows = make_feature_table([Window(values, 1.0) for values in calm], [None] * 20, generic()).raw
    learned = [learn(row) for row in rows]
    coarse = Normal.of(sum(learned[1:], learned[0]))
    hot = {**samples(21), "temperature": np.where(np.arange(30) < 12, 65.5, 66.0)}
    moves = moves_of(generic(), make_feature_table([Window(hot, 1.0)], [coarse], generic()), 0)
    assert moves is not None
    assert moves.spread[moves.names.index("temperature")] == 0


def test_a_level_that_did_not_move_is_no_evidence_of_a_move() -> None:
    """What lies within its own error is told as about normal and never in per cent."""
    texts = [text for hypothesis in at(temperature=70) for text in hypothesis.evidence_for]
    assert texts
    assert not any(text.startswith(("pressure", "flow", "vibration")) for text in texts)


# --- channels of any name and unit


def test_channels_are_known_by_their_units() -> None:
    """A channel takes part by what its unit measures; one of another unit takes none."""
    assert [quantity_of(unit) for unit in ("psi", "m3/h", "degF", "g", "W")] == [
        "pressure",
        "flow",
        "temperature",
        "vibration",
        None,
    ]


def test_two_pressures_of_which_one_moves_speak_for_its_sensor() -> None:
    """A second channel of the same quantity that stays makes the sensor more plausible than it is without."""
    channels = generic().channels
    twice = generic().model_copy(
        update={"name": "twice", "channels": {**channels, "pressure_load": channels["pressure"]}}
    )
    healthy = [samples(seed) for seed in range(100, 120)]
    for values in healthy:
        values["pressure_load"] = values["pressure"] + 2
    raw = make_feature_table([Window(values, 1.0) for values in healthy], [None] * 20, twice).raw
    rows = [learn(row) for row in raw]
    own = Normal.of(sum(rows[1:], rows[0]))
    moved = samples(1, {"pressure": 96})
    alone = explained(moved)
    moved["pressure_load"] = samples(2)["pressure"] + 2
    (both,) = hypothesise(twice, make_feature_table([Window(moved, 1.0)], [own], twice), [0])
    shares = [
        sum(h.plausibility for h in found if h.component == "sensor" and h.channel == "pressure")
        for found in (alone, both)
    ]
    assert shares[1] > shares[0]


def test_components_are_the_family_s_where_it_has_them() -> None:
    """A family's own component is named for its class; without one the general title serves."""
    assert component_of(generic(), "external_leakage") == "hoses"
    assert title_of(generic(), "cooler_fouling") == generic().components["cooler"].title
    loop = read_family("water-loop")
    assert component_of(loop, "pump_wear") == "pump"
    assert set(title_of(loop, "pump_wear")) == {"en", "ru"}
    assert (component_of(loop, ""), title_of(loop, "")) == ("", {})


def test_every_class_of_the_family_has_a_pattern_or_is_a_sensor_s() -> None:
    """The table knows what each fault of `generic` does, each with shares that add up to one."""
    classes = {str(grade) for grade in generic().heads["fault"].classes[1:]}
    assert set(PARTS) == classes
    shares = {fault: sum(p.share for p in PATTERNS if p.fault == fault) for fault in {p.fault for p in PATTERNS}}
    assert {fault for fault in classes if not fault.startswith("sensor_")} == set(shares) - {""}
    assert {round(share, 6) for fault, share in shares.items() if fault} == {1.0}


def test_the_moves_of_a_window_are_told_in_their_own_scale() -> None:
    """Ratios as logarithms, kelvin as they are, each beside the error of saying so."""
    moves = moves_of(generic(), table_of(samples(1, {"pressure": 80, "temperature": 58})), 0)
    assert moves is not None
    told = dict(zip(moves.names, moves.level.tolist(), strict=True))
    assert told["pressure"] == pytest.approx(np.log(0.5), abs=0.02)
    assert told["temperature"] == pytest.approx(10, abs=0.3)
    assert abs(told["flow"]) < 0.01
    assert moves.level_error.min() > 0
    assert normal().points[0].baseline.count.max() == 20
    assert set(NOISE) == set(LEVELS)
