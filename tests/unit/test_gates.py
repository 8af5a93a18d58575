"""Rules of the gates: what sends a candidate back, and what little evidence cannot."""

import numpy as np
import pytest

from configs.gates import read_gates
from pipelines.promotion.gates import Evidence, broken, compared, enough, labelled, least_share, pooled

GATES = read_gates()
GOOD = Evidence("generic", "2", windows=400, alarms=40, live_alarms=38, flips=10, ratios=(1.0,) * 20)


def test_a_good_candidate_breaks_nothing() -> None:
    """A candidate that differs as another seed does holds every gate, and so does one of which nothing is known."""
    assert broken(GOOD, GATES) == ""
    assert broken(Evidence("", ""), GATES) == ""


@pytest.mark.parametrize(
    ("change", "gate"),
    [
        ({"errors": 1}, "errors"),
        ({"ratios": (9.0,) * 20}, "latency"),
        ({"flips": 120}, "disagreement"),
        ({"alarms": 100, "live_alarms": 38, "flips": 62}, "alarm rate"),
        ({"labelled": 40, "loss": 20.0, "loss_squares": 14.0}, "calibration"),
    ],
)
def test_each_gate_breaks_by_itself(change: dict[str, object], gate: str) -> None:
    """A candidate that misses one limit is sent back, and the reason names the gate."""
    assert broken(GOOD._replace(**change), GATES).startswith(gate)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "few",
    [
        Evidence("g", "2", windows=5, flips=2),
        Evidence("g", "2", windows=10, alarms=4, flips=4),
        Evidence("g", "2", ratios=(9.0,) * 3),
        Evidence("g", "2", labelled=5, loss=9.0, loss_squares=18.0),
    ],
)
def test_little_evidence_breaks_nothing(few: Evidence) -> None:
    """What a handful of windows shows may be chance: no gate but that of errors breaks on it."""
    assert broken(few, GATES) == ""


def test_the_bound_of_a_share_is_exact() -> None:
    """The lower bound is Clopper's and Pearson's: 0 of none, and the published 0.0253 for 1 of 2 at 95 %."""
    assert least_share(0, 50, 0.99) == 0.0
    assert least_share(1, 2, 0.95) == pytest.approx(0.0253, abs=1e-4)


def test_a_false_alarm_is_as_rare_as_stated() -> None:
    """A candidate whose true rates lie on the limits is sent back in at most one promotion in a hundred a gate."""
    draw = np.random.default_rng(5)
    broke = 0
    for _ in range(2000):
        flips = int(draw.binomial(300, GATES.limits.disagreement))
        broke += bool(broken(Evidence("g", "2", 300, 0, 30, 30, flips), GATES))
    assert broke / 2000 <= 1 - GATES.confidence + 0.01


def test_evidence_adds_up_over_replicas() -> None:
    """Counts add, and every replica's latest timings count."""
    total = pooled([GOOD, GOOD._replace(ratios=(2.0,) * 80)])
    assert (total.windows, total.flips, len(total.ratios)) == (800, 20, 100)
    assert pooled([]) == Evidence("", "")


def test_an_abstention_of_one_alone_is_a_disagreement() -> None:
    """Where one of both says nothing they differ; where both say nothing they agree."""
    nan = float("nan")
    seen = compared("g", "2", np.array([0.9, 0.1, nan, nan]), np.array([0.9, 0.9, 0.1, nan]), 0.5)
    assert (seen.windows, seen.alarms, seen.live_alarms, seen.flips) == (4, 2, 1, 2)


def test_feedback_measures_the_loss_of_both() -> None:
    """On windows with feedback the better calibrated version has the smaller loss; abstentions are left out."""
    truth = np.array([True, False, True])
    seen = labelled("g", "2", np.array([0.9, 0.1, 0.9]), np.array([0.1, 0.9, float("nan")]), truth)
    assert seen.labelled == 2
    assert seen.loss == pytest.approx(2 * (np.log(0.9) - np.log(0.1)))


def test_a_stage_ends_by_evidence_or_patience() -> None:
    """The shadow asks for windows judged, the canary for a few answered or as many judged; patience ends either."""
    timed = (1.0,) * GATES.batches
    assert enough(Evidence("g", "2", windows=GATES.shadow.windows, ratios=timed), "shadow", GATES, 0)
    assert not enough(Evidence("g", "2", windows=GATES.shadow.windows, ratios=timed[1:]), "shadow", GATES, 0)
    assert not enough(Evidence("g", "2", windows=GATES.shadow.windows - 1), "canary", GATES, 0)
    assert not enough(Evidence("g", "2", served=GATES.canary.windows), "shadow", GATES, 0)
    assert enough(Evidence("g", "2", served=GATES.canary.windows), "canary", GATES, 0)
    assert enough(Evidence("g", "2"), "shadow", GATES, GATES.shadow.patience_s)
