"""Rules of the map from raw scores to probabilities."""

import numpy as np
import pytest

from pipelines.diagnosis.calibration import (
    CLIP,
    Platt,
    auc,
    expected_calibration_error,
    expit,
    fit_platt,
    log_loss,
    logit,
)


def drawn(slope: float, intercept: float, count: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    """Return raw scores whose true probability is a known Platt map of them."""
    random = np.random.default_rng(0)
    raw = expit(random.normal(0, 2, count))
    return raw, random.random(count) < Platt(slope, intercept).apply(raw)


@pytest.mark.parametrize(("slope", "intercept"), [(1.0, 0.0), (0.4, -1.0), (2.5, 1.0)])
def test_fit_finds_the_map(slope: float, intercept: float) -> None:
    """Slope and intercept that made the labels are found again, and the result is calibrated."""
    raw, truth = drawn(slope, intercept)
    found = fit_platt(raw, truth)
    assert found.slope == pytest.approx(slope, abs=0.1)
    assert found.intercept == pytest.approx(intercept, abs=0.1)
    assert expected_calibration_error(found.apply(raw), truth) < 0.015


def test_fit_improves_an_overconfident_score() -> None:
    """Calibration lowers the calibration error of a detector that is too sure, and keeps its ranking."""
    raw, truth = drawn(0.3, 0.5)
    calibrated = fit_platt(raw, truth).apply(raw)
    assert expected_calibration_error(calibrated, truth) < expected_calibration_error(raw, truth) / 3
    assert auc(calibrated, truth) == pytest.approx(auc(raw, truth))


def test_separated_classes_stay_finite() -> None:
    """Scores that separate the classes perfectly give a finite map in the right order."""
    found = fit_platt(np.array([0.0, 1e-9, 0.01, 0.99, 1.0, 1.0]), np.array([False] * 3 + [True] * 3))
    low, high = found.apply(np.array([0.01, 0.99]))
    assert 0 < low < 0.5 < high < 1


@pytest.mark.parametrize(("low", "high"), [(0.2, 0.8), (0.6, 0.61), (1e-9, 1 - 1e-9)])
def test_targets_are_smoothed(low: float, high: float) -> None:
    """Six anomalies above three healthy windows say seven in eight and one in five, never all and none.

    Source: Platt 1999; with one score a class the fit meets his targets, (n + 1) / (n + 2) and 1 / (n + 2), exactly.
    """
    found = fit_platt(np.array([low] * 3 + [high] * 6), np.array([False] * 3 + [True] * 6))
    assert found.apply(np.array([low, high])).tolist() == pytest.approx([1 / 5, 7 / 8], abs=1e-6)


def test_order_that_teaches_nothing_gives_the_share() -> None:
    """Scores that cannot tell the classes apart map to their share, each class counted once more than it was seen."""
    shares = {(0.3, 0.3, 0.3): 3 / 5, (0.9, 0.9, 0.1): 3 / 5}
    for raw, share in shares.items():
        found = fit_platt(np.array(raw), np.array([False, True, True]))
        assert found.slope == 0
        assert found.apply(np.array([0.0, 0.99])).tolist() == pytest.approx([share, share])
    only = fit_platt(np.array([0.1, 0.9]), np.array([True, True]))
    assert only.apply(np.array([0.5]))[0] == pytest.approx(3 / 4)
    assert fit_platt(np.array([0.1, 0.9]), np.array([False, False])).apply(np.array([0.5]))[0] == pytest.approx(1 / 4)


@pytest.mark.parametrize("truth", [[True, True, True, True], [False, False, False, False], [True, True, False, False]])
def test_what_cannot_be_learned_is_not(truth: list[bool]) -> None:
    """One class alone, or scores that rank the wrong way, give one probability for every score."""
    found = fit_platt(np.array([0.1, 0.2, 0.7, 0.9]), np.array(truth))
    assert found.slope == 0
    assert 0 < found.apply(np.array([0.3]))[0] < 1


def test_abstentions_are_left_out() -> None:
    """NaN scores neither change the fit nor become a probability."""
    raw, truth = drawn(1.5, 0.0, 500)
    with_gaps = fit_platt(np.append(raw, np.nan), np.append(truth, True))
    assert with_gaps == fit_platt(raw, truth)
    assert np.isnan(with_gaps.apply(np.array([np.nan]))[0])


def test_log_odds_and_back() -> None:
    """Log-odds and probability are inverse, and finite at the ends."""
    p = np.array([1e-5, 0.3, 0.5, 0.99])
    np.testing.assert_allclose(expit(logit(p)), p, rtol=1e-9)
    assert np.isfinite(logit(np.array([0.0, 1.0]))).all()
    assert expit(np.array([-1e9, 1e9])).tolist() == pytest.approx([0, 1])


def test_auc() -> None:
    """The area is the share of pairs in the right order, ties half; a half without both classes."""
    truth = np.array([False, False, True, True])
    assert auc(np.array([0.1, 0.2, 0.3, 0.4]), truth) == 1
    assert auc(np.array([0.4, 0.3, 0.2, 0.1]), truth) == 0
    assert auc(np.array([0.1, 0.3, 0.2, 0.4]), truth) == 0.75
    assert auc(np.array([0.5, 0.5, 0.5, 0.5]), truth) == 0.5
    assert auc(np.array([0.1, 0.2, 0.3, 0.4]), truth | True) == 0.5
    assert auc(np.array([0.1, 0.2, 0.3, 0.4]), truth & False) == 0.5


def test_auc_leaves_out_abstentions() -> None:
    """A window that was not scored counts neither for nor against the order."""
    scores = np.array([np.nan, 0.1, 0.9, np.nan])
    assert auc(scores, np.array([True, False, True, False])) == 1
    assert auc(scores, np.array([False, True, True, False])) == 0.5


def test_log_loss() -> None:
    """Each window loses the logarithm of what was given to what happened; being wrong for sure costs a finite loss."""
    truth = np.array([True, False, True, False, False])
    loss = log_loss(np.array([0.8, 0.8, 0.0, 1.0, 0.0]), truth)
    assert loss.tolist() == pytest.approx([-np.log(0.8), -np.log(0.2), -np.log(CLIP), -np.log(CLIP), 0.0])


def test_calibration_error() -> None:
    """The error is the mean gap between what is said and what happens."""
    said = np.array([0.95, 0.95, 0.05, 0.05])
    assert expected_calibration_error(said, np.array([True, True, False, False])) == pytest.approx(0.05)
    assert expected_calibration_error(said, np.array([False, False, True, True])) == pytest.approx(0.95)


def test_calibration_error_by_bin() -> None:
    """Gaps of one bin even out, those of two bins do not, and certainty shares a bin with near certainty."""
    both = np.array([True, False])
    assert expected_calibration_error(np.array([0.51, 0.59]), both) == pytest.approx(0.05)
    assert expected_calibration_error(np.array([0.59, 0.61]), both) == pytest.approx(0.51)
    assert expected_calibration_error(np.array([1.0, 0.91]), both) == pytest.approx(0.455)
    assert expected_calibration_error(np.array([0.95, 0.85]), both) == pytest.approx(0.45)
    assert np.isnan(expected_calibration_error(np.array([np.nan]), np.array([True])))
    assert expected_calibration_error(np.array([np.nan, 1.0]), both) == 1.0
