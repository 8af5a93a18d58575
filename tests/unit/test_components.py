"""Rules of how an anomaly is named: by its components, their grades, or the channel that speaks loudest."""

from dataclasses import replace

import numpy as np
import pytest

from pipelines.machines.family import Head
from pipelines.signals.windows import Window
from tests.contract.examples import family, window
from tests.unit.test_ensemble import NAN, NOMINAL, PUMP_WORN, answers, member, one


def test_components_are_named_in_an_anomaly() -> None:
    """A component more likely off than not is affected, with its grade and the grade's kind of anomaly."""
    found = one(member("a", 0.9, heads=PUMP_WORN))
    assert found.affected == ("pump",)
    assert found.anomaly_type == "wear"
    pump, cooler = found.components
    assert (pump.component, pump.grade) == ("pump", 2)
    assert pump.probability == pytest.approx(0.9)
    assert (cooler.component, cooler.grade) == ("cooler", "full")


def test_nothing_is_affected_when_all_is_normal() -> None:
    """Without an anomaly no component and no kind is named, though their probabilities are told."""
    found = one(member("a", 0.1, heads=PUMP_WORN))
    assert (found.affected, found.anomaly_type) == ((), None)
    assert [finding.component for finding in found.components] == ["pump", "cooler"]


def test_as_likely_as_not_is_affected() -> None:
    """A component that is off with probability one half is named beside the likelier one; just under it is not."""
    heads = {"pump": [0.1, 0.2, 0.7], "cooler": [0.5, 0.5]}
    assert one(member("a", 0.9, heads=heads)).affected == ("pump", "cooler")
    assert one(member("a", 0.9, heads=heads | {"cooler": [0.5001, 0.4999]})).affected == ("pump",)


def test_the_likeliest_component_is_named_when_none_passes() -> None:
    """An anomaly for which no component is likely names the most probable one, by its general kind."""
    heads = {"pump": [0.6, 0.2, 0.2], "cooler": [0.9, 0.1]}
    found = one(member("a", 0.9, heads=heads))
    assert found.affected == ("pump",)
    assert found.anomaly_type == "leakage"


def test_what_is_no_anomaly_does_not_explain_one() -> None:
    """Where a family says whose fault counts as an anomaly, such a component is named first."""
    kind = family().model_copy(update={"anomaly": ("pump",)})
    heads = {"pump": [0.6, 0.2, 0.2], "cooler": [0.1, 0.9]}
    found = one(member("a", 0.9, heads=heads), kind=kind)
    assert found.affected == ("pump", "cooler")
    assert found.anomaly_type == "leakage"


def test_components_that_share_a_head() -> None:
    """On a shared head a class of another component counts as nominal for this one."""
    parts = {
        name: family().components["pump"].model_copy(update={"head": "fault", "faulty": (name,), "kinds": {}})
        for name in ("leak", "clog")
    }
    head = Head(column="fault", classes=("none", "leak", "clog"))
    kind = family().model_copy(update={"heads": {"fault": head}, "components": parts})
    leak, clog = one(member("a", 0.9, heads={"fault": [0.1, 0.7, 0.2]}), kind=kind).components
    assert (leak.component, leak.grade) == ("leak", "leak")
    assert leak.probability == pytest.approx(0.7)
    assert (clog.component, clog.grade) == ("clog", "none")
    assert clog.probability == pytest.approx(0.2)


def test_grades_of_another_head_mean_nothing_here() -> None:
    """What another component calls a fault on a head of its own leaves this one's grade of that name alone."""
    mild = family().components["pump"].model_copy(update={"head": "mild", "faulty": (1,), "kinds": {}})
    parts = {"mild": mild, "grave": mild.model_copy(update={"head": "grave", "faulty": (2,)})}
    heads = {name: Head(column=name, classes=(0, 1, 2)) for name in parts}
    kind = family().model_copy(update={"heads": heads, "components": parts})
    said = {"mild": [0.1, 0.2, 0.7], "grave": [0.1, 0.2, 0.7]}
    assert {found.component: found.grade for found in one(member("a", 0.9, heads=said), kind=kind).components} == {
        "mild": 2,
        "grave": 2,
    }


def test_the_kind_is_that_of_a_fault() -> None:
    """The likeliest cause is called by its likeliest fault, also where each of its faults is less likely than none."""
    found = one(member("a", 0.9, heads={"pump": [0.4, 0.25, 0.35], "cooler": [0.9, 0.1]}))
    assert found.components[0].grade == 0
    assert (found.affected, found.anomaly_type) == (("pump",), "wear")


def test_heads_come_from_those_who_know() -> None:
    """A member without heads, or one that abstains, has no say about components."""
    silent = replace(member("b", NAN, heads=NOMINAL), heads={head: np.full((1, 3), NAN) for head in ("pump",)})
    found = one(member("a", 0.9, heads={"pump": [0.1, 0.2, 0.7]}), silent, member("c", 0.9))
    assert found.components[0].probability == pytest.approx(0.9)


def test_without_heads_the_channel_names_the_kind() -> None:
    """When only members without heads vote, no component is affected and the loudest channel names the anomaly."""
    low_flow = window(1)
    values = dict(low_flow.values) | {"flow": low_flow.values["flow"] - 5}
    found = one(member("a", 0.9, contributions={"flow_mean": 2.0}), windows=[Window(values, 1.0)])
    assert found.affected == ()
    assert found.anomaly_type == "low_flow"


def test_a_channel_that_speaks_against_names_nothing() -> None:
    """Only what speaks for an anomaly gives it its name, however little; what says nothing does not."""
    quiet = one(member("a", 0.9, contributions={"flow_mean": -2.0, "pressure_mean": 0.25}))
    assert quiet.anomaly_type is not None
    assert quiet.anomaly_type.endswith("pressure")
    assert one(member("a", 0.9, contributions={"flow_mean": -2.0})).anomaly_type is None
    assert one(member("a", 0.9, contributions={})).anomaly_type is None


def test_what_no_head_knows_is_no_cause() -> None:
    """A component of which nothing is known gives an anomaly no name; one that is surely nominal does where all are."""
    unknown = {"pump": [NAN] * 3, "cooler": [0.3, 0.7]}
    assert one(member("a", 0.9, heads=unknown)).anomaly_type == "overheating"
    assert one(member("a", 0.9, heads=unknown | {"cooler": [NAN] * 2})).anomaly_type is None
    assert one(member("a", 0.9, heads={"pump": [1.0, 0.0, 0.0], "cooler": [1.0, 0.0]})).anomaly_type == "leakage"


def test_a_shared_head_is_read_window_by_window() -> None:
    """What another component's fault weighs in one window counts for that window alone."""
    parts = {
        name: family().components["pump"].model_copy(update={"head": "fault", "faulty": (name,), "kinds": {}})
        for name in ("leak", "clog")
    }
    head = Head(column="fault", classes=("none", "leak", "clog"))
    kind = family().model_copy(update={"heads": {"fault": head}, "components": parts})
    votes = replace(member("a", 0.9, 0.9), heads={"fault": np.array([[0.1, 0.1, 0.8], [0.3, 0.6, 0.1]])})
    _, second = answers(votes, kind=kind)
    assert {found.component: found.grade for found in second.components} == {"leak": "leak", "clog": "none"}
