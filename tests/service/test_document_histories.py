"""Rules of what is left after any history of uploads, replacements, removals and kills.

`HISTORIES=500 python -m pytest tests/service/test_document_histories.py` lives through all seeds; `make test` some.
"""

import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import update

from configs.settings import Database, Settings
from serve_app.local.embedded import EmbeddedPostgres
from serve_app.replicas import document_steps, indexer
from serve_app.replicas.document_steps import DocumentSteps
from serve_app.shared import logs
from serve_app.store.documents import Documents
from serve_app.store.migrate import beside, create_database, migrate
from serve_app.store.repository import Store
from serve_app.store.tables import documents
from tests.contract.stand_ins import settings_for
from tests.service.document_history import History, read_here

SEEDS = int(os.environ.get("HISTORIES", "25"))


@pytest.fixture(scope="module")
def own_url(embedded: EmbeddedPostgres) -> str:
    """A database of this module's own: an indexer works for all tenants that it finds."""
    server = embedded.url("postgres")
    create_database(server, "histories")
    migrate(beside(server, "histories"))
    return beside(server, "histories")


@pytest.fixture
def settings(own_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Many small steps, and no waiting between them."""
    monkeypatch.setattr(indexer, "keep_to_node_address", lambda: None)
    monkeypatch.setattr(logs, "configure", lambda _: None)
    monkeypatch.setattr(logs, "write", lambda *_, **__: None)
    changes: dict[str, Any] = {"SWEEP_S": 0.05, "PAUSE_S": 0.01, "INTERRUPTED": 1_000}
    for name, value in changes.items():
        monkeypatch.setattr(indexer, name, value)
    changes = {"BATCH": 2, "WRITTEN": 1, "read_apart": read_here}
    for name, value in changes.items():
        monkeypatch.setattr(document_steps, name, value)
    return settings_for(tmp_path, database=Database(url=SecretStr(own_url)))


async def wrong_in(seed: int, settings: Settings) -> str:
    """Return what is wrong at the end of a history, with all that was called; empty when all is as it was asked for."""
    assert settings.database.url is not None
    store = Store.open(settings.database.url.get_secret_value(), 4)
    try:
        history = History(seed, settings, store)
        wrong = await history.run()
    finally:
        await store.close()
    return "\n".join([f"seed {seed}", *wrong, *history.told]) if wrong else ""


@pytest.mark.parametrize("first", range(0, SEEDS, 25))
@pytest.mark.timeout(600)
async def test_what_was_asked_for_last_is_what_is_left(first: int, settings: Settings) -> None:
    """Of each name the newest upload, whole and alone; what was removed is gone; nothing waits for ever."""
    assert [wrong for seed in range(first, first + 25) if (wrong := await wrong_in(seed, settings))] == []


FINISH = Documents.finish


async def last_is_newest(self: Documents, tenant_id: int, document_id: str, **changes: Any) -> list[str]:
    """Let whatever finishes last be the newest of its name."""
    going = await FINISH(self, tenant_id, document_id, **changes)
    found = await self.get(tenant_id, document_id)
    if found.state == "ready":
        others = (documents.c.name == found.name) & (documents.c.document_id != document_id)
        async with self._database.tenant(tenant_id) as connection:
            await connection.execute(update(documents).where(others).values(state="removing"))
    return going


async def dropped_alone(self: DocumentSteps, tenant_id: int, document_id: str) -> None:
    """Drop a row, and leave its passages."""
    await self._store.documents.drop(tenant_id, document_id)


BUGS: list[tuple[type, str, Any]] = [
    (Documents, "finish", last_is_newest),
    (DocumentSteps, "remove", dropped_alone),
]


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug[2].__name__)
async def test_a_bug_breaks_the_rule(
    bug: tuple[type, str, Any], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rule that no bug breaks would be none."""
    monkeypatch.setattr(*bug)
    for seed in range(60):  # which of them notices hangs on what the machine does first
        if await wrong_in(seed, settings):
            return
    pytest.fail("no history noticed it")
