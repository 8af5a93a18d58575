"""Rules of what holds of a window whatever its detectors think, and of how it is told in the answer."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pytest

from pipelines.detectors.adaptive import HALF, Adaptive
from pipelines.detectors.base import Detail, FeatureTable
from pipelines.detectors.bundle import MemberVotes
from pipelines.diagnosis.ensemble import CERTAINTY, decide, judge
from pipelines.diagnosis.findings import findings_of
from pipelines.diagnosis.hypotheses import named
from pipelines.diagnosis.records import Diagnosis, Inspection
from pipelines.diagnosis.rules import Limits
from pipelines.diagnosis.situation import (
    AT_REST,
    BETWEEN,
    COMMISSIONING,
    HARDLY_QUIETER,
    HYPOTHESES,
    NO_FLOW,
    OTHER_PRESSURE,
    OTHER_PUMP,
    QUIETER,
    SAME_FLOW,
    TOGETHER,
    UNSEEN,
    WARMER_K,
    ZERO,
    other_load,
    situations,
)
from pipelines.knowledge.answer.faults import repair_question
from pipelines.machines import alarm
from pipelines.machines.alarm import ABSTAINED, LIMIT
from pipelines.machines.commissioning import Normal, commission
from pipelines.machines.family import Family
from pipelines.scoring.table import tabulated
from pipelines.signals.reading import is_known, make_feature_table
from pipelines.signals.windows import Floats, Window
from tests.unit import moved
from tests.unit.moved import LEVELS, generic, samples

Values = Mapping[str, Floats]


def rows_of(windows: Sequence[Values], family: Family | None = None) -> Floats:
    """Return the raw features of windows."""
    read = [Window(values, 1.0) for values in windows]
    return make_feature_table(read, [None] * len(read), family or generic()).raw


@cache
def own() -> Normal:
    """Return the normal of a unit that was commissioned under one load."""
    return commission(rows_of([samples(seed) for seed in range(100, 120)]), generic())


@cache
def two_loads() -> Normal:
    """Return the normal of one that was commissioned at work, and seldom standing."""
    idle = [at_rest(seed) for seed in range(200, 208)]
    return commission(rows_of([*(samples(seed) for seed in range(100, 120)), *idle]), generic())


def at_rest(seed: int = 9) -> Values:
    """Return a window of the machine at rest."""
    air = samples(seed, {"temperature": 21.0})["temperature"]
    return {name: np.zeros(30) for name in LEVELS} | {"temperature": air}


def table_of(*windows: Values, normal: Normal | None = None, family: Family | None = None) -> FeatureTable:
    """Return the features of windows beside a normal."""
    read = [Window(values, 1.0) for values in windows]
    return make_feature_table(read, [normal] * len(read), family or generic())


class Asked(NamedTuple):
    """What may be said of the windows beside their samples."""

    normal: Normal | None = None
    commissioning: bool = False
    heads: Mapping[str, Sequence[float]] = {}
    score: float | None = None
    limits: Limits | None = None
    family: Family | None = None


NOTHING = Asked()


def votes_of(table: FeatureTable, asked: Asked) -> dict[str, MemberVotes]:
    """Return the vote of the adaptive member, with a given score where there is one, and with what heads say."""
    ballot, count = Adaptive(HALF).vote(table), len(table.raw)
    score = ballot.anomaly if asked.score is None else np.full(count, asked.score)
    heads = {head: np.tile(p, (count, 1)) for head, p in asked.heads.items()}
    given = ("1",) * count, np.ones(count), score, heads, ballot.contributions, 0.1, ("",) * count, np.zeros(count)
    return {"adaptive": MemberVotes("adaptive", *given)}


def judged(*windows: Values, asked: Asked = NOTHING, detail: Detail = "full") -> list[Diagnosis]:
    """Return what is answered to windows on which the adaptive member alone votes."""
    family = asked.family or generic()
    table = table_of(*windows, normal=asked.normal, family=family)
    bare = [Inspection(Window(values, 1.0), family.name, asked.normal) for values in windows]
    inspections = [each._replace(commissioning=asked.commissioning, limits=asked.limits) for each in bare]
    return judge(family, inspections, table, votes_of(table, asked), {}, 1, detail=detail)


def at(levels: Mapping[str, float], seed: int = 1) -> Values:
    """Return a window at other levels."""
    return samples(seed, levels)


def reason(values: Values, normal: Normal | None) -> str:
    """Return why nothing is said of a window."""
    (found,) = situations(generic(), table_of(values, normal=normal), np.array([30])).reasons
    return found


# --- states of the machine


def test_a_machine_at_rest_is_not_judged() -> None:
    """Standing is no leakage: no score and no alarm level, and the answer says so at its operating point."""
    (found,) = judged(at_rest(), asked=Asked(own()))
    assert AT_REST in found.abstained
    assert np.isnan(found.score)
    assert (found.is_anomaly, found.severity, found.level) == (False, "unknown", ABSTAINED)
    assert found.operating_point is not None
    assert (found.operating_point.seen, found.operating_point.text) == (False, AT_REST)
    assert found.hypotheses == ()


@pytest.mark.parametrize("left", [0.0, 0.03])
def test_a_pump_that_fails_while_its_motor_turns_is_an_alarm(left: float) -> None:
    """Neither pressure nor flow, and vibration as ever, is no rest and no start: it is judged, and found critical."""
    failed = {name: left * samples(8)[name] for name in ("pressure", "flow")}
    (found,) = judged(samples(8) | failed, asked=Asked(own()))
    assert (found.abstained, found.is_anomaly, found.severity) == ("", True, "critical")


@pytest.mark.parametrize("channel", ["pressure", "flow"])
def test_one_channel_of_zeros_does_not_tell_rest_from_a_dead_sensor(channel: str) -> None:
    """A machine that sends one of the two and reads zero is not said to start or stop."""
    lone = commission(rows_of([{channel: samples(seed)[channel]} for seed in range(100, 120)]), generic())
    assert reason({channel: np.zeros(30)}, lone) == ZERO
    assert reason({channel: np.concatenate([np.zeros(15), samples(3)[channel][15:]])}, lone) == BETWEEN


def test_rest_that_was_commissioned_is_an_operating_point() -> None:
    """A load that commissioning saw needs no excuse, be it none at all."""
    assert reason(at_rest(), two_loads()) == ""
    (found,) = judged(at_rest(300), asked=Asked(two_loads()))
    assert (found.abstained, found.is_anomaly) == ("", False)
    assert found.operating_point is not None
    assert found.operating_point[:3] == (2, 2, True)
    assert found.operating_point.text == "at operating point 2 of 2"


def test_a_start_within_a_window_is_not_judged() -> None:
    """Half a window of rest and half of work is neither, and no fault."""
    starting = {name: np.concatenate([at_rest()[name][:15], samples(3)[name][15:]]) for name in LEVELS}
    assert reason(starting, own()) == BETWEEN


def test_a_system_without_a_normal_rests_too() -> None:
    """Nobody needs a normal to see that a machine stands; nothing else is excused without one."""
    assert reason(at_rest(), None) == AT_REST
    assert reason(at({"pressure": 300.0}), None) == ""


def test_what_lies_near_the_normal_is_judged() -> None:
    """A healthy window is excused by nothing, and told at its operating point."""
    (found,) = judged(samples(5), asked=Asked(own()))
    assert (found.abstained, found.is_anomaly, found.severity) == ("", False, "normal")
    assert found.operating_point is not None
    assert found.operating_point[:3] == (1, 1, True)


# --- loads that commissioning did not show

JUST = 0.02
# How far its loudest sample lies above a quieter window, beyond what it does above a normal one. Source: `NOISE`.
NOISIEST = 0.06
OTHER_LOADS: Mapping[str, Mapping[str, float]] = {
    "more pressure at the same flow": {"pressure": np.exp(OTHER_PRESSURE + JUST)},
    "more pressure, and warmer": {"pressure": np.exp(OTHER_PRESSURE + JUST), "temperature": 1.3},
    "less pressure at the same flow": {"pressure": np.exp(-OTHER_PRESSURE - JUST)},
    "flow a little off": {"pressure": 2.0, "flow": np.exp(SAME_FLOW - JUST)},
    "a motor that runs slower": {
        "pressure": np.exp(-TOGETHER - JUST),
        "flow": np.exp(-TOGETHER - JUST),
        "vibration": np.exp(-HARDLY_QUIETER - JUST),
    },
    "a second pump": {"pressure": 2.0, "flow": 2.0},
    "a little more of both": {"pressure": 1.06, "flow": 1.06},
    "a fan that turns slower": {"pressure": 0.6, "flow": 0.8, "vibration": np.exp(-QUIETER - JUST)},
    "a winch that turns slower": {"pressure": 1.1, "flow": 0.5, "vibration": np.exp(-QUIETER - JUST)},
    "the other pump": {"vibration": np.exp(-OTHER_PUMP) - NOISIEST},
}
FAULTS: Mapping[str, Mapping[str, float]] = {
    "too little more pressure": {"pressure": np.exp(OTHER_PRESSURE - JUST)},
    "too little less pressure": {"pressure": np.exp(-OTHER_PRESSURE + JUST)},
    "pressure lost, and warmer": {"pressure": 0.5, "temperature": 1 + 2 * WARMER_K / LEVELS["temperature"]},
    "pressure up, and flow lost": {"pressure": 2.0, "flow": np.exp(-SAME_FLOW - JUST)},
    "flow alone": {"flow": 0.3},
    "pressure alone by half of both": {"pressure": np.exp(-TOGETHER - JUST), "flow": np.exp(-TOGETHER + JUST)},
    "flow alone by half of both": {"pressure": np.exp(-TOGETHER + JUST), "flow": np.exp(-TOGETHER - JUST)},
    "both lost, and not much quieter": {"pressure": 0.6, "flow": 0.8, "vibration": np.exp(-QUIETER + JUST)},
    "flow lost, and not much quieter": {"pressure": 1.1, "flow": 0.5, "vibration": np.exp(-QUIETER + JUST)},
    "a pump that delivers half, and shakes on": {"pressure": 0.5, "flow": 0.5},
    "the same, hardly quieter": {"pressure": 0.5, "flow": 0.5, "vibration": np.exp(-HARDLY_QUIETER + JUST)},
    "a little quieter": {"vibration": np.exp(-OTHER_PUMP) - NOISIEST / 3},
    "quieter at less pressure": {"pressure": np.exp(-SAME_FLOW - JUST), "vibration": 0.5},
    "louder": {"vibration": 1.6},
    "both lost, and warmer": {"pressure": 0.4, "flow": 0.4, "temperature": 1.3},
}


def times(factors: Mapping[str, float]) -> Values:
    return at({name: factor * LEVELS[name] for name, factor in factors.items()})


@pytest.mark.parametrize("name", OTHER_LOADS)
def test_another_load_is_told_and_not_judged(name: str) -> None:
    """Pressure that the load alone makes, or a slower motor, is an operating point that commissioning did not show."""
    assert reason(times(OTHER_LOADS[name]), own()) == UNSEEN
    (found,) = judged(times(OTHER_LOADS[name]), asked=Asked(own()))
    assert UNSEEN in found.abstained
    assert found.operating_point is not None
    assert (found.operating_point.seen, found.operating_point.text) == (False, UNSEEN)


@pytest.mark.parametrize("name", FAULTS)
def test_what_a_load_does_not_do_is_judged(name: str) -> None:
    """Heat from lost pressure, lost flow, and what is less than a step of the load stay with the detectors."""
    assert reason(times(FAULTS[name]), own()) == ""


@pytest.mark.parametrize(("flow", "told"), [(NO_FLOW * 0.9, ""), (NO_FLOW * 1.1, UNSEEN), (200.0, UNSEEN)])
def test_a_machine_that_held_its_load_while_it_was_learned_begins_to_move(flow: float, told: str) -> None:
    """Any flow is a load that commissioning did not show; what a meter reads at rest is none."""
    still = {"flow": np.zeros(30)}
    normal = commission(rows_of([samples(seed) | still for seed in range(100, 120)]), generic())
    moving = samples(5) | {"flow": flow * generic().channels["flow"].spread * (1 + 1e-3 * np.sin(np.arange(30)))}
    assert reason(moving, normal) == told


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_single_samples_elsewhere_are_no_other_load(share: float) -> None:
    """A sensor that drops to zero for some samples takes the mean with it, and no load does that."""
    values = dict(samples(4))
    broken = values["pressure"].copy()
    broken[: int(share * len(broken))] = 0.0
    assert reason({**values, "pressure": broken}, own()) == ""


def test_without_a_normal_no_load_is_another() -> None:
    """From where a load would have changed is not known; a machine with a settled baseline knows it."""
    table = table_of(times({"pressure": 2.0}))
    assert other_load(table, generic()).tolist() == [False]
    assert other_load(moved.table_of(times({"pressure": 2.0})), generic()).tolist() == [True]


def test_a_missing_channel_tells_no_load() -> None:
    """Where pressure or flow is not sent, or the family has none, everything is left to the detectors."""
    window = {name: values for name, values in times({"pressure": 2.0}).items() if name != "flow"}
    assert reason(window, own()) == ""
    channels = {name: channel for name, channel in generic().channels.items() if name != "flow"}
    blind = generic().model_copy(update={"name": "without flow", "channels": channels})
    assert other_load(table_of(window, family=blind), blind).tolist() == [False]


# --- what is wrong on any machine


def stuck(seed: int = 3) -> Values:
    return samples(seed) | {"flow": np.full(30, 60.6)}


def test_a_broken_sensor_needs_no_vote() -> None:
    """A stuck sensor is an anomaly whatever the members think, named as a sensor's where no head speaks."""
    (found,) = judged(stuck(), asked=Asked(own(), score=0.1))
    assert (found.is_anomaly, found.severity, found.anomaly_type) == (True, "critical", "sensor_fault")
    assert [(rule.rule, rule.channel) for rule in found.rules] == [("stuck", "flow")]
    assert (found.score, found.level) == (1 - CERTAINTY, 3)


