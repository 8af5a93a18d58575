"""Rules of judging machines that are like none we ship: idle most of the day, below zero, in other units."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from pipelines.detectors.untrained import BUILT_IN, untrained
from pipelines.diagnosis.ensemble import judge
from pipelines.diagnosis.records import Diagnosis, Inspection
from pipelines.diagnosis.rules import doubts
from pipelines.diagnosis.situation import UNSEEN, situations
from pipelines.machines.commissioning import Normal, commission
from pipelines.machines.definition import family_of, in_units, read_definition
from pipelines.machines.family import Family, read_family
from pipelines.machines.proposal import Reading, propose
from pipelines.signals.reading import make_feature_table
from pipelines.signals.windows import Window

Levels = Mapping[str, tuple[float, float]]  # by channel, level and noise
LENGTH = 60


def own(text: str) -> Family:
    """Return the family of a definition, as it is kept."""
    return family_of("own", read_definition(text).spelled_out().to_json())


def windows(levels: Levels, count: int, seed: int = 0) -> list[Window]:
    random = np.random.default_rng(seed)
    return [
        Window({name: random.normal(level, noise, LENGTH) for name, (level, noise) in levels.items()}, 1.0)
        for _ in range(count)
    ]


def taught(family: Family, shown: Sequence[Window]) -> Normal:
    return commission(make_feature_table(shown, [None] * len(shown), family).raw, family)


def judged(family: Family, normal: Normal, asked: Sequence[Window]) -> list[Diagnosis]:
    """Judge as a family of one's own is that nobody has trained on."""
    inspections = [Inspection(each, family.name, normal, definition=family.definition) for each in asked]
    table = make_feature_table(asked, [normal] * len(asked), family)
    votes = {"adaptive": untrained("adaptive", family).votes(table, BUILT_IN, "full")}
    return judge(family, inspections, table, votes, {}, 1)


POWER: Levels = {"pressure": (150, 1.5), "flow": (40, 0.3), "temperature": (45, 0.2), "vibration": (2, 0.05)}
UNITS = {"pressure": "bar", "flow": "l/min", "temperature": "degC", "vibration": "mm/s"}
LOST: Sequence[Levels] = (
    {"flow": (32, 0.3)},
    {"flow": (24, 0.3)},
    {"pressure": (120, 1.5), "flow": (32, 0.3)},
    {"vibration": (4, 0.05)},
)


@pytest.mark.parametrize("lost", LOST)
def test_a_machine_that_mostly_stands_is_watched_by_the_proposal(lost: Levels) -> None:
    """Of a log that is zero two thirds of the time the typical level is that of the rest: a fault is no normal."""
    random = np.random.default_rng(1)
    runs = np.arange(6000) % 300 < 100
    log = {
        name: np.where(runs | (name == "temperature"), random.normal(level, noise, len(runs)), 0.0)
        for name, (level, noise) in POWER.items()
    }
    found = propose("Press", [Reading(name, name, UNITS[name], None, values) for name, values in log.items()], 1.0)
    assert sum("about zero most of the time" in note for note in found.notes) == 3
    family = family_of("own", found.definition.spelled_out().to_json())
    normal = taught(family, windows(POWER, 25))
    healthy, faulty = (judged(family, normal, windows({**POWER, **more}, 10, 5)) for more in ({}, lost))
    assert [each.severity for each in healthy] == ["normal"] * 10
    assert all(each.is_anomaly for each in faulty)


def test_no_level_is_a_share_of_zero() -> None:
    """A typical level of zero, given for a channel that is compared by ratio, counts as not given."""
    zero, none = (own(f"title: P\nchannels:\n  pressure: {{unit: bar{more}}}\n") for more in (", typical: 0", ""))
    assert zero.channels == none.channels


LOADS: Sequence[Levels] = (
    {"pressure": (50, 0.5), "flow": (40, 0.3)},
    {"pressure": (120, 1.0), "flow": (38, 0.3)},
    {"pressure": (200, 2.0), "flow": (36, 0.3)},
)


@pytest.mark.parametrize("each", [7, 8])
def test_a_load_shown_in_a_few_windows_is_judged(each: int) -> None:
    """Some twenty windows of three loads are enough: healthy ones are normal at each, and a loss of flow is found."""
    family = own("title: V\nchannels:\n  pressure: {unit: bar}\n  flow: {unit: l/min}\n")
    normal = taught(family, [window for seed, load in enumerate(LOADS) for window in windows(load, each, seed)])
    assert len(normal.points) == 3
    for seed, load in enumerate(LOADS):
        found = judged(family, normal, windows(load, 10, 10 + seed))
        assert Counter(diagnosis.severity for diagnosis in found) == {"normal": 10}
        assert not any("no baseline" in note for diagnosis in found for note in diagnosis.quality.notes)
    assert judged(family, normal, windows({**LOADS[0], "flow": (36, 0.3)}, 3, 9))[0].is_anomaly


