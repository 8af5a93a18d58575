"""Jobs: work that takes longer than a request, with what was sent for it until it has ended.

Routes ask for a job, follow and cancel it; the worker does it in pieces. Each piece and how far the job is are kept in
one transaction, so that whatever dies, each is kept once.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import delete, exists, func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from pipelines.errors import NotFound, Overloaded
from serve_app.store.audit import note
from serve_app.store.database import Database
from serve_app.store.records import COMMAND_LINE
from serve_app.store.records_jobs import OPEN, Job, JobState, JobTask, Ordered, Stage
from serve_app.store.tables import job_parts, jobs
from serve_app.store.watches import defer

JOB = tuple(jobs.c[name] for name in Job.__dataclass_fields__)
# Seconds within which a job that is under way is heard of, or begun again. Source: own choice; as a silent worker.
DUE_S = 30.0
# Until a part belongs to no job any more whose file came. Source: the migration, which shows none that is younger.
ORPHANED = timedelta(hours=1)
# Of those who sent too much, until they come again. Source: own choice; a file of some megabytes is read by then.
RETRY_S = 30
# Jobs of one tenant are counted one after the other; a number as in `migrate`.
LOCK = 0x484459


class Superseded(Exception):
    """The job was cancelled, or somebody else has come further with it: what was done here counts for nothing."""


class Jobs:
    """The jobs of a tenant."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # --- for routes

    async def check_room(self, tenant_id: int, most: int) -> None:
        """Check that one more job may wait.

        Raises:
            Overloaded: As many as may wait already.
        """
        async with self._database.tenant(tenant_id) as connection:
            await _check_room(connection, most)

    async def keep_file(self, tenant_id: int, job_id: UUID, number: int, content: bytes, most: int) -> None:
        """Keep a part of the file of a job that will be asked for.

        Args:
            tenant_id: Whose.
            job_id: Of the job.
            number: Of the part, from 0.
            content: Of the part.
            most: Bytes that all open jobs of the tenant may have.

        Raises:
            Overloaded: With it they would have more.
        """
        async with self._database.tenant(tenant_id) as connection:
            held = select(func.coalesce(func.sum(func.octet_length(job_parts.c.content)), 0))
            if (await connection.execute(held)).scalar_one() + len(content) > most:
                raise Overloaded(RETRY_S)
            await _keep(connection, tenant_id, job_id, "file", number, content)

    async def discard(self, tenant_id: int, job_id: UUID) -> None:
        """Forget what was kept for a job that is not asked for after all; of one that is, nothing goes."""
        async with self._database.tenant(tenant_id) as connection:
            await _drop(connection, job_id, ~exists().where(jobs.c.job_id == job_id))

    async def add(self, tenant_id: int, order: Ordered, most: int, actor: str = COMMAND_LINE) -> Job:
        """Ask for a job whose file is kept; the worker begins it.

        Raises:
            Overloaded: As many as may wait already.
        """
        async with self._database.tenant(tenant_id) as connection:
            await connection.execute(
                text("SELECT pg_advisory_xact_lock(:lock, :tenant)"), {"lock": LOCK, "tenant": tenant_id}
            )
            await _check_room(connection, most)
            row = order._asdict() | {"tenant_id": tenant_id, "state": "queued", "created_by": actor, "due": _due()}
            made = Job(*(await connection.execute(insert(jobs).values(row).returning(*JOB))).one())
            detail = f"{order.kind} of system {order.system_id}, {order.bytes} bytes"
            await note(connection, tenant_id, actor, "job.added", f"job {order.job_id}", detail)
            await _ask(connection, order.job_id, order.task)
        return made

    async def page(self, tenant_id: int, before: int | None = None, limit: int = 100) -> list[Job]:
        """Return those asked for before a number, the newest first."""
        query = select(*JOB).order_by(jobs.c.number.desc()).limit(limit)
        query = query if before is None else query.where(jobs.c.number < before)
        async with self._database.tenant(tenant_id) as connection:
            return [Job(*row) for row in await connection.execute(query)]

    async def get(self, tenant_id: int, job_id: UUID) -> Job:
        """Return one.

        Raises:
            NotFound: It is not, or no longer, this tenant's.
        """
        async with self._database.tenant(tenant_id) as connection:
            return await _get(connection, job_id)

    async def cancel(self, tenant_id: int, job_id: UUID, actor: str = COMMAND_LINE) -> Job:
        """End a job; one that has ended stays as it is. What is kept of it by then stays kept.

        Raises:
            NotFound: It is not, or no longer, this tenant's.
        """
        async with self._database.tenant(tenant_id) as connection:
            if await _end(connection, job_id, "cancelled"):
                await note(connection, tenant_id, actor, "job.cancelled", f"job {job_id}", "")
            return await _get(connection, job_id)

    # --- for the worker

    async def begin(self, tenant_id: int, job_id: UUID) -> Job | None:
        """Go on with a job; None where it has ended."""
        begun = {"state": "running", "attempts": jobs.c.attempts + 1, "due": _due(), "updated_at": func.now()}
        query = update(jobs).where(*_open(job_id)).values(begun).returning(*JOB)
        async with self._database.tenant(tenant_id) as connection:
            row = (await connection.execute(query)).one_or_none()
        return None if row is None else Job(*row)

    async def beat(self, tenant_id: int, job_id: UUID) -> bool:
        """Say that a job is still worked at; return whether it is still wanted."""
        query = update(jobs).where(*_open(job_id)).values(due=_due())
        async with self._database.tenant(tenant_id) as connection:
            return bool((await connection.execute(query)).rowcount)

    async def part(self, tenant_id: int, job_id: UUID, stage: Stage, number: int) -> bytes | None:
        """Return a part of what is kept for a job; None where there is none of this number."""
        key = job_parts.c.job_id == job_id, job_parts.c.stage == stage, job_parts.c.number == number
        async with self._database.tenant(tenant_id) as connection:
            return (await connection.execute(select(job_parts.c.content).where(*key))).scalar_one_or_none()

    async def keep_rows(self, tenant_id: int, job_id: UUID, number: int, content: bytes) -> None:
        """Keep a piece of what was read; what an earlier attempt left under this number gives way.

        Raises:
            Superseded: The job has ended; whoever ends it waits until this is kept.
        """
        is_open = select(jobs.c.job_id).where(*_open(job_id)).with_for_update(read=True)
        async with self._database.tenant(tenant_id) as connection:
            if (await connection.execute(is_open)).one_or_none() is None:
                raise Superseded
            await _drop(connection, job_id, job_parts.c.stage == "rows", job_parts.c.number == number)
            await _keep(connection, tenant_id, job_id, "rows", number, content)

    async def was_read(
        self, tenant_id: int, job_id: UUID, pieces: int, total: int, done: int, report: Mapping[str, Any]
    ) -> None:
        """Say that a file is read, and all pieces of it are kept; the file itself goes.

        Args:
            tenant_id: Whose.
            job_id: Which.
            pieces: That are to be kept as readings.
            total: Values of the file.
            done: Those of them that are in no piece.
            report: How the file was read.

        Raises:
            Superseded: The job has ended.
        """
        read = {"pieces": pieces, "total": total, "done": done, "report": dict(report), "task": "job", "attempts": 0}
        query = update(jobs).where(*_open(job_id), jobs.c.total.is_(None)).values(read | _heard())
        async with self._database.tenant(tenant_id) as connection:
            if not (await connection.execute(query)).rowcount:
                raise Superseded
            await _drop(connection, job_id, job_parts.c.stage == "file")
            if not pieces:
                await _end(connection, job_id, "done")

    async def fail(self, tenant_id: int, job_id: UUID, reason: str) -> None:
        """End a job that cannot be done."""
        async with self._database.tenant(tenant_id) as connection:
            await _end(connection, job_id, "failed", reason=reason)

    async def ask(self, tenant_id: int, job_id: UUID, task: JobTask) -> None:
        """Have a job gone on with, in its turn."""
        async with self._database.tenant(tenant_id) as connection:
            await connection.execute(update(jobs).where(*_open(job_id)).values(task=task, due=_due()))
            await _ask(connection, job_id, task)

    async def rest(self, tenant_id: int, job_id: UUID, seconds: float) -> None:
        """Have a job gone on with after a while, by whoever looks after it."""
        later = func.now() + timedelta(seconds=seconds)
        async with self._database.tenant(tenant_id) as connection:
            await connection.execute(update(jobs).where(*_open(job_id)).values(due=later))

    async def look_after(self) -> int:
        """Have jobs gone on with that nobody was heard of for too long, and drop what belongs to none; return how many.

        Raises:
            Unavailable: The database does not answer.
        """
        late = select(jobs.c.tenant_id, jobs.c.job_id, jobs.c.task).where(jobs.c.due < func.now()).limit(1000)
        belongs = exists().where(jobs.c.job_id == job_parts.c.job_id)
        orphaned = job_parts.c.created_at < func.now() - ORPHANED, ~belongs
        async with self._database.transaction("hdx.jobs", "all") as connection:
            found = list(await connection.execute(late))
            await connection.execute(delete(job_parts).where(*orphaned))
        for tenant_id, job_id, task in found:
            await self.ask(tenant_id, job_id, task)
        return len(found)


