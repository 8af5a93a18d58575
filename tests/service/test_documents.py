"""Rules of what becomes of a document in real PostgreSQL: what is asked of it meanwhile is not written over."""

from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import func, update

from serve_app.store.repository import Store
from serve_app.store.tables import documents


async def given(store: Store, *names: str) -> int:
    """Add documents, all of one file name, to a tenant of their own."""
    tenant_id = await store.tenants.ensure(uuid4().hex)
    for name in names:
        await store.documents.add(tenant_id, name, "press.md", name, name.encode())
    return tenant_id


async def states(store: Store, tenant_id: int) -> dict[str, str]:
    return {each.document_id: each.state for each in await store.documents.page(tenant_id, "", 10)}


async def made_ready(store: Store, tenant_id: int, document_id: str) -> list[str]:
    assert await store.documents.begin(tenant_id, document_id)
    return await store.documents.finish(tenant_id, document_id, state="ready")


@pytest.mark.parametrize("wanted", ["removing", "queued"])
async def test_what_is_asked_while_a_document_is_indexed_stands(store: Store, wanted: str) -> None:
    """Removal and a new reading are done after: neither success nor failure of the running one writes over them."""
    for outcome in ("ready", "failed", "queued"):
        tenant_id = await given(store, "one")
        assert await store.documents.begin(tenant_id, "one")
        await store.documents.change(tenant_id, "one", state=wanted, attempts=0)
        assert await store.documents.finish(tenant_id, "one", state=outcome, attempts=7) == []
        found = await store.documents.get(tenant_id, "one")
        assert (found.state, found.attempts) == (wanted, 0)


async def test_a_document_that_is_going_is_not_begun(store: Store) -> None:
    """Nor one that is ready: only what waits is worked on, and what was begun without an end is counted."""
    tenant_id = await given(store, "one")
    assert [await store.documents.begin(tenant_id, "one") for _ in range(2)] == [1, 2]
    assert await store.documents.finish(tenant_id, "one", state="queued") == []
    assert await store.documents.begin(tenant_id, "one") == 1
    for state in ("ready", "removing"):
        await store.documents.change(tenant_id, "one", state=state)
        assert not await store.documents.begin(tenant_id, "one")


async def test_a_new_version_outlives_the_old_one(store: Store) -> None:
    """Uploaded while the old version is being indexed, it takes its place, and not the reverse."""
    tenant_id = await given(store, "old")
    assert await store.documents.begin(tenant_id, "old")
    await store.documents.add(tenant_id, "new", "press.md", "new", b"new")
    assert await store.documents.finish(tenant_id, "old", state="ready") == []
    assert await made_ready(store, tenant_id, "new") == ["old"]
    assert await states(store, tenant_id) == {"new": "ready", "old": "removing"}


async def test_the_version_uploaded_last_stays(store: Store) -> None:
    """Whoever goes back to the version before uploads it again: one that was uploaded between goes when it is ready."""
    tenant_id = await given(store, "first")
    assert await made_ready(store, tenant_id, "first") == []
    await store.documents.add(tenant_id, "second", "press.md", "second", b"second")
    await store.documents.add(tenant_id, "first", "press.md", "first", b"first")
    assert await made_ready(store, tenant_id, "second") == ["second"]
    assert await states(store, tenant_id) == {"first": "ready", "second": "removing"}


async def test_uploads_of_one_moment_have_an_order(store: Store) -> None:
    """A clock that stands still or is set back makes no old version the newest."""
    tenant_id = await given(store, "old", "new")
    moved = update(documents).where(documents.c.document_id == "old").values(created_at=func.now() + timedelta(hours=1))
    async with store.documents._database.tenant(tenant_id) as connection:
        await connection.execute(moved)
    assert await made_ready(store, tenant_id, "new") == ["old"]


async def test_how_far_a_document_is_can_be_seen(store: Store) -> None:
    """Until something else is asked of it: whoever works on it learns so."""
    tenant_id = await given(store, "one")
    await store.documents.begin(tenant_id, "one")
    assert await store.documents.progress(tenant_id, "one", 3, 9)
    found = await store.documents.get(tenant_id, "one")
    assert (found.done, found.total) == (3, 9)
    await store.documents.remove(tenant_id, "one")
    assert not await store.documents.progress(tenant_id, "one", 4, 9)
    await store.documents.add(tenant_id, "one", "press.md", "one", b"one")
    found = await store.documents.get(tenant_id, "one")
    assert (found.state, found.done, found.total) == ("queued", 0, 0)


async def test_a_version_that_fails_replaces_nothing(store: Store) -> None:
    """What a name last said stays until another version can be read."""
    tenant_id = await given(store, "old", "new")
    assert await made_ready(store, tenant_id, "old") == []
    assert await store.documents.begin(tenant_id, "new")
    assert await store.documents.finish(tenant_id, "new", state="failed", reason="broken") == []
    assert await states(store, tenant_id) == {"new": "failed", "old": "ready"}


async def test_another_tenants_namesake_stays(store: Store) -> None:
    """A name is a tenant's own."""
    mine, theirs = await given(store, "one"), await given(store, "one")
    await made_ready(store, mine, "one")
    await store.documents.add(theirs, "two", "press.md", "two", b"two")
    assert await made_ready(store, theirs, "two") == ["one"]
    assert await states(store, mine) == {"one": "ready"}


async def test_a_row_goes_only_when_it_is_to_go(store: Store) -> None:
    """Uploaded again while its passages are being removed, a document stays."""
    tenant_id = await given(store, "one")
    await store.documents.remove(tenant_id, "one")
    await store.documents.add(tenant_id, "one", "press.md", "one", b"one")
    await store.documents.drop(tenant_id, "one")
    assert await states(store, tenant_id) == {"one": "queued"}
    await store.documents.remove(tenant_id, "one")
    await store.documents.drop(tenant_id, "one")
    assert await states(store, tenant_id) == {}
