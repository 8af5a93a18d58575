"""The audit on a real database: whatever its owner does to it is found, and what retention does holds."""

import asyncio
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import create_engine, insert, select, text
from sqlalchemy.pool import NullPool

from serve_app import sealing
from serve_app.evidence import verify, verify_tree
from serve_app.sealing import Forked
from serve_app.shared.checkpoints import KeptCheckpoint, Signer, Verifier
from serve_app.shared.merkle import leaf_hash
from serve_app.store import seals
from serve_app.store.checkpoint_files import CheckpointFiles
from serve_app.store.migrate import migrate
from serve_app.store.records_audit import Wanted, content_of, hashed
from serve_app.store.repository import Store
from serve_app.store.tables_audit import audit
from tests.service.audit_desk import Desk
from tests.service.houses import SIGNER, sealer_of


async def test_what_is_untouched_holds(desk: Desk) -> None:
    """All notes and checkpoints are counted, and what is not sealed yet; sealing again adds nothing."""
    found = await desk.verify()
    assert (found.notes, found.checkpoints, found.unsealed.notes, found.finding) == (6, 2, 0, "")
    await desk.note(2, seal=False)
    found = await desk.verify()
    assert (found.notes, found.unsealed.notes, found.unsealed.audit_id, found.finding) == (6, 2, desk.ids[6], "")
    assert [await desk.sealer().seal_tree(desk.tenant_id) for _ in range(2)] == [2, 0]
    assert (await desk.verify()).newest == desk.sealer()._verifier.read((await kept(desk))[-1].note)


async def kept(desk: Desk) -> list[KeptCheckpoint]:
    return [each async for each in desk.store.seals.checkpoints(desk.tenant_id, 2**62)]


