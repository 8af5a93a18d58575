"""The memory store's generations of the keys that tokens are signed by."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from serve_app.store.protocols_token_keys import KeyGeneration
from serve_app.store.records import COMMAND_LINE
from serve_app.store.token_keys import too_soon

if TYPE_CHECKING:
    from tests.contract.memory_store import MemoryStore


class MemoryTokenKeys:
    """Generations of one process."""

    def __init__(self, store: "MemoryStore") -> None:
        self._store = store
        self.generations = [KeyGeneration(1, datetime.now(UTC))]

    async def held(self, within: timedelta) -> Sequence[KeyGeneration]:
        past = datetime.now(UTC) - within
        before = max((each.number for each in self.generations if each.begun_at < past), default=0)
        return [each for each in self.generations if each.number >= before]

    async def rotate(self, apart: timedelta, actor: str = COMMAND_LINE) -> KeyGeneration:
        newest, now = self.generations[-1], datetime.now(UTC)
        if now - newest.begun_at < apart:
            raise too_soon(newest, apart)
        self.generations.append(KeyGeneration(newest.number + 1, now))
        generation = f"generation {newest.number + 1}"
        await self._store.audit.note(None, actor, "token_keys.rotated", generation, "")
        return self.generations[-1]