def test_a_level_beyond_all_that_normal_may_follow_is_a_warning() -> None:
    """However little the members see of it: slow faults end here, and nothing is learned of them."""
    hot, calm = at({"temperature": LEVELS["temperature"] + 18}), samples(5)
    (found,) = judged(hot, asked=Asked(own(), score=0.1))
    assert (found.is_anomaly, found.severity, found.level, found.learned) == (True, "warning", 2, None)
    assert [(rule.rule, rule.channel, rule.sustained) for rule in found.rules] == [("moved", "temperature", True)]
    (sure,) = judged(hot, asked=Asked(own(), score=0.95))
    assert sure.score == pytest.approx(0.95)
    assert sure.severity == "critical"
    assert not judged(calm, asked=Asked(own(), score=0.1))[0].rules
    assert not judged(hot, asked=Asked(None, score=0.1))[0].rules, "nothing is known of it yet"
    (other,) = judged(at({"pressure": 2 * LEVELS["pressure"]}), asked=Asked(own(), score=0.1))
    assert (other.abstained.startswith(UNSEEN), other.rules) == (True, ()), "another load is far from normal by itself"


@pytest.mark.parametrize(
    ("moved", "severity"),
    [({"temperature": 48.0 + 40}, "critical"), ({"temperature": 48.0 - 40}, "warning"), ({"flow": 40.0}, "critical")],
)
def test_a_level_twice_as_far_as_it_may_follow_is_critical(moved: dict[str, float], severity: str) -> None:
    """Nobody needs to look twice; oil is cold after each night."""
    (found,) = judged(at(moved), asked=Asked(own(), score=0.1))
    assert (found.severity, found.level) == (severity, 3 if severity == "critical" else 2)


