"""What retention does to the audit holds, and nobody else's doing passes for it."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from serve_app import sealing
from tests.service.audit_desk import Desk
from tests.service.test_isolation import as_application

DAYS = 30


async def aged(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a tenant whose first three notes were sealed forty days ago, by the clock of then."""
    desk.tenant_id = await desk.store.tenants.ensure(uuid4().hex)
    desk.ids.clear()
    await desk.note(3, seal=False)
    desk.own("UPDATE audit SET created_at = now() - interval '40 days' WHERE tenant_id = :mine")
    with monkeypatch.context() as patch:
        then = (datetime.now(UTC) - timedelta(days=40)).timestamp()
        patch.setattr(sealing, "time", SimpleNamespace(time=lambda: then))
        assert await desk.sealer().seal_tree(desk.tenant_id) == 3
    await desk.note()


async def clear(desk: Desk, days: int = DAYS) -> int:
    return await desk.sealer().clear_tree(desk.tenant_id, datetime.now(UTC) - timedelta(days=days))


async def test_what_retention_drops_leaves_a_tree_that_holds(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Old notes go with their leaves, checkpoints and lines of the file; how many is signed, and the rest holds."""
    await aged(desk, monkeypatch)
    assert [await clear(desk), await clear(desk)] == [3, 0]
    found = await desk.verify()
    assert (found.dropped, found.notes, found.finding) == (3, 3, "")
    assert [note.audit_id for note in await desk.store.audit.newest(desk.tenant_id)] == desk.ids[:2:-1]
    await desk.note(2)
    desk.files.path(desk.tenant_id).unlink()
    found = await desk.verify(files_kept=False)
    assert (found.dropped, found.notes, found.finding) == (3, 5, "")
    desk.own("UPDATE audit SET actor = 'eve' WHERE audit_id = :id3")
    assert (await desk.verify(files_kept=False)).finding == f"note {desk.ids[3]} at 3 was changed"


async def test_all_notes_may_go(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where none is young the tree is empty, and grows on."""
    await aged(desk, monkeypatch)
    desk.own("DELETE FROM audit WHERE audit_id > :id2")
    desk.own(
        "DELETE FROM audit_leaves WHERE tenant_id = :mine AND leaf_index > 2;"
        "DELETE FROM audit_checkpoints WHERE tenant_id = :mine AND size > 3"
    )
    desk.files.path(desk.tenant_id).unlink()
    assert await clear(desk) == 3
    found = await desk.verify()
    assert (found.dropped, found.notes, found.finding) == (3, 0, "")
    await desk.note(2)
    found = await desk.verify()
    assert (found.dropped, found.notes, found.finding) == (3, 2, "")


@pytest.mark.parametrize(
    "statements",
    [
        "UPDATE audit SET created_at = now() - interval '9 years' WHERE tenant_id = :mine",
        "UPDATE audit_checkpoints SET signed_at = now() - interval '9 years' WHERE tenant_id = :mine",
    ],
)
async def test_a_forged_age_drops_nothing(desk: Desk, statements: str) -> None:
    """How old notes are is what is signed; what the database says of it moves no young note."""
    desk.own(statements)
    assert await clear(desk) == 0
    assert len(await desk.store.audit.newest(desk.tenant_id)) == 6


ABUSED = {
    "more": (
        "DELETE FROM audit WHERE audit_id = :id3; DELETE FROM audit_leaves WHERE audit_id = :id3",
        "the note at 3 was removed with its leaf",
    ),
    "brought back": (
        "INSERT INTO audit_leaves SELECT tenant_id, -audit_id, 1, hash FROM audit_leaves WHERE audit_id = :id3",
        "at 1 was added: retention had dropped it",
    ),
    "mark removed": (
        "DELETE FROM audit_checkpoints WHERE tenant_id = :mine AND note LIKE '%dropped 3%'",
        "was removed: the file has it",
    ),
    "base removed": ("DELETE FROM audit_checkpoints WHERE tenant_id = :mine AND size = 3", ""),
    "base changed": (
        "UPDATE audit_checkpoints SET hashes = hashes || hashes WHERE tenant_id = :mine AND size = 3",
        "has other hashes",
    ),
}


@pytest.mark.parametrize(("statements", "finding"), ABUSED.values(), ids=ABUSED)
async def test_retention_hides_nothing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, statements: str, finding: str
) -> None:
    """Beyond what is signed nothing may be gone, and of that nothing may be back; the file has what its base needs."""
    await aged(desk, monkeypatch)
    await clear(desk)
    desk.own(statements)
    found = (await desk.verify()).finding
    assert finding in found and bool(finding) == bool(found)


async def test_the_application_drops_nothing_young(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The way of retention takes nothing that is younger than 30 days, nor than what it is given."""
    await aged(desk, monkeypatch)
    call = text("SELECT hdx_drop_notes(:mine, :before, now() - :days * interval '1 day')")
    for before, days in ((3, 29), (4, 31), (3, 50)):
        with as_application(desk.url, desk.tenant_id) as connection, pytest.raises(DBAPIError, match="hdx_drop_notes"):
            connection.execute(call, {"mine": desk.tenant_id, "before": before, "days": days})
    assert (await desk.verify()).finding == ""