CHANGED = {
    "actor": "'eve'",
    "action": "'did not'",
    "subject": "'thing 9'",
    "detail": "''",
    "created_at": "created_at + interval '1 microsecond'",
    "tenant_id": ":other",
}
# By what the owner does: the statements, and what is found, `{2}` being the number of the third note.
TAMPERED = {
    **{
        f"{column} changed": (
            "UPDATE audit SET COLUMN = VALUE WHERE audit_id = :id2".replace("COLUMN", column).replace("VALUE", value),
            r"note {2} at 2 was changed",
        )
        for column, value in CHANGED.items()
    },
    "made timeless": ("UPDATE audit SET created_at = 'infinity' WHERE audit_id = :id2", "note {2} at 2 was changed"),
    "number changed": ("UPDATE audit SET audit_id = -:id2 WHERE audit_id = :id2", "note {2} at 2 was removed"),
    "two changed about": (
        "UPDATE audit SET subject = CASE audit_id WHEN :id1 THEN 'thing 2' ELSE 'thing 1' END "
        "WHERE audit_id IN (:id1, :id2)",
        "note {1} at 1 was changed",
    ),
    "first removed": ("DELETE FROM audit WHERE audit_id = :id0", "note {0} at 0 was removed"),
    "removed with its leaf": (
        "DELETE FROM audit WHERE audit_id = :id2; DELETE FROM OWN_LEAVES AND leaf_index = 2",
        "the note at 2 was removed with its leaf; 3 were signed",
    ),
    "removed and closed up": (
        "DELETE FROM audit WHERE audit_id = :id2; DELETE FROM OWN_LEAVES AND leaf_index = 2;"
        "UPDATE audit_leaves SET leaf_index = leaf_index - 1 WHERE tenant_id = :mine AND leaf_index > 2",
        "the checkpoint of 3 notes is of others: the change is in 0 to 2",
    ),
    "last removed": (
        "DELETE FROM audit WHERE audit_id = :id5; DELETE FROM OWN_LEAVES AND leaf_index = 5",
        "the note at 5 was removed with its leaf; 6 were signed",
    ),
    "last removed with their checkpoint": (
        "DELETE FROM audit WHERE audit_id > :id2; DELETE FROM OWN_LEAVES AND leaf_index > 2;"
        "DELETE FROM audit_checkpoints WHERE tenant_id = :mine AND size > 3",
        "the note at 3 was removed with its leaf; 6 were signed",
    ),
    "all removed": (
        "DELETE FROM audit WHERE tenant_id = :mine; DELETE FROM OWN_LEAVES;"
        "DELETE FROM audit_checkpoints WHERE tenant_id = :mine",
        "the note at 0 was removed with its leaf; 3 were signed",
    ),
    "added behind": (
        "INSERT INTO audit (audit_id, tenant_id, actor, action, subject, detail) VALUES (-:id5, :mine, '', '', '', '');"
        "INSERT INTO audit_leaves VALUES (:mine, -:id5, 6, :added)",
        "note -{5} at 6 was changed",
    ),
    "added with its hash": (
        "INSERT INTO audit SELECT -:id5, :mine, actor, action, subject, detail, created_at FROM audit "
        "WHERE audit_id = :id5; INSERT INTO audit_leaves VALUES (:mine, -:id5, 6, :added)",
        "the note at 6 is in no checkpoint: it was added",
    ),
    "added beside another": (
        "INSERT INTO audit SELECT :id5 + 1000000000, :mine, actor, action, subject, detail, created_at FROM audit "
        "WHERE audit_id = :id5; INSERT INTO audit_leaves VALUES (:mine, :id5 + 1000000000, 1, :added)",
        r"note \d+ at 1 was added: its place is another one's",
    ),
    "added of old": (
        "INSERT INTO audit (tenant_id, actor, action, subject, detail, created_at) "
        "VALUES (:mine, 'eve', '', '', '', now() - interval '2 days')",
        r"note \d+ of .* is not in the tree: it was added, or moved here",
    ),
    "reordered": (
        "UPDATE audit_leaves SET leaf_index = 3 - leaf_index WHERE tenant_id = :mine AND leaf_index IN (1, 2)",
        "the checkpoint of 3 notes is of others: the change is in 0 to 2",
    ),
    "reordered across checkpoints": (
        "UPDATE audit_leaves SET leaf_index = 6 - leaf_index WHERE tenant_id = :mine AND leaf_index IN (2, 4)",
        "the checkpoint of 3 notes is of others",
    ),
    "checkpoint changed": (
        "UPDATE audit_checkpoints SET note = replace(note, 'time 1', 'time 2') WHERE tenant_id = :mine AND size = 3",
        "the checkpoint of 3 notes is signed by none of the keys",
    ),
    "checkpoint broken": (
        "UPDATE audit_checkpoints SET note = 'x' WHERE tenant_id = :mine AND size = 6",
        "the checkpoint of . notes is no checkpoint",
    ),
    "newest checkpoint removed": (
        "DELETE FROM audit_checkpoints WHERE tenant_id = :mine AND size = 6",
        "the checkpoint of 6 notes was removed: the file has it",
    ),
    "checkpoints changed about": (
        "UPDATE audit_checkpoints SET checkpoint_id = -checkpoint_id WHERE tenant_id = :mine",
        "the checkpoint of 3 notes was added after one of 6, or moved",
    ),
    "retention without a signature": (
        "DELETE FROM audit WHERE tenant_id = :mine AND audit_id <= :id2; DELETE FROM OWN_LEAVES AND leaf_index < 3;"
        "DELETE FROM audit_checkpoints WHERE tenant_id = :mine AND size < 6",
        "the note at 0 was removed",
    ),
}


@pytest.mark.parametrize(("statements", "finding"), TAMPERED.values(), ids=TAMPERED)
async def test_what_the_owner_does_is_found(desk: Desk, statements: str, finding: str) -> None:
    """The first note or size that does not hold is named; of the sealed part nothing can be changed unseen."""
    rows = await desk.store.seals._read(select(*seals._NOTE).where(audit.c.audit_id == desk.ids[5]))
    given = {name: -desk.ids[5] if name == "audit_id" else value for name, value in rows[0]._mapping.items()}
    added = leaf_hash(content_of(hashed(given)))
    desk.own(statements, **({"added": added} if ":added" in statements else {}))
    found = await desk.verify()
    for place, number in enumerate(desk.ids):
        finding = finding.replace(f"{{{place}}}", str(number))
    assert re.match(finding, found.finding), found.finding


