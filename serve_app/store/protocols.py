"""What routes ask of the store, part by part; PostgreSQL answers in service, and plain memory in contract tests.

A deed and its note in the audit are one: what takes an `actor` writes both, or neither.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from pipelines.machines.alarm import ABSTAINED
from pipelines.machines.commissioning import Learned, Normal, State
from serve_app.store.protocols_answers import AnswerStore
from serve_app.store.protocols_audit import AuditStore, SealStore
from serve_app.store.protocols_idempotency import IdempotencyStore
from serve_app.store.protocols_people import (
    AccountStore,
    IdentityStore,
    InvitationStore,
    KeyStore,
    SessionStore,
    TenantStore,
)
from serve_app.store.protocols_rates import RateStore
from serve_app.store.protocols_readings import EventStore, JobStore, ReadingStore, WatchStore
from serve_app.store.protocols_token_keys import TokenKeyStore
from serve_app.store.records import (
    COMMAND_LINE,
    Finding,
    Kept,
    Limits,
    StoredDiagnosis,
    StoredDocument,
    StoredFamily,
    StoredFeedback,
    System,
    Verdict,
)


class FamilyStore(Protocol):
    """Machine kinds that tenants defined."""

    async def page(self, tenant_id: int, after: str = "", limit: int = 100) -> Sequence[StoredFamily]:
        """Return a page of them, each in its newest version, in the order of their names."""
        ...

    async def get(self, tenant_id: int, name: str, version: int | None = None) -> StoredFamily:
        """Return one, in its newest version where none is given."""
        ...

    async def of_key(self, tenant_id: int, key: str) -> StoredFamily:
        """Return the version that has a `Family.key`, removed or not."""
        ...

    async def add(self, tenant_id: int, name: str, definition: str, actor: str = COMMAND_LINE) -> StoredFamily:
        """Add one."""
        ...

    async def change(self, tenant_id: int, name: str, definition: str, actor: str = COMMAND_LINE) -> StoredFamily:
        """Add a version; the newest one stays where it says the same."""
        ...

    async def remove(self, tenant_id: int, name: str, actor: str = COMMAND_LINE) -> None:
        """Remove one that no system is of."""
        ...


class SystemStore(Protocol):
    """Machines, each with its life and its normal."""

    async def page(self, tenant_id: int, after: int = 0, limit: int = 100) -> Sequence[System]:
        """Return a page of systems in the order of their ids."""
        ...

    async def get(self, tenant_id: int, system_id: int) -> System:
        """Return one system."""
        ...

    async def machine(self, tenant_id: int, system_id: int) -> tuple[System, Normal | None]:
        """Return a system with its normal."""
        ...

    async def add(self, tenant_id: int, name: str, family: str, description: str, actor: str = COMMAND_LINE) -> System:
        """Add a system."""
        ...

    async def change(
        self,
        tenant_id: int,
        system_id: int,
        name: str | None = None,
        description: str | None = None,
        actor: str = COMMAND_LINE,
        state: State | None = None,
        limits: Limits | None = None,
    ) -> System:
        """Change what is given."""
        ...

    async def commission(
        self,
        tenant_id: int,
        system_id: int,
        normal: Normal,
        windows: int,
        detail: str = "",
        actor: str = COMMAND_LINE,
        since: datetime | None = None,
    ) -> bool:
        """Keep what is normal for a system, and monitor it from now on, unless another commissioning has begun."""
        ...

    async def amend(
        self, tenant_id: int, system_id: int, change: Callable[[Normal], Normal], detail: str, actor: str = COMMAND_LINE
    ) -> Normal:
        """Change what is normal for a system, while nothing else does."""
        ...

    async def forget(self, tenant_id: int, system_id: int, actor: str = COMMAND_LINE) -> System:
        """Forget what is normal for a system; its commissioning begins anew."""
        ...

    async def delete(self, tenant_id: int, system_id: int, actor: str = COMMAND_LINE) -> None:
        """Delete a system with its normal and diagnoses."""
        ...


class DiagnosisStore(Protocol):
    """Answers that were given."""

    async def record(
        self,
        tenant_id: int,
        diagnosis: StoredDiagnosis,
        learned: Learned | None,
        alarm: bool | None = None,
        level: int = ABSTAINED,
        answer: Callable[[System], bytes] | None = None,
    ) -> Kept:
        """Store an answer, what its window taught, and how the window leaves the system: all or nothing."""
        ...

    async def newest(
        self, tenant_id: int, system_id: int, limit: int, begin: datetime | None = None, end: datetime | None = None
    ) -> Sequence[Mapping[str, Any]]:
        """Return a system's newest windows that count, between two moments where they are given, by time."""
        ...

    async def ends(self, tenant_id: int, system_id: int, begin: datetime, end: datetime) -> set[datetime]:
        """Return when those windows of stored readings ended that count, after one moment and up to another."""
        ...

    async def known(self, tenant_id: int, trace_ids: Sequence[UUID]) -> set[UUID]:
        """Return those of the trace ids that stand for answers."""
        ...

    async def windows(self, tenant_id: int, system_id: int, trace_ids: Sequence[UUID]) -> Sequence[Mapping[str, Any]]:
        """Return the windows of answers about a system, in the order asked for."""
        ...

    async def get(self, tenant_id: int, trace_id: UUID) -> StoredDiagnosis:
        """Return an answer."""
        ...

    async def last(self, tenant_id: int, system_id: int) -> StoredDiagnosis | None:
        """Return the newest answer about a system."""
        ...

    async def findings(self, tenant_id: int, system_id: int, since: datetime) -> Sequence[Finding]:
        """Return what was found on a system since a moment, the newest first; of its newest windows alone."""
        ...

    async def consult(self, tenant_id: int, trace_id: UUID, passages: Sequence[Mapping[str, Any]]) -> None:
        """Note the passages that the advice on an answer was written from."""
        ...

    async def passages(self, tenant_id: int, trace_id: UUID) -> Sequence[Mapping[str, Any]]:
        """Return the passages that the advice on an answer was written from."""
        ...


