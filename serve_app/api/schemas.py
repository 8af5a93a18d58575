"""At the door of every route: what a body must look like, and what an answer looks like.

Exists so that `/openapi.json` is the contract, with examples that run. Arrays of samples pass through unread here:
`read_window` checks them in one vectorised pass.
"""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)

from serve_app.api.problems import ProblemReply

State = Literal["ok", "degraded", "down"]

# A healthy machine: the very window of the quickstart.
HEALTHY = {
    "pressure": [100.5, 101.2, 99.8, 100.1, 100.3],
    "temperature": [45.3, 45.1, 45.5, 45.2, 45.4],
    "flow": [25.0, 24.8, 25.2, 25.1, 24.9],
    "vibration": [0.5, 0.6, 0.5, 0.5, 0.6],
}


def _storable(text: str) -> str:
    if "\x00" in text:
        raise ValueError("must not contain a NUL character")
    return text


Text = Annotated[str, AfterValidator(_storable)]
Question = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000), AfterValidator(_storable)
]
# Source: PostgreSQL `integer`, the type of the key.
Key = Annotated[int, Field(strict=True, ge=1, le=2_147_483_647)]
Samples = Annotated[
    dict[str, Any],
    WithJsonSchema(
        {
            "type": "object",
            "description": "By channel of the family, simultaneous samples in order of time, all of one length",
            "minProperties": 1,
            "additionalProperties": {
                "type": "array",
                "items": {"type": "number"},
                "minItems": 3,
                "maxItems": 10_000,
            },
        }
    ),
]
Items = Annotated[
    list[Any], Field(min_length=1), WithJsonSchema({"type": "array", "minItems": 1, "items": {"type": "object"}})
]
Rate = Annotated[
    float | None,
    Field(strict=True, description="Samples a second, above 0; left out, the family's own rate"),
]


class Body(BaseModel):
    """What a caller sends; a field nobody knows is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Reply(BaseModel):
    """What a caller gets."""


def example(**values: Any) -> ConfigDict:
    """Return the configuration of a body with its example."""
    return ConfigDict(extra="forbid", frozen=True, json_schema_extra={"example": values})


# --- log-in


class LoginBody(Body):
    """User name or e-mail, and password."""

    model_config = example(username="admin", password="the one `hdx run` printed")  # noqa: S106 (an example)

    username: Text = Field(min_length=1, max_length=254)
    password: Text = Field(min_length=1, max_length=1024)


class RefreshBody(Body):
    """The refresh token of the last log-in or refresh."""

    model_config = example(refresh="eyJhbGciOi...")

    refresh: Text = Field(min_length=1, max_length=4096)


class TokenReply(Reply):
    """A pair of tokens; the refresh token works once."""

    access: str
    refresh: str
    token_type: Literal["Bearer"]
    expires_in: int = Field(description="Seconds until the access token expires")


# --- diagnostics


class DetectBody(Body):
    """One window of one system."""

    model_config = example(system_id=1, sensor_data=HEALTHY)

    system_id: Key
    sensor_data: Samples
    sampling_hz: Rate = None


class DiagnoseBody(DetectBody):
    """One window of one system, and in which language the repair is wanted."""

    language: Literal["en", "ru"] | None = Field(default=None, description="Left out, that of `Accept-Language`")
    max_results: int = Field(default=3, strict=True, ge=1, le=10)


class DetectBatchBody(Body):
    """Many windows; each is judged, stored and answered on its own."""

    model_config = example(items=[{"system_id": 1, "sensor_data": HEALTHY}])

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
    cache_hit: bool
    total_processing_time_ms: float
    trace_id: UUID


class DetectBatchReply(Reply):
    """At each item's own index its answer, or the problem it alone has."""

    results: list[DetectReply | ProblemReply]


class PassageReply(Reply):
    """A passage that the advice was written from."""

    document_id: str
    page: int
    start: int
    end: int
    sha256: str = Field(description="Of its text")


class EvidenceReply(Reply):
    """What an answer followed from beside its window."""

    versions: dict[str, str] = Field(description="By detector, the version that judged")
    weights: dict[str, float]
    threshold: float
    alarm: bool | None = Field(description="Whether the system was in alarm before; null for answers of older releases")
    baseline: str | None = Field(
        description="Base64 of float64, 4 rows of one number a feature: count, total, squares, first normal"
    )
    passages: list[PassageReply] = Field(description="Of the manuals, where a repair was asked for")


class ReplayReply(Reply):
    """A stored answer, given again by the versions of its day."""

    trace_id: UUID
    identical: bool
    differences: list[str] = Field(description="JSON paths of what is not the same")
    findings: dict[str, Any]


class StoredReply(Reply):
    """A diagnosis as it was answered, with the window it answered."""

    trace_id: UUID
    system_id: int
    family: str
    created_at: datetime
    window: dict[str, Any]
    answer: DetectReply
    evidence: EvidenceReply


