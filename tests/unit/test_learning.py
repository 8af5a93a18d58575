"""What people said of windows, as examples; and settings to try."""

from typing import Any

import numpy as np
import pytest

from pipelines.datasets.feedback import WEIGHT, Remark, feedback_examples, fingerprint_of, in_order, together
from pipelines.datasets.simulator import simulate, simulate_recordings
from pipelines.detectors.masking import lesson
from pipelines.detectors.members import registry
from pipelines.machines.family import read_family
from pipelines.signals.reading import make_feature_table
from pipelines.training.train import examples_of, folds
from pipelines.training.tuning import Trial, best, candidates

GENERIC, RIG = read_family("generic"), read_family("rig")


def remark(seed: int = 0, anomalous: bool = True, component: str | None = None, system: str = "1/1") -> Remark:
    window = simulate("pump_wear" if anomalous else "healthy", 0.8, 5, seed)
    kept: dict[str, Any] = {"values": {name: samples.tolist() for name, samples in window.values.items()}}
    return Remark(system, kept | {"rate_hz": window.rate_hz}, None, anomalous, component)


@pytest.mark.parametrize(
    ("said", "grade"),
    [
        (remark(anomalous=False), 0),
        (remark(component="valve"), GENERIC.heads["fault"].classes.index("valve_lag")),
        (remark(component="pump"), -1),
        (remark(), -1),
    ],
)
def test_only_what_is_sure_is_a_grade(said: Remark, grade: int) -> None:
    """Normal is nominal; a component with one fault has that; several possible faults, or no component: not known."""
    found = feedback_examples([said], GENERIC, make_feature_table)
    assert found.heads["fault"].tolist() == [grade]
    assert found.anomaly.tolist() == [said.anomalous]


def test_a_false_alarm_says_nothing_of_what_raises_none() -> None:
    """The rig's cooler raises no alarm by itself: a normal window leaves its grade open."""
    values = {"pressure": [150.0] * 60, "temperature": [40.0] * 60, "flow": [8.0] * 60, "vibration": [0.5] * 60}
    said = Remark("1/1", {"values": values, "rate_hz": 1.0}, None, False, None)
    found = feedback_examples([said], RIG, make_feature_table)
    assert {head: grades.tolist() for head, grades in found.heads.items()} == {
        "cooler": [-1],
        "valve": [0],
        "pump": [0],
    }


def test_windows_of_one_system_stay_together() -> None:
    """Feedback has groups of its own: no split leaves one window of a system out and fits on another."""
    remarks = [remark(seed, seed % 2 == 0, system=f"1/{seed % 5}") for seed in range(20)]
    recorded = examples_of(simulate_recordings(GENERIC, 6, 8, 1), GENERIC)
    both = together(recorded, feedback_examples(remarks, GENERIC, make_feature_table))
    assert len(np.unique(both.groups)) == 6 + 5
    assert both.weight.tolist() == [1] * 48 + [WEIGHT] * 20
    for fit_rows, left_out in folds(both.groups, 4):
        assert not set(both.groups[fit_rows]) & set(both.groups[left_out])


def test_an_unknown_grade_is_not_learned() -> None:
    """Such a window counts for the anomaly, as often as it weighs, and not for the head."""
    recorded = examples_of(simulate_recordings(GENERIC, 6, 8, 1), GENERIC)
    both = together(recorded, feedback_examples([remark(seed) for seed in range(10)], GENERIC, make_feature_table))
    found = lesson(both, 1)
    assert found.anomaly[: 48 + 10 * WEIGHT].sum() == recorded.anomaly.sum() + 10 * WEIGHT
    features, grades = found.of("fault")
    assert len(features) == len(grades) < len(found.features)
    assert grades.min() == 0


def test_the_fingerprint_is_of_what_was_learned() -> None:
    """It is the same in any order, and another with another label, window or recording."""
    remarks = [remark(seed, seed % 2 == 0) for seed in range(6)]
    whole = fingerprint_of("f" * 64, remarks)
    assert len(whole) == 64
    assert fingerprint_of("f" * 64, remarks[::-1]) == whole
    assert in_order(remarks[::-1]) == in_order(remarks)
    flipped = [remarks[0]._replace(anomalous=False), *remarks[1:]]
    for other in (flipped, remarks[1:], [remark(9), *remarks[1:]]):
        assert fingerprint_of("f" * 64, other) != whole
    assert fingerprint_of("e" * 64, remarks) != whole
    assert fingerprint_of("f" * 64, []) == "f" * 64


@pytest.mark.parametrize("kind", registry().values(), ids=list(registry()))
def test_settings_to_try_are_drawn_once(kind: Any) -> None:
    """The shipped ones stand first; the same seed draws the same others, none twice, all from the space."""
    found = candidates(kind, 7, 8)
    assert found[0] == {}
    assert found == candidates(kind, 7, 8)
    assert len({tuple(settings.items()) for settings in found}) == len(found) == (9 if kind.space else 1)
    for settings in found[1:]:
        assert all(value in kind.space[name] for name, value in settings.items())


def test_the_shipped_settings_stay_unless_beaten() -> None:
    """Equal is not better."""
    trials = [Trial("catboost", {}, 0.2, 0.9), Trial("catboost", {"depth": 3.0}, 0.2, 0.9)]
    assert best(trials) == {}
    assert best([*trials, Trial("catboost", {"depth": 5.0}, 0.1, 0.9)]) == {"depth": 5.0}
    assert best([]) == {}
