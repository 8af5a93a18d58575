"""API keys over REST: how they are made, listed and ended, and what their scopes open."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pytest
from fastapi.testclient import TestClient

from serve_app.api import scopes
from serve_app.api.auth import Authenticator
from serve_app.api.schemas.people import KeysReply, MadeKeyReply
from serve_app.api.scopes import scopes_for
from serve_app.store.records import Role, Scope
from tests.contract.calls import (
    CHAT,
    DETECT,
    GUARDED,
    NEW_KEY,
    OF_ADMINS,
    OWN_PASSWORD,
    UNKNOWN,
    WINDOW,
    LogIn,
    assert_problem,
)
from tests.contract.snapshot import contract
from tests.contract.stand_ins import Bench

KEYS = "/api/keys/"
# What no key with scopes may do: see `api/scopes`.
CLOSED = ("/api/users/", "/api/keys/", "/api/auth/password/", "/api/audit/")
OPEN_TO_ALL = ("/health", "/internal/", "/metrics", "/api/auth/", "/.well-known/")
JSON = {"content-type": "application/json"}
# As clients send them that take the long way, through FastAPI.
LONG = {"content-type": "application/json; charset=utf-8"}


def make(client: TestClient, admin: dict[str, str], **changes: Any) -> MadeKeyReply:
    """Return a new key."""
    reply = client.post(KEYS, json=NEW_KEY | changes, headers=admin)
    assert reply.status_code == 201, reply.text
    return MadeKeyReply.model_validate(reply.json())


def test_a_key_is_told_once(client: TestClient, bench: Bench, headers: LogIn) -> None:
    """It opens what its role may at once; lists show how it begins, who made it is in the audit, and it is not kept."""
    admin = headers("admin")
    made = make(client, admin)
    assert (made.name, made.role, made.scopes, made.expires_at, made.revoked_at) == ("line 5", "operator", *[None] * 3)
    assert client.post(DETECT, json=WINDOW, headers={"x-api-key": made.key}).status_code == 200
    reply = client.get(KEYS, headers=admin)
    (listed,) = KeysReply.model_validate(reply.json()).keys
    assert (listed.key_id, listed.prefix) == (made.key_id, made.key[:8])
    assert made.key not in reply.text
    assert made.key not in (bench.services.settings.home / "logs" / "hdx.jsonl").read_text()
    assert (1, "admin", "key.added", f"key {made.key_id}") in bench.store.audited
    assert not any(made.key in note.detail for _, note in bench.store.notes)


def test_keys_are_listed_by_pages(client: TestClient, headers: LogIn) -> None:
    """In order of the id, the revoked ones too, and none of another tenant."""
    admin = headers("admin")
    numbers = [make(client, admin, name=name).key_id for name in ("a", "b", "c")]
    make(client, headers("stranger"), name="theirs")
    client.delete(f"{KEYS}{numbers[0]}/", headers=admin)
    first = client.get(KEYS, params={"limit": 2}, headers=admin).json()
    rest = client.get(KEYS, params={"after": first["next"]}, headers=admin).json()
    assert [key["name"] for key in first["keys"] + rest["keys"]] == ["a", "b", "c"]
    assert [key["revoked_at"] is None for key in first["keys"]] == [False, True]
    assert rest["next"] is None


def test_a_key_is_revoked(client: TestClient, bench: Bench, headers: LogIn) -> None:
    """Its next request is refused; again, another tenant's, and one that never was read alike."""
    admin = headers("admin")
    made, theirs = make(client, admin), make(client, headers("stranger"))
    assert client.delete(f"{KEYS}{made.key_id}/", headers=admin).status_code == 204
    refused = client.get("/api/systems/", headers={"x-api-key": made.key})
    assert "revoked" in assert_problem(refused, 401, "unauthenticated")["detail"]
    for number in (made.key_id, theirs.key_id, 999):
        reply = client.delete(f"{KEYS}{number}/", headers=admin)
        assert assert_problem(reply, 404, "not-found")["value"] == str(number)
    assert client.get("/api/systems/", headers={"x-api-key": theirs.key}).status_code == 200
    assert [note[2] for note in bench.store.audited if note[0] == 1 and note[2] != "login"] == [
        "key.added",
        "key.revoked",
    ]


