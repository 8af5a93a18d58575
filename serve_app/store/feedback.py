"""What people said of stored answers: the last word counts, each is in the audit, and training reads them."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import and_, false, func, or_, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import IntegrityError

from pipelines.errors import NotFound
from pipelines.machines.family import OWN_MARK
from serve_app.store.audit import note as note_audit
from serve_app.store.database import Database
from serve_app.store.records import Labelled, StoredFeedback, Verdict, Verified
from serve_app.store.tables import diagnoses, feedback

FEEDBACK = tuple(feedback.c[name] for name in StoredFeedback.__dataclass_fields__)
# Of an answer and what was said of it: whether its window is anomalous.
ANOMALOUS = or_(
    feedback.c.verdict == "missed",
    and_(
        feedback.c.verdict == "confirmed",
        func.coalesce(diagnoses.c.answer["prediction"]["is_anomaly"].as_boolean(), false()),
    ),
)
LABELLED = (
    diagnoses.c.trace_id,
    diagnoses.c.tenant_id,
    diagnoses.c.system_id,
    diagnoses.c.family,
    diagnoses.c.window,
    diagnoses.c.baseline,
    ANOMALOUS.label("truth"),
    feedback.c.component,
    feedback.c.created_at,
    diagnoses.c.created_at.label("answered_at"),
)


class Feedback:
    """What people said of answers."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def give(
        self, tenant_id: int, trace_id: UUID, verdict: Verdict, component: str | None, note: str, actor: str
    ) -> StoredFeedback:
        """Keep what was said of an answer in place of what was said of it before, and note it in the audit.

        Raises:
            NotFound: The tenant has no such diagnosis.
        """
        said = {"verdict": verdict, "component": component, "note": note, "actor": actor}
        query = upsert(feedback).values(tenant_id=tenant_id, trace_id=trace_id, **said)
        again = query.on_conflict_do_update(
            index_elements=["tenant_id", "trace_id"], set_=said | {"created_at": func.now()}
        )
        detail = f"{verdict} {component or ''}".strip()
        try:
            async with self._database.tenant(tenant_id) as connection:
                kept = StoredFeedback(*(await connection.execute(again.returning(*FEEDBACK))).one())
                await note_audit(connection, tenant_id, actor, "feedback", f"diagnosis {trace_id}", detail)
        except IntegrityError:
            raise NotFound("diagnosis", trace_id) from None
        return kept

    async def verified_since(self, after: datetime, limit: int) -> list[Verified]:
        """Return what was found after a moment of what was answered, for all tenants, in the order of time."""
        score = diagnoses.c.answer["prediction"]["anomaly_score"].as_float()
        columns = (diagnoses.c[name] for name in ("tenant_id", "system_id", "family"))
        query = (
            select(*columns, score, ANOMALOUS, feedback.c.created_at)
            .join_from(feedback, diagnoses, feedback.c.trace_id == diagnoses.c.trace_id)
            .where(feedback.c.created_at > after)
            .order_by(feedback.c.created_at)
            .limit(limit)
        )
        async with self._database.transaction("hdx.learning", "all", long=True) as connection:
            return [Verified(*tuple(row)) for row in await connection.execute(query)]

    async def labelled(
        self, family: str, limit: int, tenant_id: int | None = None, own: bool = False
    ) -> list[Labelled]:
        """Return the windows of a family that people have spoken of, the newest word first.

        Args:
            family: Of the windows.
            limit: Most windows.
            tenant_id: Whose; None for those of all tenants, as a model that they share is trained on.
            own: Whether the tenant has defined the family: the windows are of any version of it.
        """
        is_of = diagnoses.c.family.like(f"{family}{OWN_MARK}%") if own else diagnoses.c.family == family
        query = (
            select(*LABELLED)
            .join_from(feedback, diagnoses, feedback.c.trace_id == diagnoses.c.trace_id)
            .where(feedback.c.tenant_id == diagnoses.c.tenant_id, is_of)
            .order_by(feedback.c.created_at.desc(), feedback.c.trace_id)
            .limit(limit)
        )
        reach = (
            self._database.transaction("hdx.learning", "all", long=True)
            if tenant_id is None
            else self._database.tenant(tenant_id, long=True)
        )
        async with reach as connection:
            return [Labelled(*row) for row in await connection.execute(query)]
