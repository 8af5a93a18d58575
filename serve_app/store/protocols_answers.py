"""What is asked of the store about answers to questions."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from serve_app.store.records_answers import AnswerFeedback, Cited, Helpfulness, SpokenOf


class AnswerStore(Protocol):
    """Answers to questions, and what people said of them."""

    async def add(self, tenant_id: int, trace_id: UUID, question: str, cited: Sequence[Cited], abstained: bool) -> None:
        """Keep that a question was answered, and from what."""
        ...

    async def give(
        self, tenant_id: int, trace_id: UUID, account: str, verdict: Helpfulness, comment: str, actor: str
    ) -> AnswerFeedback:
        """Keep what an account said of an answer in place of what it said before, and note it in the audit."""
        ...

    async def spoken_of(self, tenant_id: int, since: datetime, limit: int) -> Sequence[SpokenOf]:
        """Return what was said of answers since a moment, the newest first."""
        ...