class FeedbackBody(Body):
    """What is true of a window that was judged."""

    model_config = example(verdict="confirmed", note="Measured flow and case drain: all in order")

    verdict: Literal["confirmed", "false_alarm", "missed"] = Field(
        description="`confirmed`: the answer is right, alarm or not; `false_alarm`: nothing was wrong; "
        "`missed`: something was wrong"
    )
    component: Text | None = Field(default=None, max_length=100, description="What was wrong, one of the family's own")
    note: Text = Field(default="", max_length=2000)


class FeedbackReply(Reply):
    """What is kept: the last word on an answer."""

    trace_id: UUID
    verdict: Literal["confirmed", "false_alarm", "missed"]
    anomalous: bool = Field(description="What the verdict says of the window")
    component: str | None
    note: str
    actor: str
    created_at: datetime


# --- systems


class SystemBody(Body):
    """A new system."""

    model_config = example(name="Press 4", family="generic", description="Main power unit, hall 2")

    name: Text = Field(min_length=1, max_length=200)
    family: Text = Field(max_length=100)
    description: Text = Field(default="", max_length=2000)


class SystemChangeBody(Body):
    """What changes; the family cannot, as the baseline belongs to it."""

    model_config = example(description="Moved to hall 3")

    name: Text | None = Field(default=None, min_length=1, max_length=200)
    description: Text | None = Field(default=None, max_length=2000)


class SystemReply(Reply):
    """A machine under diagnosis."""

    system_id: int
    name: str
    family: str
    description: str
    alarm: bool = Field(description="Whether its last window was an alarm")
    created_at: datetime


class SystemsReply(Reply):
    """One page of systems in order of their id."""

    systems: list[SystemReply]
    next: int | None = Field(description="Send it as `after` for the next page; null on the last one")


# --- models


class RolloutReply(Reply):
    """A version on its way in, and what it did so far on the windows that the live version judged."""

    version: str
    stage: Literal["shadow", "canary", "urgent"]
    since: datetime
    windows: int = Field(description="Judged by both versions")
    errors: int = Field(description="Windows on which it failed")
    disagreements: int = Field(description="Windows that it calls otherwise")
    answered: int = Field(description="Windows that it answered itself")


class DriftReply(Reply):
    """A change that was found: of inputs, scores, a system's normal, or the calibration on feedback."""

    system_id: int | None = Field(description="Null for the family as a whole")
    kind: Literal["input", "score", "baseline", "calibration"]
    what: str
    since: int = Field(description="Windows, or judgements with feedback, since it began")
    statistic: float
    threshold: float


class FleetReply(Reply):
    """What stands where in the registry, and what the replicas answer with."""

    champion: str = Field(description="What people want to be live")
    live: str
    previous: str = Field(description="Still in memory; empty while there is none")
    replicas: dict[str, int] = Field(description="Replicas by the version that they answer with")
    rollout: RolloutReply | None
    drift: list[DriftReply] = Field(description="Of the family, and of your own systems")


class ModelReply(Reply):
    """One detector's trained version of one family, as its replica holds it now."""

    name: str = Field(description="Of the registered model in MLflow")

    family: str
    detector: str
    version: str
    sha256: str
    usable: bool
    reason: str
    fleet: FleetReply | None = Field(description="Null while the promoter does not answer")


class PromoteBody(Body):
    """A version to make live."""

    version: str = Field(pattern=r"^[1-9][0-9]{0,8}$", examples=["2"])
    urgent: bool = Field(False, description="Skips every gate but loading and the probe window; needs a reason")
    reason: str = Field("", max_length=500)

    @model_validator(mode="after")
    def _urgency_has_a_reason(self) -> "PromoteBody":
        if self.urgent and not self.reason.strip():
            raise ValueError("urgent: say the reason; it is written into the audit")
        return self


class MoveReply(Reply):
    """What is under way now; `GET /api/models/` shows how far."""

    name: str
    version: str = Field(description="Shall be live")


class ModelsReply(Reply):
    """All trained versions that serve now."""

    models: list[ModelReply]


# --- assistant


class QueryBody(Body):
    """A question in English or Russian."""

    model_config = example(query="How to fix hydraulic pressure drop?", system_id=1, max_results=3)

    query: Question
    system_id: Key | None = None
    max_results: int = Field(default=3, strict=True, ge=1, le=10)


class SourceReply(Reply):
    """A passage the answer rests on: the page's text from `start` to `end` is the snippet."""

    document_id: str
    title: str
    snippet: str
    score: float
    page: int
    start: int
    end: int


class CitationReply(Reply):
    """What a mark `[n]` in the response stands for: a quote, word for word."""

    n: int
    document_id: str
    title: str
    page: int
    start: int
    end: int
    quote: str
    score: float


class StepReply(Reply):
    """One step of a repair, word for word as its manual has it."""

    priority: int = Field(ge=1, description="1 is to be done first")
    text: str
    citation: int = Field(description="Number of its quote")
    rationale: str = Field(description="The cause that it cures, word for word; empty where the manual names none")
    rationale_citation: int | None
    requires_shutdown: bool = Field(description="It is work on what holds pressure or moves")


