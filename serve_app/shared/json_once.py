"""JSON whose objects name each member once: of two values nobody could tell which one counts. Source: RFC 7493, 2.3."""

import json
from collections import Counter
from typing import Any

from pipelines.errors import InvalidInput


def read_once(body: bytes | str) -> Any:
    """Read JSON.

    Raises:
        ValueError: It is none.
        RecursionError: It is too deep.
        InvalidInput: An object names a member twice.
    """
    return json.loads(body, object_pairs_hook=_once)


def _once(members: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(members)
    if len(found) < len(members):
        ((name, _),) = Counter(name for name, _ in members).most_common(1)
        raise InvalidInput("body", name, "must name each member of an object once")
    return found