def test_a_key_ends(client: TestClient, headers: LogIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds up to its end and not from then on, without anybody doing anything."""
    ends = datetime.now(UTC) + timedelta(days=3)
    made = make(client, headers("admin"), expires_at=ends.isoformat())
    assert made.expires_at == ends
    assert client.get("/api/systems/", headers={"x-api-key": made.key}).status_code == 200

    class Later(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return ends

    monkeypatch.setattr("tests.contract.memory_people.datetime", Later)
    reply = client.get("/api/systems/", headers={"x-api-key": made.key})
    assert "past its end" in assert_problem(reply, 401, "unauthenticated")["detail"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"name": "a\x00b"}, "name"),
        ({"role": "owner"}, "role"),
        ({"role": None}, "role"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["everything"]}, "scopes[0]"),
        ({"scopes": "read"}, "scopes"),
        ({"scopes": ["read"] * 21}, "scopes"),
        ({"expires_at": "2026-01-01T00:00:00Z"}, "expires_at"),
        ({"expires_at": "2099-01-01T00:00:00Z"}, "expires_at"),
        ({"expires_at": "9999-12-31T23:59:59-10:00"}, "expires_at"),
        ({"expires_at": "0001-01-01T00:00:00+10:00"}, "expires_at"),
        ({"expires_at": "2027-01-01T00:00:00"}, "expires_at"),
        ({"tenant_id": 2}, "tenant_id"),
        ({"key": "hdx_chosen"}, "key"),
    ],
)
def test_a_bad_key_is_named(
    client: TestClient, bench: Bench, headers: LogIn, changes: dict[str, Any], field: str
) -> None:
    """Field and rule; the tenant, and the key itself, are not the caller's to choose."""
    problem = assert_problem(client.post(KEYS, json=NEW_KEY | changes, headers=headers("admin")), 422, "invalid-input")
    assert problem["field"] == field
    assert bench.store.listed_keys == {}


# --- last use


def test_the_last_use_is_kept_off_the_way(client: TestClient, bench: Bench, headers: LogIn) -> None:
    """No request writes it; it is written later, once a minute at most, of the keys that were used alone."""
    admin = headers("admin")
    used, idle = make(client, admin, name="used"), make(client, admin, name="idle")
    writes: list[int] = []
    kept = bench.store.keys.used

    async def counted(tenant_id: int, moments: Any) -> None:
        writes.append(len(moments))
        await kept(tenant_id, moments)

    bench.store.keys.used = counted  # type: ignore[method-assign]
    for path in ("/api/systems/", "/api/families/"):
        assert client.get(path, headers={"x-api-key": used.key}).status_code == 200
    client.get("/api/systems/", headers={"x-api-key": "hdx_unknown"})
    assert writes == []
    assert last_uses(client, admin) == {"used": None, "idle": None}
    write_uses(client)
    first = last_uses(client, admin)
    assert (first["used"] is not None, first["idle"]) == (True, None)
    write_uses(client)  # nothing was used since
    client.get("/api/systems/", headers={"x-api-key": used.key})
    write_uses(client)  # within the minute
    assert writes == [1, 1]
    assert last_uses(client, admin) == first
    assert idle.last_used_at is None


def test_a_last_use_that_cannot_be_written_costs_nothing(
    client: TestClient, bench: Bench, headers: LogIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the database is away it is forgotten; the next use is kept again."""
    admin = headers("admin")
    made = make(client, admin)
    kept = bench.store.keys.used

    async def away(*_: Any) -> None:
        raise OSError

    for used in (away, kept):
        monkeypatch.setattr(bench.store.keys, "used", used)
        assert client.get("/api/systems/", headers={"x-api-key": made.key}).status_code == 200
        write_uses(client)
        assert (last_uses(client, admin)["line 5"] is None) == (used is away)


def write_uses(client: TestClient) -> None:
    """Do what the application does every minute."""
    authenticator: Authenticator = client.app.state.authenticator  # type: ignore[attr-defined]
    assert client.portal is not None
    client.portal.call(authenticator.write_uses)


def last_uses(client: TestClient, admin: dict[str, str]) -> dict[str, str | None]:
    return {key["name"]: key["last_used_at"] for key in client.get(KEYS, headers=admin).json()["keys"]}


# --- scopes

DOCUMENT, JOB = "/api/rag/documents/d1/", f"/api/jobs/{UNKNOWN}/"
OPENED: dict[Scope, set[tuple[str, str]]] = {
    "assistant": {("POST", "/api/rag/query/"), ("GET", "/v1/models"), ("POST", "/v1/chat/completions")},
    "detect": {
        ("POST", DETECT),
        ("POST", f"{DETECT}batch/"),
        ("POST", "/api/diagnostics/diagnose/"),
        ("GET", f"/api/diagnostics/{UNKNOWN}/"),
        ("POST", f"/api/diagnostics/{UNKNOWN}/replay/"),
    },
    "documents": {
        ("GET", "/api/rag/documents/"),
        ("GET", DOCUMENT),
        ("GET", f"{DOCUMENT}pages/1/"),
        ("GET", f"{DOCUMENT}flagged/"),
        ("POST", f"{DOCUMENT}reindex/"),
        ("DELETE", DOCUMENT),
    },
    "feedback": {
        ("POST", f"/api/diagnostics/{UNKNOWN}/feedback/"),
        ("POST", f"/api/rag/answers/{UNKNOWN}/feedback/"),
    },
    "manage": {
        (method, path)
        for method, path, _ in GUARDED
        if path.startswith(("/api/systems/", "/api/families/")) and "readings" not in path
    },
    "models": {(method, path) for method, path, _ in GUARDED if path.startswith("/api/models/")},
    "read": {(method, path) for method, path, _ in GUARDED if method == "GET"},
    "readings": {
        *((method, path) for method, path, _ in GUARDED if path.startswith("/api/systems/1/readings/")),
        ("GET", "/api/jobs/"),
        ("GET", JOB),
        ("POST", f"{JOB}cancel/"),
    },
}


@pytest.fixture
def held(client: TestClient, headers: LogIn) -> Iterator[dict[Scope, dict[str, str]]]:
    """By scope the header of an administrator's key that has this one alone."""
    admin = headers("admin")
    names: tuple[Scope, ...] = get_args(Scope)
    yield {name: {"x-api-key": make(client, admin, role="admin", scopes=[name]).key} for name in names}


@pytest.mark.parametrize(("method", "path", "body"), GUARDED)
def test_a_scope_opens_its_own(
    client: TestClient, held: dict[Scope, dict[str, str]], method: str, path: str, body: object
) -> None:
    """Of all that an administrator may, a key with one scope does what that opens and is refused the rest."""
    for scope, key in held.items():
        reply = client.request(method, path, json=body, headers=key)
        if (method, path) in OPENED[scope]:
            assert reply.status_code not in (401, 403), (scope, reply.text)
        else:
            assert "scope" in assert_problem(reply, 403, "forbidden")["detail"], scope


@pytest.mark.parametrize(("method", "path", "body"), [*OF_ADMINS, ("POST", "/api/auth/password/", OWN_PASSWORD)])
def test_no_scope_opens_people_and_keys(
    client: TestClient, bench: Bench, headers: LogIn, method: str, path: str, body: object
) -> None:
    """Whoever may make a key may do anything: even all scopes together are less than none, and make no more."""
    made = make(client, headers("admin"), role="admin", scopes=list(get_args(Scope)))
    before = dict(bench.store.people), dict(bench.store.listed_keys)
    reply = client.request(method, path, json=body, headers={"x-api-key": made.key})
    assert_problem(reply, 403, "forbidden")
    assert (bench.store.people, bench.store.listed_keys) == before


def test_every_route_has_an_area() -> None:
    """A new route says which scope opens it, or that none shall; until then it is closed to keys with scopes."""
    paths = [path for path in contract()["paths"] if not path.startswith(OPEN_TO_ALL) or path in CLOSED]
    assert len(paths) > 30
    closed = {path for path in paths if not scopes_for("GET", path)}
    assert {path for path in closed if not path.startswith(CLOSED)} == set()
    assert {scope for _, scope in scopes.AREAS} | {"read"} == set(get_args(Scope))


@pytest.mark.parametrize("kind", [JSON, LONG])
@pytest.mark.parametrize("place", ["x-api-key", "bearer"])
def test_both_ways_ask_for_the_scope(
    client: TestClient, held: dict[Scope, dict[str, str]], kind: dict[str, str], place: str
) -> None:
    """The fast path judges for a key of `detect` and for no other, wherever the key is sent."""
    for scope, key in held.items():
        sent = key if place == "x-api-key" else {"authorization": f"Bearer {key['x-api-key']}"}
        reply = client.post(DETECT, json=WINDOW, headers=sent | kind)
        if scope == "detect":
            assert reply.status_code == 200
        else:
            assert "needs a key with the scope detect" in assert_problem(reply, 403, "forbidden")["detail"]
    assert_problem(client.post(DETECT, content=b" " * 20_000, headers=held["read"] | kind), 403, "forbidden")


def test_quotas_are_read_under_read_alone(client: TestClient, held: dict[Scope, dict[str, str]]) -> None:
    """They tell what the whole tenant sends; a key's own are in the headers of each answer."""
    opened = {scope for scope, key in held.items() if client.get("/api/limits/", headers=key).status_code == 200}
    assert opened == {"read"}


def test_openai_s_clients_are_held_to_scopes(client: TestClient, held: dict[Scope, dict[str, str]]) -> None:
    """A key that is sent as they do chats with `assistant` and with nothing else."""
    for scope, key in held.items():
        sent = {"authorization": f"Bearer {key['x-api-key']}"}
        reply = client.post("/v1/chat/completions", json=CHAT, headers=sent)
        assert reply.status_code == (200 if scope == "assistant" else 403), scope


@pytest.mark.parametrize("role", get_args(Role))
def test_a_scope_adds_nothing_to_a_role(client: TestClient, headers: LogIn, role: Role) -> None:
    """It is the less of both that holds: of the role what the scope opens."""
    made = make(client, headers("admin"), role=role, scopes=["detect", "manage"])
    key = {"x-api-key": made.key}
    body = {"name": "Press 9", "family": "generic"}
    assert client.post(DETECT, json=WINDOW, headers=key).status_code == (403 if role == "viewer" else 200)
    added = client.post("/api/systems/", json=body, headers=key)
    assert added.status_code == (201 if role in ("admin", "engineer") else 403)


def test_scopes_are_kept_once_and_in_order(client: TestClient, headers: LogIn) -> None:
    """However they are given they are listed alike."""
    made = make(client, headers("admin"), scopes=["read", "detect", "read"])
    assert made.scopes == ["detect", "read"]
    assert client.get(KEYS, headers=headers("admin")).json()["keys"][0]["scopes"] == ["detect", "read"]


def test_an_answer_that_is_given_again_asks_for_the_scope_too(client: TestClient, headers: LogIn) -> None:
    """Of two keys of one name, what one was answered is not given to the other, whose scopes do not open the path."""
    whole, narrow = (
        {"x-api-key": make(client, headers("admin"), role="engineer", scopes=scopes).key, "idempotency-key": "k"}
        for scopes in (None, ["detect"])
    )
    body = {"name": "Press", "family": "generic"}
    first = client.post("/api/systems/", json=body, headers=whole)
    assert client.post("/api/systems/", json=body, headers=whole).json() == first.json()
    assert_problem(client.post("/api/systems/", json=body, headers=narrow), 403, "forbidden")
