"""Rules of machine kinds that people define: what they may say, and what detectors read of it."""

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from pipelines.datasets.simulator import simulate
from pipelines.detectors.untrained import BUILT_IN, untrained
from pipelines.errors import InvalidInput, Unavailable, UnknownFamily
from pipelines.machines.commissioning import commission
from pipelines.machines.definition import (
    CHANNELS_MAX,
    TEXT_MAX,
    Definition,
    find_family,
    in_units,
    read_definition,
)
from pipelines.machines.family import read_family
from pipelines.signals.features import feature_names
from pipelines.signals.reading import make_feature_table
from pipelines.signals.units import convert
from pipelines.signals.windows import Window

PRESS: dict[str, Any] = {
    "title": "Press",
    "channels": {
        "pressure": {"unit": "bar", "typical": 180},
        "oil temperature": {"unit": "degC"},
        "Ток, А": {"unit": "A", "low": 0, "high": 200},
    },
}


def text(**changes: Any) -> str:
    return Definition.model_validate(PRESS | changes).to_json()


def test_what_is_left_out_is_that_of_the_unit() -> None:
    """Limits and spreads of known units are those of the shipped power unit; others are read in shares of a level."""
    family, generic = find_family("press", text()), read_family("generic")
    oil, current = family.channels["oil temperature"], family.channels["Ток, А"]
    assert (oil.low, oil.high, oil.relation) == (-40, 120, "difference")
    assert family.channels["pressure"].spread == pytest.approx(1.8)
    assert (current.relation, current.typical, current.spread) == ("ratio", 100, 1)
    assert family.severity == generic.severity
    assert "hydraulic_power_kw" not in feature_names(family)


@pytest.mark.parametrize(
    ("written", "unit", "high", "spread"),
    [("psi", "psi", 10150, 15), ("°F", "degF", 248, 1.8), ("МПа", "MPa", 70, 0.1), ("gpm", "gpm", 264.2, 0.066)],
)
def test_units_are_read_as_people_write_them(written: str, unit: str, high: float, spread: float) -> None:
    """What is plausible in any unit of pressure, temperature, flow or vibration is that of the shipped power unit."""
    (channel,) = find_family("x", text(channels={"a": {"unit": written}})).channels.values()
    assert (channel.unit, channel.high) == (unit, high)
    assert channel.spread == pytest.approx(spread, rel=0.02)


def test_a_machine_is_judged_alike_in_any_unit() -> None:
    """Fahrenheit and Celsius, psi and bar: the distance from normal is the same, and so is what has moved."""
    celsius = find_family("x", text(channels={"pressure": {"unit": "bar"}, "oil": {"unit": "degC", "typical": 45}}))
    american = {"pressure": {"unit": "psi", "typical": 1450}, "oil": {"unit": "degF", "typical": 113}}
    fahrenheit = find_family("x", text(channels=american))
    found = []
    for family, psi, per_kelvin, zero in ((celsius, 1.0, 1.0, 0.0), (fahrenheit, 14.5038, 1.8, 32.0)):
        made = []
        for seed in range(24):
            random, warmer = np.random.default_rng(seed), 20.0 * (seed == 23)
            oil = (47 + warmer + random.normal(0, 0.3, 30)) * per_kelvin + zero
            made.append(Window({"pressure": 180 * psi * random.normal(1, 0.01, 30), "oil": oil}, 1.0))
        learned = commission(make_feature_table(made[:20], [None] * 20, family).raw, family)
        found.append(make_feature_table(made[20:], [learned] * 4, family))
    np.testing.assert_allclose(found[0].distance, found[1].distance, rtol=0.02)
    np.testing.assert_allclose(found[0].strayed, found[1].strayed, rtol=0.02, atol=0.02)
    assert np.abs(found[0].strayed[3]).max() > 1


def test_equal_definitions_are_one_family() -> None:
    """The key says which definition: the same text is the same object, another number another family."""
    known = find_family("press", text())
    assert find_family("press", text()) is known
    assert known.key.startswith("press@")
    other = find_family("press", text(window_s=30.0))
    assert other != known
    assert other.key != known.key
    assert known != find_family("lift", text())
    with pytest.raises(UnknownFamily):
        find_family("press")


