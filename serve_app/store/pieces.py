"""Pieces of a file of readings, as they wait in the database until they are kept."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple, Self

import orjson

from serve_app.store.columns import ReadingColumns
from serve_app.store.records import Suspect

LENGTH = 4  # bytes of the number that says how long something is


class Piece(NamedTuple):
    """What is kept in one transaction."""

    rows: ReadingColumns
    suspects: Sequence[Suspect]

    def to_bytes(self) -> bytes:
        """Return it packed."""
        aside = orjson.dumps([tuple(each) for each in self.suspects])
        return len(aside).to_bytes(LENGTH, "big") + aside + self.rows.to_bytes()

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """Return what `to_bytes` has packed."""
        begin = LENGTH + int.from_bytes(content[:LENGTH], "big")
        aside = [
            Suspect(name, datetime.fromisoformat(at), value, reason)
            for name, at, value, reason in orjson.loads(content[LENGTH:begin])
        ]
        return cls(ReadingColumns.from_bytes(content[begin:]), aside)
