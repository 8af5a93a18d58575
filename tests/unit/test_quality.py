"""Rules of the quality benchmark's verdict."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.quality import TOLERANCE, Row, missed_at, verdict

AUC = Row("rig", "pump", "AUC", 0.9, True, 0.95)
FAR = Row("loop", "alarms", "FAR %", 5, False, 4.0)


def test_a_demand_is_a_bound_on_its_own_side() -> None:
    """A figure that is to be large must reach its demand; one that is to be small must not pass it."""
    assert AUC.holds
    assert FAR.holds
    assert not replace(AUC, measured=0.89).holds
    assert not replace(FAR, measured=5.1).holds


@pytest.mark.parametrize("row", [AUC, FAR])
def test_only_a_loss_beyond_the_tolerance_fails(row: Row) -> None:
    """A loss beyond the measure's tolerance, or a figure that is gone, is named; all else passes."""
    sign = -1 if row.least else 1
    kept = {row.key: row.measured}
    for step, fails in ((-2, False), (0.9, False), (1.1, True)):
        now = replace(row, measured=row.measured + sign * step * TOLERANCE[row.kind])
        assert verdict([now], kept) == ([row.key] if fails else [])
    assert verdict([], kept) == [row.key]
    assert verdict([replace(row, measured=float("nan"))], kept) == [row.key]


def test_missed_at_a_rate_of_false_alarms() -> None:
    """The threshold lets so many normal windows through; an anomaly below it is missed, and so is one nobody judged."""
    scores = np.array([0.1, 0.2, 0.3, 0.4, 0.9, 0.05, 0.95])
    truth = np.array([False] * 5 + [True] * 2)
    assert missed_at(scores, truth, 0.2) == 0.5
    scores[[0, 6]] = np.nan
    assert missed_at(scores, truth, 0.2) == 1.0