@pytest.mark.parametrize(
    ("channels", "field"),
    [
        ({}, "channels"),
        ({f"c{place}": {"unit": "bar"} for place in range(CHANNELS_MAX + 1)}, "channels"),
        ({"a@b": {"unit": "bar"}}, "channels.a@b.[key]"),
        ({"_a": {"unit": "bar"}}, "channels._a.[key]"),
        ({"a": {"unit": "A"}}, "channels.a"),
        ({"a": {"unit": "bar", "low": 5, "high": 5}}, "channels.a"),
        ({"a": {"unit": "bar", "typical": 900}}, "channels.a"),
        ({"a": {"unit": "bar", "spread": 0}}, "channels.a.spread"),
        ({"a": {"unit": "bar", "low": float("nan")}}, "channels.a.low"),
        ({"a": {"unit": "bar", "rate_hz": -1}}, "channels.a.rate_hz"),
        ({"a": {"unit": "bar", "colour": "red"}}, "channels.a.colour"),
        ({"a": {"unit": "bar", "rate_hz": 1e12}}, "channels.a.rate_hz"),
        ({"a": {"unit": "bar", "rate_hz": 1e-300}}, "channels.a.rate_hz"),
        ({"a": {"unit": "bar", "spread": 1e-300}}, "channels.a"),
        ({"a": {"unit": " ", "low": 0, "high": 1}}, "channels.a.unit"),
        ({"a": {"unit": "\u202ebar", "low": 0, "high": 1}}, "channels.a.unit"),
        ({"at": {"unit": "bar"}}, ""),
        ({"a": {"unit": "bar"}, "a ": {"unit": "bar"}}, ""),
        ({"\u00e9": {"unit": "bar"}, "e\u0301": {"unit": "bar"}}, ""),
    ],
)
def test_what_breaks_a_rule_is_named(channels: dict[str, Any], field: str) -> None:
    """Field by field, so that nobody has to guess."""
    with pytest.raises(ValidationError) as caught:
        Definition.model_validate(PRESS | {"channels": channels})
    assert field in {".".join(map(str, item["loc"])) for item in caught.value.errors()}


def test_the_ends_of_a_range_are_those_of_any_unit() -> None:
    """700 bar are plausible, and so is as much in psi; a thousandth more is not, in either."""
    for unit, family in (("bar", read_family("generic")), ("psi", in_units("generic", (("pressure", "psi"),)))):
        for pressure, fits in ((700.0, True), (0.0, True), (700.001, False), (-0.001, False)):
            (value,) = convert(np.array([pressure]), "bar", unit).tolist()
            assert (family.channels["pressure"].low <= value <= family.channels["pressure"].high) is fits


@pytest.mark.parametrize(
    "written",
    [
        "title: a\ntitle: b",
        "channels: {p: {unit: bar}, p: {unit: psi}}",
        "a: !!int ''",
        "a: !!bool x",
        "a: !!timestamp x",
        "window_s: 1:" + "1:" * 400 + "1.5",
    ],
)
def test_yaml_that_says_nothing_certain_is_refused(written: str) -> None:
    """A name that stands there twice, a tag whose value is none, and a number in sixties that is beyond all numbers."""
    with pytest.raises(InvalidInput, match="must be YAML or JSON"):
        read_definition(written)


def test_definitions_come_as_yaml_or_json() -> None:
    """Without aliases, a few bytes of which may cost gigabytes, and of bounded size."""
    given = read_definition("title: Press\nchannels:\n  pressure: {unit: bar}\n")
    assert read_definition(given.to_json()) == given
    bomb = "a: &a [x, x]\nb: &b [*a, *a]\ntitle: [*b, *b]\n"
    for wrong in (bomb, "title: [", "\x00", "x" * (TEXT_MAX + 1)):
        with pytest.raises(InvalidInput, match="definition"):
            read_definition(wrong)


def windows(first: int, count: int, current: float = 41.0) -> list[Window]:
    found = []
    for seed in range(first, first + count):
        random = np.random.default_rng(seed)
        levels = {"pressure": 180.0, "oil temperature": 47.0, "Ток, А": current}
        found.append(Window({name: level * random.normal(1, 0.01, 30) for name, level in levels.items()}, 1.0))
    return found


def test_a_family_that_nobody_trained_is_judged_by_its_own_normal() -> None:
    """Of any channels: a motor that takes a fifth more is found, healthy windows are not, and labels are not needed."""
    family = find_family("press", text())
    learned = commission(make_feature_table(windows(0, 20), [None] * 20, family).raw, family)

    def scores(found: list[Window]) -> list[float]:
        table = make_feature_table(found, [learned] * len(found), family)
        votes = untrained("adaptive", family).votes(table, BUILT_IN)
        assert set(votes.versions) == {BUILT_IN}
        return list(votes.anomaly)

    warning = family.severity.warning
    assert max(scores(windows(100, 40))) < warning
    assert min(scores(windows(200, 10, current=49.0))) > warning
    with pytest.raises(Unavailable, match="no version is trained for family press"):
        untrained("catboost", family)


def test_trained_members_judge_a_system_in_any_unit() -> None:
    """What they read of a machine is relative to its own normal: the same numbers in psi, Fahrenheit and gallons."""
    units = (("pressure", "psi"), ("temperature", "degF"), ("flow", "gpm"))
    generic, american = read_family("generic"), in_units("generic", units)
    assert american.key == "generic@flow=gpm;pressure=psi;temperature=degF"
    assert find_family(american.key) == american != generic
    tables = []
    for family in (generic, american):
        made = []
        for seed in range(24):
            window = simulate("pump_wear" if seed > 21 else "healthy", 0.5, 30, seed)
            to = {name: channel.unit for name, channel in family.channels.items()}
            values = {n: convert(v, generic.channels[n].unit, to[n]) for n, v in window.values.items()}
            made.append(Window(values, window.rate_hz))
        learned = commission(make_feature_table(made[:20], [None] * 20, family).raw, family)
        tables.append(make_feature_table(made[20:], [learned] * 4, family))
    assert tables[0].columns == tables[1].columns
    np.testing.assert_allclose(tables[0].read, tables[1].read, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(tables[0].distance, tables[1].distance, rtol=1e-6)
