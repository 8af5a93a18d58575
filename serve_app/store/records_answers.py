"""Answers to questions, and what people said of them, as the rest of the application sees them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple
from uuid import UUID

Helpfulness = Literal["helped", "wrong", "missing"]


class Cited(NamedTuple):
    """A place that an answer quoted."""

    document_id: str
    title: str
    page: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class AnswerFeedback:
    """The last word of an account on an answer.

    Attributes:
        verdict: It `helped`, is `wrong`, or what was asked for is `missing` in it.
        actor: Who said it.
    """

    trace_id: UUID
    verdict: Helpfulness
    comment: str
    actor: str
    created_at: datetime


class SpokenOf(NamedTuple):
    """An answer with what was said of it."""

    question: str
    cited: Sequence[Cited]
    abstained: bool
    said: AnswerFeedback
