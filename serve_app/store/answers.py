"""Answers to questions under their trace ids, and what people said of each: of an account the last word counts."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, insert, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import IntegrityError

from pipelines.errors import NotFound
from serve_app.store.audit import note as note_audit
from serve_app.store.database import Database
from serve_app.store.idempotency import mark
from serve_app.store.records_answers import AnswerFeedback, Cited, Helpfulness, SpokenOf
from serve_app.store.tables import answer_feedback, answers

FEEDBACK = tuple(answer_feedback.c[name] for name in AnswerFeedback.__dataclass_fields__)
KEY = ["tenant_id", "trace_id", "account"]


class Answers:
    """Answers to questions, and what people said of them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, tenant_id: int, trace_id: UUID, question: str, cited: Sequence[Cited], abstained: bool) -> None:
        """Keep that a question was answered, and from what.

        Raises:
            IntegrityError: There is no such tenant, or the trace id was taken.
        """
        row = {"trace_id": trace_id, "question": question, "abstained": abstained}
        row |= {"tenant_id": tenant_id, "cited": [place._asdict() for place in cited]}
        async with self._database.tenant(tenant_id) as connection:
            await connection.execute(insert(answers).values(row))
            await mark(connection)

    async def give(
        self, tenant_id: int, trace_id: UUID, account: str, verdict: Helpfulness, comment: str, actor: str
    ) -> AnswerFeedback:
        """Keep what an account said of an answer in place of what it said before, and note it in the audit.

        Raises:
            NotFound: The tenant was given no such answer.
        """
        said = {"verdict": verdict, "comment": comment, "actor": actor}
        query = upsert(answer_feedback).values(tenant_id=tenant_id, trace_id=trace_id, account=account, **said)
        again = query.on_conflict_do_update(index_elements=KEY, set_=said | {"created_at": func.now()})
        try:
            async with self._database.tenant(tenant_id) as connection:
                kept = AnswerFeedback(*(await connection.execute(again.returning(*FEEDBACK))).one())
                await note_audit(connection, tenant_id, actor, "answer.feedback", f"answer {trace_id}", verdict)
        except IntegrityError:
            raise NotFound("answer", trace_id) from None
        return kept

    async def spoken_of(self, tenant_id: int, since: datetime, limit: int) -> list[SpokenOf]:
        """Return what was said of answers since a moment, the newest first."""
        query = (
            select(answers.c.question, answers.c.cited, answers.c.abstained, *FEEDBACK)
            .join_from(answer_feedback, answers)
            .where(answer_feedback.c.created_at >= since)
            .order_by(answer_feedback.c.created_at.desc(), answer_feedback.c.trace_id)
            .limit(limit)
        )
        async with self._database.tenant(tenant_id, long=True) as connection:
            return [
                SpokenOf(question, [Cited(**place) for place in cited], abstained, AnswerFeedback(*said))
                for question, cited, abstained, *said in await connection.execute(query)
            ]
