"""Bodies and answers of the assistant (`api/assistant`), and of detect and ask in one call (`api/diagnose`)."""

from typing import Literal

from pydantic import Field

from serve_app.api.schemas.base import Body, Few, Key, Question, Reply, example
from serve_app.api.schemas.detection import DetectBody, DetectReply


class QueryBody(Body):
    """A question in English or Russian."""

    model_config = example(query="How to fix hydraulic pressure drop?", system_id=1, max_results=3)

    query: Question
    system_id: Key | None = None
    max_results: Few = 3


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
    requires_shutdown: bool = Field(
        description="It is work on what holds pressure or moves, or could be; false where it only looks, reads or "
        "writes, or where the manual has it done on a running machine"
    )


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
    degraded: bool = Field(description="A part was away, such as language model or encoder, and the answer did without")
    reason: str = Field(description="Why it abstained or is degraded, else empty")


class QueryReply(Reply):
    """The answer to a question."""

    response: str
    sources: list[SourceReply]
    citations: list[CitationReply]
    safety: list[NoteReply] = Field(description="Of the same manual as the steps; to be read before them")
    steps: list[StepReply] = Field(description="Of the manual, where a remedy was asked for")
    metadata: QueryMetadata


class DiagnoseBody(DetectBody):
    """One window of one system, and in which language the repair is wanted."""

    language: Literal["en", "ru"] | None = Field(default=None, description="Left out, that of `Accept-Language`")
    max_results: Few = 3


class DiagnoseReply(Reply):
    """A finding and its repair."""

    finding: DetectReply
    query: str = Field(description="The question that was put for the repair; empty where nothing is wrong")
    advice: QueryReply | None
    reason: str = Field(description="Why there is no advice although something is wrong, else empty")
