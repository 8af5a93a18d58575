"""What an API key with scopes opens, by the method and the path of a request; asked where callers are made known.

A path that stands nowhere here is closed to every such key, so that none is opened by being forgotten. Whoever may make
people or keys may do anything, so that no scope opens those.
"""

import re

from pipelines.errors import Forbidden
from serve_app.store.records import Principal, Scope

# The first that a path begins with counts.
AREAS: tuple[tuple[re.Pattern[str], Scope], ...] = (
    (re.compile(r"/api/(diagnostics|rag/answers)/[^/]+/feedback/"), "feedback"),
    (re.compile(r"/api/diagnostics/"), "detect"),
    (re.compile(r"/api/systems/[^/]+/readings/|/api/jobs/"), "readings"),
    (re.compile(r"/api/rag/documents/"), "documents"),
    (re.compile(r"/api/rag/query/|/v1/"), "assistant"),
    (re.compile(r"/api/models/"), "models"),
    (re.compile(r"/api/limits/"), "read"),
    (re.compile(r"/api/systems/|/api/families/"), "manage"),
)


def scopes_for(method: str, path: str) -> frozenset[Scope]:
    """Return the scopes each of which opens a path: that of its area, and for reading `read`, too."""
    for begin, scope in AREAS:
        if begin.match(path):
            return frozenset({scope, "read"} if method in ("GET", "HEAD") else {scope})
    return frozenset()


def allows(caller: Principal, method: str, path: str) -> bool:
    """Tell whether a caller's scopes open a path; those of no scopes may all that their role may."""
    return caller.scopes is None or not scopes_for(method, path).isdisjoint(caller.scopes)


def check_scopes(caller: Principal, method: str, path: str) -> None:
    """Let in whom his scopes do.

    Raises:
        Forbidden: They open other paths.
    """
    if not allows(caller, method, path):
        wanted = sorted(scopes_for(method, path))
        raise Forbidden(
            f"needs a key with the scope {' or '.join(wanted)}" if wanted else "is open to no key with scopes"
        )