def test_one_channel_names_no_part() -> None:
    """Its sensor may be what is wrong, too."""
    alone = {"pressure": at({"pressure": 0.85 * LEVELS["pressure"]})["pressure"]}
    (found,) = judged(alone, asked=Asked(own(), heads={"fault": fault_head("internal_leakage")}))
    assert (found.is_anomaly, found.affected) == (True, ())


def test_no_one_sensor_moves_two_channels() -> None:
    """Where pressure and flow are both far below all that normal follows, a head that says sensor is not believed."""
    lost = at({"pressure": 0.8 * LEVELS["pressure"], "flow": 0.8 * LEVELS["flow"]})
    (found,) = judged(lost, asked=Asked(own(), heads={"fault": fault_head("sensor_stuck")}))
    assert {rule.channel for rule in found.rules} == {"pressure", "flow"}
    assert "sensor" not in found.affected


def test_a_machine_that_comes_to_nothing_and_shakes_on_does_not_start() -> None:
    """Neither pressure nor flow reaches half of its most: a failure where it is as loud, a start where it is not."""
    weak = samples(5) | {"pressure": np.linspace(0.5, 25, 30), "flow": np.linspace(0.1, 6, 30)}
    (loud,) = judged(weak, asked=Asked(own(), score=0.99))
    assert (loud.is_anomaly, loud.severity) == (True, "critical")
    (quiet,) = judged(weak | {"vibration": 0.6 * samples(5)["vibration"]}, asked=Asked(own(), score=0.99))
    assert quiet.abstained.startswith(BETWEEN)
    assert quiet.level == alarm.UNSEEN


