"""Counts and durations, under the names that dashboards of the former system read, beside Ray's own."""

import asyncio
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import httpx
from ray.util import metrics

from pipelines.diagnosis.records import Judgement
from pipelines.drift.monitor import DriftState
from serve_app.shared.fleet import FleetModel

SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]
TENTHS = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
OURS = re.compile(rb"\bray_((?:ml|rag|hdx)_)")


class Metrics:
    """Counters and histograms of one gateway replica, exported by Ray's agent on its node."""

    def __init__(self) -> None:
        self._predictions = metrics.Counter(
            "ml_predictions_total", "Windows answered, by family and outcome", tag_keys=("family", "is_anomaly")
        )
        self._abstentions = metrics.Counter("ml_abstentions_total", "Windows nobody could judge", ("family",))
        self._errors = metrics.Counter("ml_prediction_errors_total", "Windows not answered, by error code", ("code",))
        self._inference = metrics.Histogram(
            "ml_inference_duration_seconds", "Detect, from body read to answer ready", SECONDS, ("family",)
        )
        self._score = metrics.Histogram("ml_ensemble_score", "Calibrated score of each window", TENTHS, ("family",))
        self._hits = metrics.Counter("ml_cache_hits_total", "Windows answered from the cache")
        self._misses = metrics.Counter("ml_cache_misses_total", "Windows not found in the cache")
        self._questions = metrics.Counter("rag_query_total", "Questions, by outcome", ("outcome",))
        self._asking = metrics.Histogram("rag_query_duration_seconds", "Ask, from body read to answer", SECONDS)

    def answered(self, family: str, judgements: Sequence[Judgement], seconds: float) -> None:
        """Count a request's windows of one family, and how long they took; one without a score is an abstention."""
        tags = {"family": family}
        self._inference.observe(seconds, tags)
        scored = [(judgement.score, judgement.is_anomaly) for judgement in judgements if judgement.score is not None]
        for is_anomaly, number in Counter(is_anomaly for _, is_anomaly in scored).items():
            self._predictions.inc(number, {**tags, "is_anomaly": str(is_anomaly).lower()})
        for score, _ in scored:
            self._score.observe(score, tags)
        if silent := len(judgements) - len(scored):
            self._abstentions.inc(silent, tags)

    def failed(self, code: str) -> None:
        """Count one window that got an error."""
        self._errors.inc(1, {"code": code})

    def looked_up(self, hit: bool) -> None:
        """Count one look into the cache."""
        (self._hits if hit else self._misses).inc(1)

    def asked(self, outcome: str, seconds: float) -> None:
        """Count one question; `outcome` is `grounded`, `abstained`, `degraded` or an error code."""
        self._questions.inc(1, {"outcome": outcome})
        self._asking.observe(seconds)

    async def scrape(self) -> bytes:
        """Return every node's metrics in Prometheus text, ours without Ray's prefix."""
        async with httpx.AsyncClient(timeout=5) as client:
            pages = await asyncio.gather(*(client.get(address) for address in _agents()))
        return OURS.sub(rb"\1", b"".join(page.content for page in pages))


class FleetMetrics:
    """What answers in the fleet, and what became of new versions; counted where versions are moved."""

    def __init__(self) -> None:
        keys = ("family", "detector", "version")
        self._replicas = metrics.Gauge("ml_model_replicas", "Replicas that answer with a trained version", keys)
        self._moves = metrics.Counter("ml_promotions_total", "New versions, by outcome", (*keys[:2], "outcome"))
        self._drifts = metrics.Gauge("ml_drift", "Whether a family drifts", ("family", "kind"))
        self._drifting = metrics.Gauge("ml_drifting_systems", "Systems of a family that drift", ("family", "kind"))
        self._shown: set[tuple[str, str, str]] = set()

    def hold(self, fleet: Sequence[FleetModel]) -> None:
        """Show which versions the replicas answer with; one that is gone has none."""
        now = {(model.family, model.detector, v): count for model in fleet for v, count in model.replicas.items()}
        for key in self._shown | set(now):
            tags = dict(zip(("family", "detector", "version"), key, strict=True))
            self._replicas.set(now.get(key, 0), tags)
        self._shown |= set(now)

    def drift(self, states: Mapping[str, Sequence[DriftState]]) -> None:
        """Show for each family whether it drifts, and how many of its systems do."""
        for family, (whole, *systems) in states.items():
            for each in whole.drifts:
                tags = {"family": family, "kind": each.kind}
                self._drifts.set(float(each.drifting), tags)
                self._drifting.set(sum(state.of(each.kind).drifting for state in systems), tags)

    def moved(self, detector: str, family: str, outcome: str) -> None:
        """Count the end of a rollout."""
        self._moves.inc(1, {"family": family, "detector": detector, "outcome": outcome})


def _agents() -> list[str]:
    """Return the metrics address of every node that is alive."""
    import ray

    nodes: list[dict[str, Any]] = ray.nodes() if ray.is_initialized() else []
    return [f"http://{n['NodeManagerAddress']}:{n['MetricsExportPort']}/metrics" for n in nodes if n["Alive"]]
