"""What is asked of the store about keys under which callers repeat a request."""

from typing import Protocol
from uuid import UUID

from serve_app.store.records_idempotency import HeldKey, KeptAnswer, KeyScope, KnownKey


class IdempotencyStore(Protocol):
    """Keys of callers; what changes something marks the key that is held, in the transaction of the change."""

    async def begin(self, scope: KeyScope, trace_id: UUID, fingerprint: bytes | None) -> KnownKey | None:
        """Hold a key for a request; return what is known of it where another request holds it, or held it."""
        ...

    async def keep(self, held: HeldKey, answer: KeptAnswer) -> None:
        """Keep what a request was answered, for those that repeat it."""
        ...

    async def release(self, held: HeldKey) -> None:
        """Let a key go without an answer: it is free, unless its request has changed something."""
        ...