def test_what_heads_call_an_anomaly_stays() -> None:
    """Where a head judges a component its kind is the anomaly's, and a rule stands beside it."""
    (found,) = judged(stuck(), asked=Asked(own(), heads={"fault": fault_head("cooler_fouling")}))
    assert found.anomaly_type == "overheating"
    assert found.rules


def test_a_limit_speaks_while_a_system_is_commissioned() -> None:
    """What people stated holds before anything is normal; members that need the normal are silent, and say why."""
    limits: Limits = {"temperature": {"high": 45.0}}
    beyond, calm = judged(
        samples(4), at({"temperature": 30.0}), asked=Asked(commissioning=True, limits=limits, score=0.99)
    )
    assert (beyond.is_anomaly, beyond.level, beyond.anomaly_type) == (True, LIMIT, "limit_exceeded")
    assert (calm.is_anomaly, calm.level) == (False, ABSTAINED)
    assert COMMISSIONING in calm.abstained
    assert {vote.reason for vote in calm.votes} == {COMMISSIONING}
    assert (calm.operating_point, calm.normal) == (None, None)


def test_one_sample_beyond_a_limit_is_told_and_is_no_alarm() -> None:
    """A spike passes a limit without staying there: it is told, and neither decides nor counts as beyond."""
    spiked = samples(4)
    spiked["temperature"][7] = 60.0
    (found,) = judged(spiked, asked=Asked(own(), score=0.1, limits={"temperature": {"high": 55.0}}))
    assert [rule.sustained for rule in found.rules] == [False]
    assert (found.is_anomaly, found.anomaly_type) == (False, None)
    assert found.level < LIMIT


