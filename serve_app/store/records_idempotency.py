"""Keys under which callers repeat a request, as the rest of the application sees them."""

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal, NamedTuple
from uuid import UUID

# `running`: a request holds the key. `lost`: one changed something, and its answer was not kept.
KeyState = Literal["running", "answered", "lost"]


class KeyScope(NamedTuple):
    """Within which a key stands for one request."""

    tenant_id: int
    account: str
    route: str
    key: str


class KeptAnswer(NamedTuple):
    """An answer as it was given."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class KnownKey(NamedTuple):
    """What is known of a key that another request holds, or held.

    Attributes:
        trace_id: Of that request.
        fingerprint: Of what it asked for; None until its body has come to its end.
        answer: What it was answered.
    """

    state: KeyState
    trace_id: UUID
    fingerprint: bytes | None
    answer: KeptAnswer | None


@dataclass(frozen=True)
class HeldKey:
    """A key that the request in hand holds.

    Attributes:
        trace_id: Of the request.
        fingerprint: Returns that of what is asked for, or None while its body has not come to its end.
    """

    tenant_id: int
    trace_id: UUID
    fingerprint: Callable[[], bytes | None]


HELD: ContextVar[HeldKey | None] = ContextVar("held", default=None)
