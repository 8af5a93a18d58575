"""Rules of the gates: what sends a candidate back, and what little evidence cannot."""

import numpy as np
import pytest

from configs.gates import Gates, read_gates
from pipelines.promotion.gates import (
    RATIOS_MAX,
    Evidence,
    broken,
    compared,
    enough,
    labelled,
    least_loss,
    least_share,
    least_shift,
    pooled,
)

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


def limited(**limits: float) -> Gates:
    """Return the gates with other limits."""
    return GATES.model_copy(update={"limits": GATES.limits.model_copy(update=limits)})


@pytest.mark.parametrize(
    ("evidence", "limit"),
    [
        (GOOD._replace(ratios=(4.0,) * 20), {"latency": 4.0}),
        (GOOD._replace(flips=120), {"disagreement": least_share(120, 400, GATES.confidence)}),
        (Evidence("g", "2", windows=50, alarms=50, flips=50), {"alarm_shift": 1.0, "disagreement": 1.0}),
        (Evidence("g", "2", labelled=40, loss=20.0, loss_squares=10.0), {"log_loss": 0.5}),
    ],
)
def test_a_limit_itself_is_allowed(evidence: Evidence, limit: dict[str, float]) -> None:
    """A candidate on the limit goes on, and one that is beyond it by a hair goes back."""
    assert broken(evidence, limited(**limit)) == ""
    name = next(iter(limit))
    gate = {"alarm_shift": "alarm rate", "log_loss": "calibration"}.get(name, name)
    assert broken(evidence, limited(**limit | {name: limit[name] * (1 - 1e-9)})).startswith(gate)


def test_evidence_counts_from_the_number_asked_for() -> None:
    """As many timed batches and windows with feedback as the gates ask for can break them; one less cannot."""
    slow, batches = GOOD._replace(ratios=(9.0,) * GATES.batches), GATES.batches
    assert broken(slow, GATES).startswith("latency")
    assert broken(slow._replace(ratios=slow.ratios[: batches - 1]), GATES) == ""
    known = GATES.feedback_windows
    worse = GOOD._replace(labelled=known, loss=known / 2, loss_squares=known / 4)
    assert broken(worse, GATES) == f"calibration: log loss +0.500 on {known} windows with feedback"
    assert broken(worse._replace(labelled=known - 1), GATES) == ""


def test_the_bounds_of_shift_and_loss() -> None:
    """They are the mean less 2.326 standard errors, either way of the shift; what never varies is its own bound.

    Source: Wald's interval for paired shares, by hand: (30 - 10) of 100 with 20 flips has a standard error of 0.04.
    """
    z = 2.3263478740408408
    shifted = Evidence("g", "2", windows=100, alarms=30, live_alarms=10, flips=20)
    assert least_shift(shifted, 0.99) == pytest.approx(0.2 - z * 0.04)
    assert least_shift(shifted._replace(alarms=10, live_alarms=30), 0.99) == pytest.approx(0.2 - z * 0.04)
    assert least_shift(Evidence("g", "2", windows=1, alarms=1, flips=1), 0.99) == 1.0
    assert least_shift(Evidence("g", "2"), 0.99) == 0.0
    assert least_loss(Evidence("g", "2", labelled=4, loss=2.0, loss_squares=5.0), 0.99) == pytest.approx(0.5 - z * 0.5)
    assert least_loss(Evidence("g", "2", labelled=4, loss=2.0, loss_squares=1.0), 0.99) == 0.5


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


def test_a_replica_keeps_its_latest_timings() -> None:
    """Of what one replica adds up the last timings stay, as many as are kept, and whose evidence it is."""
    total = GOOD._replace(ratios=(1.0,) * RATIOS_MAX, stage="shadow") + GOOD._replace(ratios=(2.0, 3.0), stage="canary")
    assert (len(total.ratios), total.ratios[-3:]) == (RATIOS_MAX, (1.0, 2.0, 3.0))
    assert (total.family, total.version, total.stage, total.windows) == ("generic", "2", "shadow", 800)


def test_an_abstention_of_one_alone_is_a_disagreement() -> None:
    """Where one of both says nothing they differ; where both say nothing they agree."""
    nan = float("nan")
    seen = compared("g", "2", np.array([0.9, 0.1, nan, nan]), np.array([0.9, 0.9, 0.1, nan]), 0.5)
    assert (seen.windows, seen.alarms, seen.live_alarms, seen.flips) == (4, 2, 1, 2)
    assert (seen.family, seen.version) == ("g", "2")


def test_the_warning_threshold_itself_is_an_alarm() -> None:
    """As in the answers: a probability that stands on the threshold has reached it, in both versions."""
    seen = compared("g", "2", np.array([0.5, 0.4]), np.array([0.4, 0.5]), 0.5)
    assert (seen.alarms, seen.live_alarms, seen.flips) == (1, 1, 2)


def test_feedback_measures_the_loss_of_both() -> None:
    """On windows with feedback the better calibrated version has the smaller loss; abstentions are left out."""
    truth = np.array([True, False, True])
    seen = labelled("g", "2", np.array([0.9, 0.1, 0.9]), np.array([0.1, 0.9, float("nan")]), truth)
    assert seen.labelled == 2
    assert seen.loss == pytest.approx(2 * (np.log(0.9) - np.log(0.1)))
    assert seen.loss_squares == pytest.approx(2 * (np.log(0.9) - np.log(0.1)) ** 2)
    assert (seen.family, seen.version) == ("g", "2")


def test_a_stage_ends_by_evidence_or_patience() -> None:
    """The shadow asks for windows judged, the canary for a few answered or as many judged; patience ends either."""
    timed = (1.0,) * GATES.batches
    assert enough(Evidence("g", "2", windows=GATES.shadow.windows, ratios=timed), "shadow", GATES, 0)
    assert not enough(Evidence("g", "2", windows=GATES.shadow.windows, ratios=timed[1:]), "shadow", GATES, 0)
    assert not enough(Evidence("g", "2", windows=GATES.shadow.windows - 1), "canary", GATES, 0)
    assert not enough(Evidence("g", "2", served=GATES.canary.windows), "shadow", GATES, 0)
    assert enough(Evidence("g", "2", served=GATES.canary.windows), "canary", GATES, 0)
    assert enough(Evidence("g", "2"), "shadow", GATES, GATES.shadow.patience_s)
    hasty = GATES.model_copy(update={"canary": GATES.canary.model_copy(update={"patience_s": 5})})
    assert not enough(Evidence("g", "2"), "shadow", hasty, 9.9)
    assert enough(Evidence("g", "2"), "canary", hasty, 5)
    assert not enough(Evidence("g", "2"), "canary", hasty, 4.9)
