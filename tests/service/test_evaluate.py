"""Rules of evaluation and its report, on a few simulated machines."""

import json

import numpy as np
import pytest

from pipelines.datasets.simulator import simulate_recordings
from pipelines.detectors.bundle import OUTSIDE
from pipelines.detectors.members import registry
from pipelines.diagnosis.records import Inspection
from pipelines.machines.family import read_family
from pipelines.scoring.score import judged
from pipelines.training import evaluate as evaluation
from pipelines.training.evaluate import ADAPTIVE, ENSEMBLE, TRAINED, Evaluation, evaluate, figures
from pipelines.training.report import render
from pipelines.training.train import examples_of, fit_member, load, take
from tests.serve.service import SHARED

FAMILY = read_family("generic")


@pytest.fixture(scope="module")
def found() -> Evaluation:
    """Evaluate on machines left out in two parts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation, "EVALUATION_FOLDS", 2)
        return evaluate(FAMILY, simulate_recordings(FAMILY, 24, 12, 5), 5, lambda *_: None)


def test_every_window_is_judged_once_by_each_panel(found: Evaluation) -> None:
    """The ensemble, the trained members and the adaptive one each judge all windows of all machines."""
    assert list(found.judged) == [ENSEMBLE, TRAINED, ADAPTIVE]
    for part in found.judged.values():
        assert len(part.diagnoses) == len(part.anomaly) == 24 * 12
        assert len(set(part.places.tolist())) == 24 * 12
    names = {vote.detector for diagnosis in found.judged[ADAPTIVE].diagnoses for vote in diagnosis.votes}
    assert names == {"adaptive"}


def test_figures_are_of_machines_never_seen(found: Evaluation) -> None:
    """Even so few machines teach enough to rank unseen ones; every machine has its own row."""
    (whole, *_) = found.panels
    assert whole.auc > 0.9
    assert len(found.groups) == 24
    assert 0.5 < found.bands["warning"]["precision"] <= 1
    assert found.bands["critical"]["recall"] <= found.bands["warning"]["recall"]


def test_figures_by_hand() -> None:
    """False alarms are counted among normal windows, misses among anomalous ones, abstentions among all."""
    scores, truth = np.array([0.9, 0.2, 0.8, 0.1, np.nan]), np.array([True, True, False, False, True])
    found = figures("x", scores, scores >= 0.5, truth)
    assert (found.windows, found.far, found.mar, found.f1) == (4, 0.5, 0.5, 0.5)
    assert found.abstained == pytest.approx(0.2)


def test_the_report_stands_alone(found: Evaluation) -> None:
    """The page has all plots inside, fetches nothing, and its figures survive JSON."""
    page = render(FAMILY, found)
    assert page.count("data:image/png;base64,") == 3 + len(FAMILY.components)
    assert "http" not in page.replace("http-equiv", "")
    assert "<li>" in page
    assert json.loads(json.dumps(found.plain(), allow_nan=False))["family"] == "generic"


@pytest.mark.skipif(not (SHARED / "data").exists(), reason="the recordings (../shared/data) are not here")
def test_another_machine_is_not_answered_with_confidence() -> None:
    """Members that know the test rig abstain on windows of the water loop, and the answer says why."""
    rig, loop = read_family("rig"), read_family("water-loop")
    recordings = load(rig, SHARED / "data" / "uci_hydraulic", 3)
    some = take(examples_of(recordings, rig), np.arange(0, len(recordings.windows), 9))
    members = {name: fit_member(registry()[name], rig, some, 3, "test") for name in ("xgboost", "adaptive")}
    strange = load(loop, SHARED / "data" / "skab", 3).windows[::200]
    diagnoses = judged([Inspection(window, "rig") for window in strange], rig, members)
    assert {diagnosis.abstained for diagnosis in diagnoses} == {f"{OUTSIDE} (xgboost, adaptive)"}
    assert {diagnosis.confidence for diagnosis in diagnoses} == {0.0}
    known = judged([Inspection(window, "rig") for window in recordings.windows[::200]], rig, members)
    assert sum(bool(diagnosis.abstained) for diagnosis in known) < 0.05 * len(known)
