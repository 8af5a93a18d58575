"""Answers to questions and what people said of them, in real PostgreSQL, and the report on them."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError, ProgrammingError

from pipelines.errors import NotFound
from serve_app.store.protocols import StoreParts
from serve_app.store.repository import Store
from tests.service.houses import PLACE, make_house
from tests.service.test_isolation import as_application
from tests.service.test_user_commands import hdx

LONG_AGO = datetime.now(UTC) - timedelta(days=1)


async def test_an_accounts_last_word_counts(parts: StoreParts) -> None:
    """A second word replaces the account's first, with its time; that of another account stands beside it."""
    tenant_id, trace_id = await parts.tenants.ensure(uuid4().hex), uuid4()
    await parts.answers.add(tenant_id, trace_id, "Сколько масла?", [PLACE, PLACE], True)
    first = await parts.answers.give(tenant_id, trace_id, "user 1", "wrong", "no", "ann")
    other = await parts.answers.give(tenant_id, trace_id, "user 2", "helped", "", "bob")
    second = await parts.answers.give(tenant_id, trace_id, "user 1", "missing", "nothing", "ann")
    assert first.created_at < other.created_at < second.created_at
    found = await parts.answers.spoken_of(tenant_id, LONG_AGO, 10)
    assert [each.said for each in found] == [second, other]
    assert (found[0].question, list(found[0].cited), found[0].abstained) == ("Сколько масла?", [PLACE, PLACE], True)
    assert len(await parts.answers.spoken_of(tenant_id, LONG_AGO, 1)) == 1
    assert list(await parts.answers.spoken_of(tenant_id, datetime.now(UTC) + timedelta(days=1), 10)) == []
    notes = [note for note in await parts.audit.newest(tenant_id) if note.action == "answer.feedback"]
    assert [(note.actor, note.detail) for note in notes] == [("ann", "missing"), ("bob", "helped"), ("ann", "wrong")]


async def test_of_anothers_answer_nothing_can_be_said(store: Store, url: str) -> None:
    """Another tenant's answer and one that is not there are not found, by the store and by raw SQL alike."""
    ours, theirs = await make_house(store), await make_house(store)
    for trace_id in (theirs.diagnosis.trace_id, uuid4()):
        with pytest.raises(NotFound, match="answer"):
            await store.answers.give(ours.tenant_id, trace_id, "user 1", "wrong", "", "ann")
    row = {"ours": ours.tenant_id, "theirs": theirs.tenant_id, "trace": theirs.diagnosis.trace_id}
    columns = "tenant_id, trace_id, account, actor, verdict, comment"
    insert = f"INSERT INTO answer_feedback ({columns}) VALUES ({{}}, :trace, 'user 1', 'x', 'wrong', '')"  # noqa: S608
    for tenant, error in ((":ours", IntegrityError), (":theirs", ProgrammingError)):
        with as_application(url, ours.tenant_id) as connection, pytest.raises(error):
            connection.execute(text(insert.format(tenant)), row)
    with as_application(url, ours.tenant_id) as connection:
        changed = connection.execute(text("UPDATE answer_feedback SET comment = 'x' WHERE tenant_id = :theirs"), row)
        assert changed.rowcount == 0
    assert [each.said.verdict for each in await store.answers.spoken_of(theirs.tenant_id, LONG_AGO, 9)] == ["helped"]


async def test_the_command_reports_on_one_tenant(
    embedded_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`hdx answer --feedback` prints text without control signs, and with --json the same as an object."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HDX_DATABASE__URL", embedded_url)
    store, name = Store.open(embedded_url, 1), uuid4().hex
    tenant_id, trace_id = await store.tenants.ensure(name), uuid4()
    await make_house(store)
    await store.answers.add(tenant_id, trace_id, "What torque [bold]?\x1b[31m", [PLACE], False)
    await store.answers.give(tenant_id, trace_id, "user 1", "wrong", "that of M12", "ann")
    await store.close()
    told = await asyncio.to_thread(hdx, "answer", "--feedback", "--tenant", name)
    assert "helped 0, wrong 1, missing 0; 0% helped" in told
    assert "  wrong: What torque [bold]? [31m\n    cited: Press, page 1\n    ann: that of M12\n" in told
    report = json.loads(await asyncio.to_thread(hdx, "answer", "--feedback", "--json", "--tenant", name))
    assert [each["trace_id"] for each in report["questions"]] == [str(trace_id)]
    with pytest.raises(NotFound, match="tenant"):
        await asyncio.to_thread(hdx, "answer", "--feedback", "--tenant", uuid4().hex)