class NoteReply(Reply):
    """A safety note, word for word."""

    text: str
    citation: int


class QueryMetadata(Reply):
    """How the answer came about."""

    model: str
    processing_time_ms: float
    timings_ms: dict[str, float] = Field(description="By part of the way: search, answer")
    tokens_used: int
    grounded: bool = Field(description="Every sentence carries a citation")
    abstained: bool = Field(description="Nothing found answers the question")
    degraded: bool = Field(description="A language model was asked for; the extractive engine answered in its place")
    reason: str = Field(description="Why it abstained or is degraded, else empty")


class QueryReply(Reply):
    """The answer to a question."""

    response: str
    sources: list[SourceReply]
    citations: list[CitationReply]
    steps: list[StepReply] = Field(description="Of the manual, where a remedy was asked for")
    safety: list[NoteReply]
    metadata: QueryMetadata


class DiagnoseReply(Reply):
    """A finding and its repair."""

    finding: DetectReply
    query: str = Field(description="The question that was put for the repair; empty where nothing is wrong")
    advice: QueryReply | None
    reason: str = Field(description="Why there is no advice although something is wrong, else empty")


class DocumentReply(Reply):
    """A document that was uploaded, and what has become of it."""

    document_id: str
    name: str
    sha256: str
    bytes: int
    state: Literal["queued", "indexing", "ready", "failed", "removing"]
    reason: str = Field(description="Why it failed, else empty")
    title: str
    language: str | None
    passages: int = Field(description="How many it was cut into; 0 until it is ready")
    flagged: int = Field(description="How many of them try to give orders to who answers, and are never quoted")
    attempts: int = Field(description="How often its indexing was begun")
    created_at: datetime


class DocumentsReply(Reply):
    """One page of documents; `next` is the `after` of the following one."""

    documents: list[DocumentReply]
    next: str | None


class PageReply(Reply):
    """A page's text, in which a citation's `start` and `end` count."""

    document_id: str
    page: int
    text: str


class ChatPart(BaseModel):
    """A part of a message; only text is read."""

    type: str
    text: Text = ""


class ChatMessage(BaseModel):
    """One message of a conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: Text | list[ChatPart] | None = None

    @property
    def text(self) -> str:
        """Its text, whatever its form."""
        if isinstance(self.content, list):
            return " ".join(part.text for part in self.content if part.type == "text")
        return self.content or ""


class StreamOptions(BaseModel):
    """What a stream carries besides."""

    include_usage: bool = False


class ChatBody(BaseModel):
    """A conversation, as OpenAI's clients send it; what tunes a model (`temperature` and the like) is not read."""

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={
            "example": {
                "model": "hdx-assistant",
                "messages": [{"role": "user", "content": "How to fix hydraulic pressure drop?"}],
            }
        },
    )

    model: Text = Field(max_length=200)
    messages: list[ChatMessage] = Field(min_length=1, max_length=200)
    stream: bool = False
    stream_options: StreamOptions | None = None


class ChatChoice(Reply):
    """The one answer."""

    index: int
    message: dict[str, str | None]
    finish_reason: str
    logprobs: None


class ChatReply(Reply):
    """A chat completion, with its sources."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: dict[str, int]
    citations: list[CitationReply]
    grounded: bool
    abstained: bool
    degraded: bool


class ModelListReply(Reply):
    """The models that can be chatted with."""

    object: Literal["list"]
    data: list[dict[str, str | int]]


# --- internal face


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
    use_cache: bool = Field(default=True, strict=True)
    detail: Literal["score", "components", "full"] = Field(
        default="full",
        description="How much is wanted; without `full` there is no attribution, with `score` no component",
    )


class PredictBatchBody(Body):
    """Many windows."""

    model_config = example(items=[{"sensor_data": {"system_id": 1, "pressure": [100.5, 101.2, 99.8]}}])

    items: Items


class MlHealthReply(Reply):
    """The detectors' state."""

    status: Literal["healthy", "degraded", "unhealthy"]
    models_loaded: list[str]
    cache_status: Literal["connected", "disconnected"]
    timestamp: float


class RagHealthReply(Reply):
    """The assistant's state."""

    status: Literal["healthy", "degraded", "unhealthy"]
    timestamp: float
    service: Literal["rag-service"]
    version: str


# --- health


class HealthReply(Reply):
    """The whole service's state; `redis` is there while Redis is configured."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "status": "healthy",
                "timestamp": 1699548271.234,
                "checks": {"database": "ok", "cache": "ok", "ml_service": "ok", "rag_service": "ok"},
            }
        }
    )

    status: Literal["healthy", "degraded", "unhealthy"]
    timestamp: float = Field(description="Seconds since 1970")
    checks: dict[str, State]


class LiveReply(Reply):
    """The process answers."""

    status: Literal["alive"]