async def advance(connection: AsyncConnection, job: Job, values: int, report: Mapping[str, Any]) -> None:
    """Say in the transaction that keeps a piece of a job's readings that it is kept; the last one ends the job.

    Raises:
        Superseded: It was cancelled, or somebody else has kept that piece.
    """
    further = {"piece": job.piece + 1, "done": job.done + values, "report": dict(report), "attempts": 0}
    query = update(jobs).where(*_open(job.job_id), jobs.c.piece == job.piece).values(further | _heard())
    if not (await connection.execute(query)).rowcount:
        raise Superseded
    await _drop(connection, job.job_id, job_parts.c.stage == "rows", job_parts.c.number == job.piece)
    if job.piece + 1 == job.pieces:
        await _end(connection, job.job_id, "done")


async def _get(connection: AsyncConnection, job_id: UUID) -> Job:
    row = (await connection.execute(select(*JOB).where(jobs.c.job_id == job_id))).one_or_none()
    if row is None:
        raise NotFound("job", job_id)
    return Job(*row)


async def _check_room(connection: AsyncConnection, most: int) -> None:
    waiting = select(func.count()).select_from(jobs).where(jobs.c.state.in_(OPEN))
    if (await connection.execute(waiting)).scalar_one() >= most:
        raise Overloaded(RETRY_S)


