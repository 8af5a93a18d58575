"""Keys under which callers repeat a request, in memory."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID

from pipelines.errors import KeyInUse
from serve_app.store.idempotency import KEPT, LEASE
from serve_app.store.records_idempotency import HELD, HeldKey, KeptAnswer, KeyScope, KeyState, KnownKey

if TYPE_CHECKING:
    from tests.contract.memory_store import MemoryStore


@dataclass
class Row:
    """What is known of a key."""

    trace_id: UUID
    fingerprint: bytes | None
    lease_until: datetime
    created_at: datetime
    changed: bool = False
    answer: KeptAnswer | None = None


class MemoryKeyring:
    """Attributes:
    rows: By the scope of each key.
    """

    def __init__(self, store: "MemoryStore") -> None:
        self.rows: dict[KeyScope, Row] = {}

    async def begin(self, scope: KeyScope, trace_id: UUID, fingerprint: bytes | None) -> KnownKey | None:
        row, now = self.rows.get(scope), datetime.now(UTC)
        if row is None or now - row.created_at >= KEPT or self._state(row) is None:
            self.rows[scope] = Row(trace_id, fingerprint, now + LEASE, now)
            return None
        state = self._state(row)
        assert state is not None
        return KnownKey(state, row.trace_id, row.fingerprint, row.answer)

    @staticmethod
    def _state(row: Row) -> KeyState | None:
        if row.answer is not None:
            return "answered"
        if row.lease_until > datetime.now(UTC):
            return "running"
        return "lost" if row.changed else None

    def mark(self) -> None:
        """Say that the request in hand changes something."""
        held = HELD.get()
        if held is None:
            return
        row = self._of(held)
        if row is None:
            raise KeyInUse("idempotency-key", held.trace_id, "is held by another request now: this one changed nothing")
        row.changed, row.fingerprint = True, held.fingerprint()

    async def keep(self, held: HeldKey, answer: KeptAnswer) -> None:
        row = self._of(held)
        if row is not None:
            row.answer, row.fingerprint = answer, held.fingerprint()

    async def release(self, held: HeldKey) -> None:
        row = self._of(held)
        if row is not None:
            row.lease_until = datetime.now(UTC)
            self.rows = {scope: each for scope, each in self.rows.items() if each is not row or row.changed}

    def _of(self, held: HeldKey) -> Row | None:
        return next((row for row in self.rows.values() if row.trace_id == held.trace_id), None)