class FeedbackStore(Protocol):
    """What people said of answers."""

    async def give(
        self, tenant_id: int, trace_id: UUID, verdict: Verdict, component: str | None, note: str, actor: str
    ) -> StoredFeedback:
        """Keep what was said of an answer in place of what was said of it before, and note it in the audit."""
        ...


class DocumentStore(Protocol):
    """Documents that were uploaded."""

    async def add(
        self, tenant_id: int, document_id: str, name: str, sha256: str, content: bytes, actor: str = COMMAND_LINE
    ) -> StoredDocument:
        """Take a document in; one with the same name and content stays as it is, unless it failed or is going."""
        ...

    async def get(self, tenant_id: int, document_id: str) -> StoredDocument:
        """Return a document."""
        ...

    async def pages(self, tenant_id: int, document_id: str) -> Sequence[str]:
        """Return the text of each page."""
        ...

    async def page(self, tenant_id: int, after: str, limit: int) -> Sequence[StoredDocument]:
        """Return a page of documents in the order of their ids."""
        ...

    async def change(
        self, tenant_id: int, document_id: str, actor: str = COMMAND_LINE, **changes: Any
    ) -> StoredDocument:
        """Note what is wanted of a document; one that is going is none any more, but for going."""
        ...

    async def remove(self, tenant_id: int, document_id: str, actor: str = COMMAND_LINE) -> None:
        """Mark a document as going."""
        ...


class StoreParts(Protocol):
    """The whole store, as routes see it."""

    @property
    def tenants(self) -> TenantStore:
        """Companies."""
        ...

    @property
    def accounts(self) -> AccountStore:
        """People."""
        ...

    @property
    def identities(self) -> IdentityStore:
        """What providers vouch for."""
        ...

    @property
    def invitations(self) -> InvitationStore:
        """Rights to make a tenant."""
        ...

    @property
    def sessions(self) -> SessionStore:
        """Refresh tokens."""
        ...

    @property
    def keys(self) -> KeyStore:
        """API keys."""
        ...

    @property
    def token_keys(self) -> TokenKeyStore:
        """Generations of the keys that tokens are signed by."""
        ...

    @property
    def families(self) -> FamilyStore:
        """Machine kinds."""
        ...

    @property
    def systems(self) -> SystemStore:
        """Machines."""
        ...

    @property
    def diagnoses(self) -> DiagnosisStore:
        """Answers."""
        ...

    @property
    def readings(self) -> ReadingStore:
        """What machines sent."""
        ...

    @property
    def watches(self) -> WatchStore:
        """How far those are judged."""
        ...

    @property
    def events(self) -> EventStore:
        """What happened."""
        ...

    @property
    def feedback(self) -> FeedbackStore:
        """What was said of them."""
        ...

    @property
    def answers(self) -> AnswerStore:
        """Answers to questions, and what was said of them."""
        ...

    @property
    def documents(self) -> DocumentStore:
        """Documents."""
        ...

    @property
    def jobs(self) -> JobStore:
        """Work that takes longer than a request."""
        ...

    @property
    def rates(self) -> RateStore:
        """What is counted."""
        ...

    @property
    def audit(self) -> AuditStore:
        """Deeds."""
        ...

    @property
    def idempotency(self) -> IdempotencyStore:
        """Keys under which callers repeat a request."""
        ...

    @property
    def seals(self) -> SealStore:
        """What is signed of them."""
        ...

    async def ping(self) -> None:
        """Ask whether the database answers."""
        ...
