"""Writes a diagnosis in the words of the HTTP contract, still in the ensemble's replica.

The gateway gets one string of JSON in place of a tree of objects, and puts it into the answer as it is.
"""

from typing import Any

import orjson

from pipelines.detectors.members import registry
from pipelines.diagnosis.hypotheses import Hypothesis
from pipelines.diagnosis.records import Attribution, Diagnosis, Judgement, Vote

DECIMALS = 6
REASON_MAX = 200


def judgement_of(diagnosis: Diagnosis) -> Judgement:
    """Return what the gateway needs of a diagnosis."""
    return Judgement(
        findings=orjson.dumps(findings_of(diagnosis)),
        is_anomaly=diagnosis.is_anomaly,
        score=None if diagnosis.abstained else diagnosis.score,
        versions={vote.detector: vote.version for vote in diagnosis.votes},
        learned=diagnosis.learned,
        baseline=diagnosis.normal,
        level=diagnosis.level,
    )


def findings_of(diagnosis: Diagnosis) -> dict[str, Any]:
    """Return the part of an answer that follows from the window alone, in the order of the contract."""
    # Not rounded: the very number that offline scoring gives for the same window.
    score = None if diagnosis.abstained else float(diagnosis.score)
    return {
        "prediction": {
            "is_anomaly": bool(diagnosis.is_anomaly),
            "anomaly_score": score,
            "severity": diagnosis.severity,
            "confidence": _rounded(diagnosis.confidence),
            "affected_components": list(diagnosis.affected),
            "anomaly_type": diagnosis.anomaly_type,
            "components": [
                {"component": found.component, "probability": _rounded(found.probability), "grade": found.grade}
                for found in diagnosis.components
            ],
            "attribution_base": _rounded(diagnosis.base) if diagnosis.attribution else None,
            "abstained": bool(diagnosis.abstained),
            "reason": diagnosis.abstained or None,
        },
        "ensemble_score": score,
        "attribution": [
            {
                "channel": share.channel,
                "contribution": _rounded(share.contribution),
                "direction": share.direction,
                "deviation": _deviation(share),
            }
            for share in diagnosis.attribution
        ],
        "ml_predictions": _votes(diagnosis),
        "threshold_used": _rounded(diagnosis.threshold),
        "features_extracted": int(diagnosis.features),
        "data_quality": {
            "score": _rounded(diagnosis.quality.score),
            "missing_channels": list(diagnosis.quality.missing),
            "notes": list(diagnosis.quality.notes),
        },
        **_of_the_machine(diagnosis),
    }


def _of_the_machine(diagnosis: Diagnosis) -> dict[str, Any]:
    """Return what is known of a machine that was commissioned, and what is wrong on any."""
    found: dict[str, Any] = {}
    if diagnosis.operating_point is not None:
        found["operating_point"] = diagnosis.operating_point._asdict()
    if diagnosis.rules:
        found["rules"] = [rule._asdict() for rule in diagnosis.rules]
    if diagnosis.hypotheses:
        found["hypotheses"] = [_hypothesis(each) for each in diagnosis.hypotheses]
    return found


def _hypothesis(hypothesis: Hypothesis) -> dict[str, Any]:
    return {**hypothesis._asdict(), "plausibility": _rounded(hypothesis.plausibility)}


def _deviation(share: Attribution) -> dict[str, Any]:
    """Return how far a channel's mean lies from its normal, in numbers and in words."""
    deviation = share.deviation
    apart = _rounded(deviation.value - deviation.normal)
    side = "above" if apart >= 0 else "below"
    whose = "its normal" if deviation.own else "the typical"
    unit = "K" if deviation.unit == "degC" else deviation.unit  # 10 degC is a temperature, and no difference of two
    return {
        "value": _rounded(deviation.value),
        "normal": _rounded(deviation.normal),
        "difference": apart,
        "unit": deviation.unit,
        "own_baseline": deviation.own,
        "text": f"{share.channel} {abs(apart):.3g} {unit} {side} {whose} {deviation.normal:.4g}",
    }


def _votes(diagnosis: Diagnosis) -> list[dict[str, Any]]:
    """Return a line a detector in the registry's order; one that gave no vote stands there with the reason."""
    cast = {vote.detector: vote for vote in diagnosis.votes}
    for detector, reason in diagnosis.absent.items():
        cast.setdefault(detector, Vote(detector, "", None, 0.0, 0.0, 0.0, reason))
    return [_vote(cast[name]) for name in registry() if name in cast]


def _vote(vote: Vote) -> dict[str, Any]:
    line: dict[str, Any] = {
        "ml_model": vote.detector,
        "version": vote.version,
        "prediction_score": None if vote.score is None else _rounded(vote.score),
        "confidence": _rounded(vote.confidence),
        "weight": _rounded(vote.weight),
        "processing_time_ms": round(float(vote.milliseconds), 3),
    }
    return line if vote.score is not None else {**line, "reason": vote.reason[:REASON_MAX]}


def _rounded(value: float) -> float:
    return round(float(value), DECIMALS)