def test_a_load_shown_in_fewer_is_learned_until_it_can_be_judged() -> None:
    """Nobody says anything of it at first, and what looks like it teaches."""
    family = own("title: V\nchannels:\n  pressure: {unit: bar}\n  flow: {unit: l/min}\n")
    normal = taught(family, [window for seed, load in enumerate(LOADS) for window in windows(load, 4, seed)])
    assert [each.severity for each in judged(family, normal, windows(LOADS[0], 3, 8))] == ["unknown"] * 3
    for window in windows(LOADS[0], 20, 9):
        (found,) = judged(family, normal, [window])
        if found.learned is not None:
            normal = normal.learning(found.learned)
    assert {each.severity for each in judged(family, normal, windows(LOADS[0], 10, 10))} == {"normal"}


VACUUM = "title: V\nchannels:\n  vacuum: {unit: bar, low: -1, high: 10}\n"
LINE = "title: V\nchannels:\n  pressure: {unit: bar, low: -1, high: 1}\n  flow: {unit: l/min}\n  oil: {unit: degC}\n"
BOTH_WAYS = "title: V\nchannels:\n  flow: {unit: l/min, low: -100, high: 100}\n  pressure: {unit: bar}\n"


@pytest.mark.parametrize(
    ("text", "shown", "lost"),
    [
        (VACUUM, {"vacuum": (-0.8, 0.004)}, {"vacuum": (-0.4, 0.004)}),
        (VACUUM, {"vacuum": (-0.8, 0.004)}, {"vacuum": (0.8, 0.004)}),
        (
            LINE,
            {"pressure": (-0.8, 0.004), "flow": (50, 0.3), "oil": (40, 0.2)},
            {"pressure": (-0.5, 0.004), "flow": (50, 0.3), "oil": (40, 0.2)},
        ),
        (BOTH_WAYS, {"flow": (50, 0.3), "pressure": (100, 1)}, {"flow": (-50, 0.3), "pressure": (100, 1)}),
    ],
)
def test_values_below_zero_have_a_sign(text: str, shown: Levels, lost: Levels) -> None:
    """A vacuum is no machine at rest; half of it lost, and a flow the other way, are what they are."""
    family = own(text)
    normal = taught(family, windows(shown, 25))
    assert doubts(normal, family) == ()
    assert {each.severity for each in judged(family, normal, windows(shown, 10, 5))} == {"normal"}
    found = judged(family, normal, windows(lost, 5, 6))
    assert all(each.is_anomaly for each in found)
    assert "%" not in "".join(text for each in found for h in each.hypotheses for text in h.evidence_for)


AMERICAN = {"pressure": "psi", "temperature": "degF", "flow": "gpm", "vibration": "in/s"}
SCALES = {"pressure": (14.5038, 0.0), "temperature": (1.8, 32.0), "flow": (0.264172, 0.0), "vibration": (1 / 25.4, 0.0)}


def american(levels: Levels) -> Levels:
    """Return the same levels as a system speaks them that measures in other units."""
    return {
        name: (level * SCALES[name][0] + SCALES[name][1], noise * SCALES[name][0])
        for name, (level, noise) in levels.items()
    }


@pytest.mark.parametrize(
    ("moved", "other_load"),
    [
        ({"pressure": (50, 1), "flow": (15, 0.3)}, False),  # the pump fails, and is as loud
        ({"flow": (26, 0.3), "vibration": (0.75, 0.02)}, True),  # it turns more slowly
        ({"vibration": (1.2, 0.03)}, True),  # another pump
    ],
)
def test_a_load_is_told_from_a_fault_in_any_unit(moved: Levels, other_load: bool) -> None:
    """What vibration tells of the pump it tells in inches, too."""
    whole = {**POWER, **moved}
    for family, levels in (
        (read_family("generic"), lambda same: same),
        (in_units("generic", tuple(AMERICAN.items())), american),
    ):
        normal, asked = taught(family, windows(levels(POWER), 25)), windows(levels(whole), 3, 5)
        table = make_feature_table(asked, [normal] * 3, family)
        reasons = situations(family, table, np.full(3, LENGTH)).reasons
        assert reasons == (UNSEEN if other_load else "",) * 3


def test_a_technician_reads_the_units_that_were_sent() -> None:
    """Fahrenheit stays Fahrenheit in what speaks for a cause."""
    text = "".join(f"  {name}: {{unit: {unit}}}\n" for name, unit in AMERICAN.items())
    family = own(f"title: U\nchannels:\n{text}")
    hot = american({**POWER, "temperature": (65, 0.2)})
    (found,) = judged(family, taught(family, windows(american(POWER), 25)), windows(hot, 1, 5))
    assert "temperature 36 degF above normal" in found.hypotheses[0].evidence_for[0]