def test_levels_tell_how_far_outside_a_window_lies() -> None:
    """Normal, unusual, outside and far outside are 0 to 3; a window is unusual by the machine's own commissioning."""
    assert [judged(samples(6), asked=Asked(own(), score=score))[0].level for score in (0.1, 0.7, 0.99)] == [0, 2, 3]
    strange = at({"flow": 60.8, "pressure": 158.0})
    assert table_of(strange, normal=own()).unusual.tolist() == [True]
    assert judged(strange, asked=Asked(own(), score=0.1))[0].level == 1


# --- names


def fault_head(fault: str, probability: float = 0.9) -> list[float]:
    """Return what the head of faults says where one class is likely."""
    classes = generic().heads["fault"].classes
    rest = (1 - probability) / (len(classes) - 1)
    return [probability if grade == fault else rest for grade in classes]


LEAK = {"flow": 44.0, "pressure": 132.0, "temperature": 45.0}


def test_where_no_head_speaks_physics_names_the_component() -> None:
    """What the hypotheses name is the affected component; the anomaly keeps the name of its loudest channel."""
    (found,) = judged(at(LEAK), asked=Asked(own()))
    assert found.components == ()
    assert found.affected == ("hoses",) == (named(found.hypotheses),)
    assert found.anomaly_type is not None
    assert found.anomaly_type.endswith(("flow", "pressure"))


def test_what_heads_name_is_not_overruled() -> None:
    """Where a head knows a component, the hypotheses are told beside it and name nothing."""
    (found,) = judged(at(LEAK), asked=Asked(own(), heads={"fault": fault_head("cooler_fouling")}))
    assert found.affected == ("cooler",)
    assert found.hypotheses[0].component == "hoses"


def test_nothing_is_named_where_several_fit_alike() -> None:
    """Oil that is 7 K warmer may be a fouled cooler or a hot day: hypotheses are told, and no component is affected."""
    (found,) = judged(at({"temperature": 55.0}), asked=Asked(own(), score=0.9))
    assert found.hypotheses
    assert found.affected == ()


def test_nothing_is_named_without_an_anomaly_a_normal_or_shares() -> None:
    """A normal window, a machine that was never commissioned, and an answer without attribution name nothing."""
    settled = moved.normal()
    for found in (
        *judged(samples(5), asked=Asked(own(), score=0.1)),
        *judged(at(LEAK), asked=Asked(None)),
        *judged(at(LEAK), asked=Asked(settled)),
        *judged(at(LEAK), asked=Asked(own()), detail="score"),
    ):
        assert (found.affected, found.hypotheses) == ((), ())


