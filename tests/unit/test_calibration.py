"""Rules of the map from raw scores to probabilities."""

import numpy as np
import pytest

from pipelines.diagnosis.calibration import Platt, auc, expected_calibration_error, expit, fit_platt, logit


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


def test_calibration_error() -> None:
    """The error is the mean gap between what is said and what happens."""
    said = np.array([0.95, 0.95, 0.05, 0.05])
    assert expected_calibration_error(said, np.array([True, True, False, False])) == pytest.approx(0.05)
    assert expected_calibration_error(said, np.array([False, False, True, True])) == pytest.approx(0.95)