async def test_a_change_with_its_hash_is_found(desk: Desk) -> None:
    """Who computes the leaf anew has no checkpoint for it: it is between two that hold."""
    desk.own("UPDATE audit SET actor = 'eve' WHERE audit_id = :id4")
    rows = await desk.store.seals._read(select(*seals._NOTE).where(audit.c.audit_id == desk.ids[4]))
    digest = leaf_hash(content_of(hashed(rows[0]._mapping)))
    desk.own("UPDATE audit_leaves SET hash = :digest WHERE audit_id = :id4", digest=digest)
    assert (await desk.verify()).finding == "the checkpoint of 6 notes is of others: the change is in 3 to 5"


async def test_a_note_moved_is_found_at_both_ends(desk: Desk) -> None:
    """Where it was, and, being older than what is signed there, where it went."""
    await desk.store.audit.note(desk.other, "bob", "did", "thing", "")
    await desk.sealer().seal_tree(desk.other)
    desk.own("UPDATE audit SET tenant_id = :other, created_at = now() - interval '1 day' WHERE audit_id = :id2")
    verifier = Verifier([SIGNER.public_key])
    there = await verify_tree(desk.store.seals, desk.files, verifier, desk.other)
    assert (await desk.verify()).finding == f"note {desk.ids[2]} at 2 was changed"
    assert there.finding.endswith("is not in the tree: it was added, or moved here")


async def test_a_checkpoint_of_another_tenant_does_not_pass(desk: Desk) -> None:
    """Though it is signed."""
    await desk.store.audit.note(desk.other, "bob", "did", "thing", "")
    await desk.sealer().seal_tree(desk.other)
    desk.own("UPDATE audit_checkpoints SET tenant_id = :mine WHERE tenant_id = :other")
    assert "is of hdx/audit/tenant/" in (await desk.verify()).finding


async def test_a_note_sealed_late_is_found(desk: Desk) -> None:
    """One that the owner adds and says to be old is sealed, and found: all of that time had been sealed."""
    desk.own(
        "INSERT INTO audit (tenant_id, actor, action, subject, detail, created_at) "
        "VALUES (:mine, 'eve', '', '', '', now() - interval '2 days')"
    )
    assert await desk.sealer().seal_tree(desk.tenant_id) == 1
    assert "was added later than" in (await desk.verify()).finding


async def test_a_note_of_tomorrow_is_found(desk: Desk) -> None:
    """It was sealed before it says that it was written."""
    desk.own(
        "INSERT INTO audit (tenant_id, actor, action, subject, detail, created_at) "
        "VALUES (:mine, 'eve', '', '', '', now() + interval '2 days')"
    )
    assert await desk.sealer().seal_tree(desk.tenant_id) == 1
    assert "was added, or sealed, before" in (await desk.verify()).finding


async def test_the_order_is_that_of_sealing(desk: Desk) -> None:
    """A note whose transaction ends late has an earlier number and a later place."""
    async with desk.store._database.tenant(desk.tenant_id) as slow:
        row = {"tenant_id": desk.tenant_id, "actor": "slow", "action": "did", "subject": "thing", "detail": ""}
        await slow.execute(insert(audit).values(row))
        await desk.note(1)
    assert await desk.sealer().seal_tree(desk.tenant_id) == 1
    leaves = [leaf async for leaf in desk.store.seals.leaves(desk.tenant_id, 100)]
    assert leaves[7].audit_id < leaves[6].audit_id
    assert (await desk.verify()).finding == ""


