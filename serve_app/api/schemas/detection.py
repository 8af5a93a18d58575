"""Bodies and answers of detect, on the public face (`api/diagnostics`) and the internal one (`api/internal`)."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from serve_app.api.problems import ProblemReply
from serve_app.api.schemas.base import HEALTHY, Body, Flag, Items, Key, Rate, Reply, Samples, Text, example
from serve_app.api.schemas.life import SystemStateReply


class DetectBody(Body):
    """One window of one system."""

    model_config = example(system_id=1, sensor_data=HEALTHY)

    system_id: Key
    sensor_data: Samples | None = Field(
        default=None, description="Left out, the newest window of stored readings, once"
    )
    sampling_hz: Rate = None


class DetectBatchBody(Body):
    """Many windows; each is judged, stored and answered on its own."""

    model_config = example(items=[{"system_id": 1, "sensor_data": HEALTHY}])

    items: Items


class PredictData(BaseModel):
    """A window with its channels beside the system's number."""

    model_config = ConfigDict(extra="allow", frozen=True)

    system_id: Key
    family: Text = Field(default="generic", max_length=100)

    @property
    def channels(self) -> dict[str, Any]:
        """What stands beside the two."""
        return self.model_extra or {}


class PredictBody(Body):
    """One window, judged without a tenant: no baseline is read and nothing is stored."""

    model_config = example(sensor_data={"system_id": 1, "pressure": [100.5, 101.2, 99.8]}, use_cache=False)

    sensor_data: PredictData
    sampling_hz: Rate = None
    use_cache: Flag = True
    detail: Literal["score", "components", "full"] = Field(
        default="full",
        description="How much is wanted; without `full` there is no attribution, with `score` no component",
    )


class PredictBatchBody(Body):
    """Many windows."""

    model_config = example(items=[{"sensor_data": {"system_id": 1, "pressure": [100.5, 101.2, 99.8]}}])

    items: Items


class ComponentReply(Reply):
    """One component's state."""

    component: str
    probability: float = Field(ge=0, le=1, description="That it is off nominal")
    grade: int | str = Field(description="The most probable grade, in the family's own values")


class PredictionReply(Reply):
    """The judgement; without a score nobody could judge the window, and `reason` says why."""

    is_anomaly: bool
    anomaly_score: float | None = Field(ge=0, le=1, description="Calibrated probability; null when abstained")
    severity: Literal["normal", "warning", "critical", "unknown"]
    confidence: float = Field(ge=0, le=1)
    affected_components: list[str]
    anomaly_type: str | None
    components: list[ComponentReply]
    attribution_base: float | None = Field(description="Log-odds that the contributions add to; null without them")
    abstained: bool
    reason: str | None


class DeviationReply(Reply):
    """How far a channel's mean lies from what is normal for its system."""

    value: float
    normal: float
    difference: float
    unit: str
    own_baseline: bool = Field(description="False while `normal` is only typical of the family")
    text: str


class AttributionReply(Reply):
    """One channel's share in the score."""

    channel: str
    contribution: float = Field(description="In log-odds; all of them and `attribution_base` are the explained score")
    direction: Literal["high", "low", "unsteady"]
    deviation: DeviationReply


class VoteReply(Reply):
    """One detector's vote; without a score it abstained, and `reason` says why."""

    ml_model: str
    version: str
    prediction_score: float | None
    confidence: float
    weight: float = Field(description="Share in the ensemble, from skill on data left out of training")
    processing_time_ms: float
    reason: str | None = None


class QualityReply(Reply):
    """How much the data allow to be said."""

    score: float = Field(ge=0, le=1)
    missing_channels: list[str]
    notes: list[str]


class PointReply(Reply):
    """Which of the machine's operating points the window was set against."""

    number: int = Field(description="From 1, as `GET /api/systems/{system_id}/baseline/` lists them")
    of: int
    seen: bool = Field(description="False at rest, and under a load that commissioning did not show")
    text: str


class RuleReply(Reply):
    """What is wrong with a channel on any machine."""

    rule: Literal["stuck", "dead", "limit", "moved"]
    channel: str
    sustained: bool = Field(description="Whether all of the window says so; a single sample may be a spike")
    text: str


class HypothesisReply(Reply):
    """What may be wrong, from physics, with what speaks for it and what against."""

    component: str = Field(description="Empty where nothing is broken")
    fault: str
    plausibility: float = Field(ge=0, le=1)
    evidence_for: list[str]
    against: list[str]
    channel: str = Field(description="Whose sensor is meant, else empty")


class DetectReply(Reply):
    """The answer to one window."""

    system_id: int
    prediction: PredictionReply
    ensemble_score: float | None
    attribution: list[AttributionReply]
    ml_predictions: list[VoteReply]
    threshold_used: float
    features_extracted: int
    data_quality: QualityReply
    operating_point: PointReply | None = Field(default=None, description="Absent where the system has no normal")
    rules: list[RuleReply] = Field(default=[], description="Absent where nothing is wrong on any machine")
    hypotheses: list[HypothesisReply] = Field(default=[], description="Absent where nothing is told from physics")
    system: SystemStateReply | None = Field(
        default=None, description="As the window leaves it; absent where the window is no system's"
    )
    window_end: datetime | None = Field(
        default=None, description="When the newest window of stored readings ended; absent where samples were sent"
    )
    cache_hit: bool
    total_processing_time_ms: float
    trace_id: UUID


class DetectBatchReply(Reply):
    """At each item's own index its answer, or the problem it alone has."""

    results: list[DetectReply | ProblemReply]