async def _keep(
    connection: AsyncConnection, tenant_id: int, job_id: UUID, stage: Stage, number: int, content: bytes
) -> None:
    row = {"tenant_id": tenant_id, "job_id": job_id, "stage": stage, "number": number, "content": content}
    await connection.execute(insert(job_parts).values(row))


async def _drop(connection: AsyncConnection, job_id: UUID, *more: Any) -> None:
    await connection.execute(delete(job_parts).where(job_parts.c.job_id == job_id, *more))


async def _end(connection: AsyncConnection, job_id: UUID, state: JobState, reason: str = "") -> bool:
    """End an open job, with all that is kept for it; tell whether it was open."""
    ended = {"state": state, "reason": reason, "updated_at": func.now()}
    if not (await connection.execute(update(jobs).where(*_open(job_id)).values(ended))).rowcount:
        return False
    await _drop(connection, job_id)
    return True


async def _ask(connection: AsyncConnection, job_id: UUID, task: JobTask) -> None:
    await defer(connection, task, str(job_id), {"job_id": str(job_id)})


def _open(job_id: UUID) -> Sequence[Any]:
    return jobs.c.job_id == job_id, jobs.c.state.in_(OPEN)


def _due() -> Any:
    return func.now() + timedelta(seconds=DUE_S)


def _heard() -> dict[str, Any]:
    return {"due": _due(), "updated_at": func.now()}
