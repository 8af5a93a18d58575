"""What is asked of the store about the keys that tokens are signed by: it counts generations, and holds no key."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol

from serve_app.store.records import COMMAND_LINE


class KeyGeneration(NamedTuple):
    """Keys that tokens are signed by from a moment on, until the next ones are."""

    number: int
    begun_at: datetime


class TokenKeyStore(Protocol):
    """Generations of keys."""

    async def held(self, within: timedelta) -> Sequence[KeyGeneration]:
        """Return the generations that began within so long, and the one before them, in their order."""
        ...

    async def rotate(self, apart: timedelta, actor: str = COMMAND_LINE) -> KeyGeneration:
        """Begin the next generation, unless the newest one is younger than that."""
        ...