def test_no_more_hypotheses_are_told_than_people_look_at() -> None:
    """Of many that fit, the most plausible are told, the first one first."""
    (found,) = judged({"pressure": at({"pressure": 190.0})["pressure"]}, asked=Asked(own()))
    shares = [each.plausibility for each in found.hypotheses]
    assert len(shares) == HYPOTHESES
    assert shares == sorted(shares, reverse=True)


def test_a_family_without_components_has_the_general_one() -> None:
    """Where a family names no component, the general word for the part is affected, and its repair is asked for."""
    changes = {"name": "bare", "heads": {}, "components": {}, "anomaly": (), "label": "anomaly"}
    bare = generic().model_copy(update=changes)
    normal = commission(rows_of([samples(seed) for seed in range(100, 120)], bare), bare)
    (found,) = judged(at(LEAK), asked=Asked(normal, family=bare))
    assert found.affected == ("hoses",)
    findings = findings_of(found)
    assert repair_question(findings, bare, "en") == "How to fix external leakage (hoses and fittings)?"
    assert repair_question(findings, bare, "ru") == "Как устранить наружные утечки (рукава и соединения)?"


# --- what is kept


def test_what_a_window_was_judged_by_is_kept() -> None:
    """Of several operating points the one that it lies at is kept, bit for bit, and with it the answer comes again."""
    idle = at_rest(300)
    (found,) = judged(idle, asked=Asked(two_loads()))
    assert found.normal == two_loads().at(1).to_bytes()
    assert found.normal is not None
    (again,) = judged(idle, asked=Asked(Normal.from_bytes(found.normal)))
    assert (again.score, again.level) == (found.score, found.level)
    assert again.attribution == found.attribution


def test_a_normal_of_other_features_is_none() -> None:
    """What was learned on other features or terms says nothing: the window is judged as while commissioning."""
    longer = generic().model_copy(update={"name": "longer", "tails_s": (5.0,)})
    foreign = commission(rows_of([samples(seed) for seed in range(100, 120)], longer), longer)
    assert is_known(foreign, longer)
    assert is_known(own(), generic())
    assert is_known(moved.normal(), generic())
    assert not is_known(foreign, generic())
    assert not is_known(None, generic())
    first = own().points[0]
    assert first.moments is not None
    short = first.moments.of(np.zeros((6, 3)))
    fewer = Normal((first, type(first)(first.baseline, short)))
    assert not is_known(fewer, generic())
    for strange in (foreign, fewer):
        unknown, none = (table_of(samples(1), normal=each) for each in (strange, None))
        assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(unknown.parts, none.parts, strict=True))
        (found,) = judged(samples(1), asked=Asked(strange, not is_known(strange, generic()), score=0.99))
        assert COMMISSIONING in found.abstained
        assert (found.is_anomaly, found.level, found.operating_point) == (False, ABSTAINED, None)


@pytest.mark.parametrize("detail", ["full", "components"])
def test_a_table_calls_anomalies_as_answers_do(detail: Detail) -> None:
    """Rows of an offline table and answers bear the same name: of a head, else of a rule, else of a channel."""
    windows = [stuck(), at(LEAK), samples(5), at({"temperature": 70.0}), stuck(8)]
    asked = Asked(own(), heads={"fault": fault_head("pump_wear")})
    table = table_of(*windows, normal=own())
    votes = votes_of(table, asked)
    votes["adaptive"].heads["fault"][[0, 1]] = np.nan
    inspections = [Inspection(Window(values, 1.0), "generic", own()) for values in windows]
    answers = judge(generic(), inspections, table, votes, {}, 1, detail=detail)
    situation = situations(generic(), table, np.full(5, 30))
    verdicts = decide(generic(), table, np.full(5, 30.0), np.zeros(5, dtype=np.bool_), votes, situation=situation)
    keys = pa.table({"row": pa.array(range(5))})
    rows = tabulated(generic(), keys, table, verdicts, detail, situation)
    assert rows.column("anomaly_type").to_pylist() == [found.anomaly_type for found in answers]
    assert rows.column("anomaly_type").to_pylist()[0] == "sensor_fault"
    assert rows.column("score").to_pylist() == [found.score for found in answers]
    assert answers[2].anomaly_type is None
