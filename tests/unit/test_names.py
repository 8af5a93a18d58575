"""Rules of what an anomaly is called where no head is surer than not: by a silent sensor, by physics, or by a guess."""

from pipelines.diagnosis.findings import findings_of
from pipelines.diagnosis.hypotheses import settled
from pipelines.knowledge.answer.faults import repair_question
from tests.unit.moved import generic, samples
from tests.unit.test_situation import LEAK, Asked, at, fault_head, judged, own, stuck

GUESS = {"fault": fault_head("clogged_filter", 0.3)}


def test_physics_names_the_part_where_heads_only_guess() -> None:
    """A guess of 0.3 gives way to a hypothesis far more plausible than all others; its repair is asked for."""
    (found,) = judged(at(LEAK), asked=Asked(own(), heads=GUESS))
    assert found.components[0].component == "filter"
    assert found.affected == ("hoses",)
    assert found.anomaly_type == "leakage"
    assert repair_question(findings_of(found), generic(), "en") == "How to fix external leakage (hoses and fittings)?"


def test_a_guess_is_the_last_resort() -> None:
    """Where several hypotheses fit alike, what heads think likeliest is named, with its probability beside it."""
    (found,) = judged(at({"temperature": 55.0}), asked=Asked(own(), heads=GUESS, score=0.9))
    assert settled(found.hypotheses) is None
    assert (found.affected, found.anomaly_type) == (("filter",), "blockage")


def test_no_part_is_named_where_physics_says_that_nothing_is_broken() -> None:
    """A lighter load is no blockage; the anomaly is called by what was seen."""
    lighter = {"pressure": 140.0, "temperature": 40.0, "vibration": 1.0}
    (found,) = judged(at(lighter), asked=Asked(own(), heads=GUESS, score=0.9))
    first = settled(found.hypotheses)
    assert first is not None
    assert first.component == ""
    assert (found.affected, found.anomaly_type) == ((), "low_pressure")


def test_a_silent_sensor_is_named_where_heads_only_guess() -> None:
    """What stands still to the last digit is the sensor, not what trees make of it; while commissioning as well."""
    (found,) = judged(stuck(), asked=Asked(own(), heads=GUESS))
    assert (found.affected, found.anomaly_type) == (("sensor",), "sensor_fault")
    (early,) = judged(
        samples(4) | {"temperature": samples(4)["temperature"] * 0 - 40.0}, asked=Asked(commissioning=True)
    )
    assert (early.affected, early.anomaly_type) == (("sensor",), "sensor_fault")


def test_a_limit_names_no_part_by_itself() -> None:
    """Beyond a limit that people stated, a part is named where physics or a head knows it, and no guess."""
    limits = {"temperature": {"high": 45.0}}
    (found,) = judged(samples(4), asked=Asked(own(), heads=GUESS, limits=limits, score=0.1))
    assert (found.affected, found.anomaly_type) == ((), "limit_exceeded")
    (leaks,) = judged(at(LEAK), asked=Asked(own(), heads=GUESS, limits={"flow": {"low": 50.0}}))
    assert (leaks.affected, leaks.anomaly_type) == (("hoses",), "limit_exceeded")
    (known,) = judged(samples(4), asked=Asked(own(), heads={"fault": fault_head("pump_wear")}, limits=limits))
    assert known.affected == ("pump",)