async def test_many_notes_take_many_transactions(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """What one transaction does not take the next one does, and what is read in parts holds all the same."""
    monkeypatch.setattr(seals, "ROWS_MAX", 2)
    await desk.note(7)
    found = await desk.verify()
    assert (found.notes, found.checkpoints, found.finding) == (13, 6, "")
    assert found.newest is not None and found.newest.through


async def test_nothing_is_signed_on_another_past(desk: Desk) -> None:
    """Where the database shows less than was signed, or what was not, the sealer signs nothing more."""
    await desk.note(1, seal=False)
    desk.own("UPDATE audit_checkpoints SET note = replace(note, 'time 1', 'time 2') WHERE tenant_id = :mine")
    with pytest.raises(ValueError, match="signed by none"):
        await desk.sealer().seal_tree(desk.tenant_id)
    desk.own("DELETE FROM audit_checkpoints WHERE tenant_id = :mine AND size = 6")
    desk.own("UPDATE audit_checkpoints SET note = replace(note, 'time 2', 'time 1') WHERE tenant_id = :mine")
    with pytest.raises(Forked, match="newest checkpoints"):
        await desk.sealer().seal_tree(desk.tenant_id)
    desk.own("DELETE FROM audit_checkpoints WHERE tenant_id = :mine")
    with pytest.raises(Forked, match="its checkpoints"):
        await desk.sealer().seal_tree(desk.tenant_id)


async def test_who_blocks_his_own_sealing_blocks_nobody_elses(desk: Desk) -> None:
    """He is logged once and looked at again, as is one with a leaf outside of his tree."""
    sealer, lock = desk.sealer(), text("SELECT pg_advisory_lock(:lock, :tenant)")
    await sealer.seal()
    await desk.note(2, seal=False)
    await desk.store.audit.note(desk.other, "ann", "did", "thing", "")
    with create_engine(desk.url, poolclass=NullPool).connect() as blocker:
        blocker.execute(lock, {"lock": seals.LOCK, "tenant": desk.tenant_id})
        assert await sealer.seal() == 1
        assert sealer._refused.get(desk.tenant_id) == "audit.blocked"
    desk.own("INSERT INTO audit_leaves VALUES (:mine, :id6, -1, :hash)", hash=b"x")
    assert await sealer.seal() == 0
    assert sealer._refused.get(desk.tenant_id) == "audit.forked"
    desk.own("DELETE FROM OWN_LEAVES AND leaf_index < 0")
    assert await sealer.seal() == 2
    assert desk.tenant_id not in sealer._refused
    assert (await desk.verify()).finding == ""


async def test_a_note_that_is_not_sealed_for_long_is_found(desk: Desk) -> None:
    """Whoever stops the sealing may change what is not sealed: it does not count as held."""
    await desk.note(1, seal=False)
    assert (await desk.verify()).finding == ""
    desk.own("UPDATE audit SET created_at = now() - interval '6 minutes' WHERE audit_id = :id6")
    assert "is not sealed, 5 minutes and more later" in (await desk.verify()).finding


async def test_a_lost_file_begins_anew(desk: Desk) -> None:
    """What is signed in the database goes on; from then on the file knows it."""
    desk.files.path(desk.tenant_id).unlink()
    await desk.note(1)
    assert len(list(desk.files.read(desk.tenant_id))) == 1
    assert (await desk.verify()).finding == ""


async def test_another_key_goes_on(desk: Desk) -> None:
    """Once the secret has changed the tree grows on; what was signed before is verified with the key before."""
    fresh = Signer(b"1" * 32)
    await desk.note(1, seal=False)
    assert await desk.sealer(fresh).seal_tree(desk.tenant_id) == 1
    assert (await desk.verify(fresh.public_key, SIGNER.public_key)).finding == ""
    assert (await desk.verify(fresh.public_key)).finding.endswith("signed by none of the keys")


async def test_notes_are_filtered_and_paged(desk: Desk) -> None:
    """By each filter alone and together, as the memory store of the routes' tests does."""
    await desk.store.audit.note(desk.tenant_id, "bob", "left", "thing 1", "")
    now = datetime.now(UTC)
    for wanted, places in (
        (Wanted(actor="ann", subject="thing 1"), [1]),
        (Wanted(action="left"), [6]),
        (Wanted(subject="thing 1"), [6, 1]),
        (Wanted(begin=now + timedelta(hours=1)), []),
        (Wanted(end=now - timedelta(hours=1)), []),
        (Wanted("ann", "did", "thing 5", now - timedelta(hours=1), now + timedelta(hours=1)), [5]),
    ):
        found = await desk.store.audit.page(desk.tenant_id, wanted)
        assert [note.subject for note in found] == [f"thing {1 if place == 6 else place}" for place in places]
    page = await desk.store.audit.page(desk.tenant_id, before=desk.ids[2], limit=1)
    assert [note.audit_id for note in page] == [desk.ids[1]]


# --- all tenants


async def test_all_tenants_are_sealed_and_verified(database_url: str, tmp_path: Path) -> None:
    """The platform's notes, too; who cannot be sealed holds up nobody else, and what vanished whole is found."""
    migrate(database_url)
    store = Store.open(database_url, 2)
    files, verifier = CheckpointFiles(tmp_path), Verifier([SIGNER.public_key])

    async def findings() -> dict[int | None, str]:
        return {each.tenant_id: each.finding async for each in verify(store.seals, files, verifier)}

    try:
        first, second = [await store.tenants.ensure(name) for name in ("a", "b")]
        everyone: Sequence[int | None] = (None, first, second)
        for tenant_id in everyone:
            await store.audit.note(tenant_id, "ann", "did", "thing", "")
        sealer = sealer_of(store, tmp_path)
        assert [await sealer.seal(), await sealer.seal()] == [3, 0]
        assert await findings() == dict.fromkeys(everyone, "")
        with create_engine(database_url, poolclass=NullPool).begin() as connection:
            connection.execute(text("SELECT set_config('hdx.tenant', :id, true)"), {"id": str(first)})
            connection.execute(text("DELETE FROM audit_checkpoints WHERE tenant_id = :id"), {"id": first})
        for tenant_id in everyone:
            await store.audit.note(tenant_id, "ann", "did", "thing", "")
        assert await sealer.seal() == 2
        assert {tenant_id for tenant_id, found in (await findings()).items() if found} == {first}
        with create_engine(database_url, poolclass=NullPool).begin() as connection:
            connection.execute(text("TRUNCATE audit, audit_leaves, audit_checkpoints"))
        assert all(found.startswith("the note at 0 was removed") for found in (await findings()).values())
        assert len(await findings()) == 3
    finally:
        await store.close()


async def test_sealing_survives_what_fails(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a round raises, the next one seals, and old notes are cleared where the settings say so."""
    migrate(database_url)
    store = Store.open(database_url, 2)
    sealer, failed, cleared = sealer_of(store, tmp_path), asyncio.Event(), asyncio.Event()
    unsealed = store.seals.unsealed

    async def fail_once(within: timedelta | None) -> list[int | None]:
        if not failed.is_set():
            failed.set()
            raise RuntimeError("what nobody thought of")
        return await unsealed(within)

    async def clear_all(days: int) -> int:
        cleared.set()
        raise RuntimeError(f"{days} days")

    monkeypatch.setattr(sealing, "EVERY_S", 0.01)
    monkeypatch.setattr(store.seals, "unsealed", fail_once)
    monkeypatch.setattr(sealer, "clear", clear_all)
    tenant_id = await store.tenants.ensure("a")
    await store.audit.note(tenant_id, "ann", "did", "thing", "")
    sealer.keep_up(400)
    task = sealer._sealing
    assert task is not None
    try:
        async with asyncio.timeout(30):
            await cleared.wait()
            while await store.seals.newest(tenant_id) is None:  # noqa: ASYNC110 (another task writes it, who tells nobody)
                await asyncio.sleep(0.01)
        sealer.keep_up(400)
        assert sealer._sealing is task
        assert failed.is_set()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await store.close()
