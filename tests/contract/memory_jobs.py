"""Jobs in memory: what routes ask of them, without a worker that does them."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID

from pipelines.errors import NotFound, Overloaded
from serve_app.store.records import COMMAND_LINE
from serve_app.store.records_jobs import OPEN, Job, Ordered, ordered

if TYPE_CHECKING:
    from tests.contract.memory_store import MemoryStore


class MemoryJobs:
    """Attributes:
    asked: Each job with its tenant.
    parts: Of files, by tenant, job and number.
    """

    def __init__(self, store: "MemoryStore") -> None:
        self._store = store
        self.asked: dict[UUID, tuple[int, Job]] = {}
        self.parts: dict[tuple[int, UUID, int], bytes] = {}

    async def check_room(self, tenant_id: int, most: int) -> None:
        own = [job for owner, job in self.asked.values() if owner == tenant_id and job.state in OPEN]
        if len(own) >= most:
            raise Overloaded(30)

    async def keep_file(self, tenant_id: int, job_id: UUID, number: int, content: bytes, most: int) -> None:
        held = sum(len(part) for (owner, _, _), part in self.parts.items() if owner == tenant_id)
        if held + len(content) > most:
            raise Overloaded(30)
        self.parts[tenant_id, job_id, number] = content

    async def discard(self, tenant_id: int, job_id: UUID) -> None:
        if job_id not in self.asked:
            self._drop(tenant_id, job_id)

    def _drop(self, tenant_id: int, job_id: UUID) -> None:
        self.parts = {key: part for key, part in self.parts.items() if key[:2] != (tenant_id, job_id)}

    async def add(self, tenant_id: int, order: Ordered, most: int, actor: str = COMMAND_LINE) -> Job:
        await self.check_room(tenant_id, most)
        job = ordered(order, len(self.asked) + 1, actor, datetime.now(UTC))
        self.asked[order.job_id] = tenant_id, job
        await self._store.audit.note(tenant_id, actor, "job.added", f"job {order.job_id}", "")
        return job

    async def page(self, tenant_id: int, before: int | None = None, limit: int = 100) -> Sequence[Job]:
        own = [job for owner, job in self.asked.values() if owner == tenant_id]
        found = [job for job in own if before is None or job.number < before]
        return sorted(found, key=lambda job: -job.number)[:limit]

    async def get(self, tenant_id: int, job_id: UUID) -> Job:
        owner, job = self.asked.get(job_id, (None, None))
        if owner != tenant_id or job is None:
            raise NotFound("job", job_id)
        return job

    async def cancel(self, tenant_id: int, job_id: UUID, actor: str = COMMAND_LINE) -> Job:
        job = await self.get(tenant_id, job_id)
        if job.state in OPEN:
            job = replace(job, state="cancelled")
            self.asked[job_id] = tenant_id, job
            self._drop(tenant_id, job_id)
            await self._store.audit.note(tenant_id, actor, "job.cancelled", f"job {job_id}", "")
        return job
