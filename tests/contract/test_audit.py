"""The audit over HTTP: for administrators, of their own tenant, in pages and as lines."""

from datetime import UTC, datetime, timedelta

import orjson
import pytest
from fastapi.testclient import TestClient

from serve_app.api import audit
from serve_app.api.schemas.audit import CheckpointReply, NotesReply
from serve_app.sealing import signer_of
from serve_app.shared.checkpoints import Checkpoint, Verifier
from serve_app.shared.merkle import EMPTY, Tree
from serve_app.store.records import Note
from tests.contract.calls import LogIn, assert_problem
from tests.contract.stand_ins import Bench

AUDIT = "/api/audit/"
PATHS = [AUDIT, f"{AUDIT}export/?from=2026-01-01T00:00:00Z", f"{AUDIT}checkpoint/"]
AT = datetime(2026, 3, 1, tzinfo=UTC)


def add(bench: Bench, count: int, tenant_id: int | None = 1) -> None:
    """Notes of an hour each, by two people, about two things."""
    for number in range(count):
        deed = ("ann", "bob")[number % 2], f"thing.{number % 3}", f"thing {number}", "détail"
        note = Note(len(bench.store.notes) + 1, *deed, AT + number * timedelta(hours=1))
        bench.store.notes.append((tenant_id, note))


@pytest.mark.parametrize("path", PATHS)
def test_it_is_for_administrators(client: TestClient, headers: LogIn, path: str) -> None:
    """Without a credential it is 401, for any other role 403."""
    assert_problem(client.get(path), 401, "unauthenticated")
    for who in ("viewer", "operator", "engineer"):
        assert_problem(client.get(path, headers=headers(who)), 403, "forbidden")


def test_it_comes_in_pages(client: TestClient, headers: LogIn, bench: Bench) -> None:
    """Newest first, each once, and nobody else's."""
    who = headers("admin")
    bench.store.notes.clear()
    add(bench, 5)
    add(bench, 1, 2)
    add(bench, 1, None)
    seen, before = [], None
    for _ in range(3):
        page = client.get(AUDIT, params={"limit": 2} | ({"before": before} if before else {}), headers=who).json()
        NotesReply.model_validate(page)
        seen += [note["subject"] for note in page["notes"]]
        before = page["next"]
    assert before is None
    assert seen == [f"thing {number}" for number in (4, 3, 2, 1, 0)]


@pytest.mark.parametrize(
    ("asked", "numbers"),
    [
        ({"actor": "ann"}, [4, 2, 0]),
        ({"action": "thing.1"}, [4, 1]),
        ({"subject": "thing 3"}, [3]),
        ({"actor": "ann", "action": "thing.1"}, [4]),
        ({"from": "2026-03-01T01:00:00Z", "to": "2026-03-01T04:00:00+01:00"}, [2, 1]),
        ({"actor": "an"}, []),
    ],
)
def test_it_is_filtered(
    client: TestClient, headers: LogIn, bench: Bench, asked: dict[str, str], numbers: list[int]
) -> None:
    """By who, what, to what, and when, in the list and in the export alike."""
    who = headers("admin")
    bench.store.notes.clear()
    add(bench, 5)
    wanted = [f"thing {number}" for number in numbers]
    assert [note["subject"] for note in client.get(AUDIT, params=asked, headers=who).json()["notes"]] == wanted
    span = {"from": "2026-03-01T00:00:00Z", "to": "2026-03-02T00:00:00Z"} | asked
    lines = client.get(f"{AUDIT}export/", params=span, headers=who)
    assert [orjson.loads(line)["subject"] for line in lines.text.splitlines()] == wanted


def test_an_export_is_whole_and_noted(
    client: TestClient, headers: LogIn, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many reads it takes, it is all of the span; that it was made is in the audit."""
    monkeypatch.setattr(audit, "ROWS", 2)
    who = headers("admin")
    bench.store.notes.clear()
    for count in (0, 1, 2, 4, 5):
        bench.store.notes.clear()
        add(bench, count)
        reply = client.get(
            f"{AUDIT}export/", params={"from": AT.isoformat(), "to": "2026-03-09T00:00:00Z"}, headers=who
        )
        assert reply.headers["content-type"].startswith("application/jsonl")
        assert len(reply.text.splitlines()) == count
    assert (1, "admin", "audit.exported", "audit") in bench.store.audited


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"from": "2026-03-01T00:00:00"},
        {"from": "2026-03-01T00:00:00Z", "to": "2026-03-01T00:00:00Z"},
        {"from": "2024-03-01T00:00:00Z", "to": "2026-03-01T00:00:00Z"},
        {"from": "2026-03-01T00:00:00Z", "actor": "\x00"},
    ],
)
def test_a_span_is_bounded(client: TestClient, headers: LogIn, asked: dict[str, str]) -> None:
    """An export names when it begins, in a zone, and spans a year at most; the reason is said."""
    reply = client.get(f"{AUDIT}export/", params=asked, headers=headers("admin"))
    assert assert_problem(reply, 422, "invalid-input")["detail"]


def test_the_newest_checkpoint_is_shown(client: TestClient, headers: LogIn, bench: Bench) -> None:
    """With the key that it is verified with; before the first one there is none."""
    who = headers("admin")
    assert_problem(client.get(f"{AUDIT}checkpoint/", headers=who), 404, "not-found")
    signer = signer_of(bench.services.settings)
    said = Checkpoint(1, 0, EMPTY, 1_800_000_000, 0, 0)
    bench.store.checkpoints[1] = signer.sign(said, Tree())
    shown = client.get(f"{AUDIT}checkpoint/", headers=who).json()
    CheckpointReply.model_validate(shown)
    assert Verifier([shown["public_key"]]).read(shown["note"]) == said
    assert (shown["size"], shown["root"], shown["signed_at"]) == (0, EMPTY.hex(), "2027-01-15T08:00:00Z")
    bench.store.checkpoints = {2: bench.store.checkpoints[1]}
    assert client.get(f"{AUDIT}checkpoint/", headers=who).status_code == 404
