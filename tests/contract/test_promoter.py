"""Rules of the promoter's loops: what one model, one detector or one row does holds up nothing else."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from pydantic import SecretStr

from configs.settings import Database
from pipelines.errors import Unavailable
from pipelines.promotion.rollout import ModelState, Transition
from serve_app.replicas import promoter as module
from serve_app.replicas.promoter import Promoter
from tests.contract.stand_ins import settings_for

NOWHERE = Database(url=SecretStr("postgresql+psycopg://hdx@127.0.0.1:1/hdx"))


class Models:
    """A registry of two detectors' models, of which one may fail, and the rest of which are to be adopted."""

    def __init__(self) -> None:
        self.failure: Exception | None = None
        self.adopted: set[str] = set()

    def states(self, detector: str) -> dict[str, ModelState]:
        if detector == "xgboost" and self.failure is not None:
            raise self.failure
        return {family: self.state(f"hdx-{family}-{detector}", read=False) for family in ("generic", "rig")}

    def state(self, name: str, read: bool = True) -> ModelState:
        if read and name == "hdx-generic-catboost" and self.failure is not None:
            raise self.failure
        return ModelState(name, "1", "1", "", name in self.adopted, None)

    def point(self, name: str, alias: str, version: str) -> None:
        self.adopted.add(name)

    def note(self, name: str, version: str, **tags: str) -> None:
        raise Unavailable("registry", "does not answer")


@pytest.fixture
async def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    """A promoter over those models, without a database, whose loops begin with its first health check."""
    monkeypatch.setattr(module, "keep_to_node_address", lambda: None)
    monkeypatch.setattr(module, "LOOK_S", 0.01)
    promoter = cast(Any, Promoter).func_or_class(settings_for(tmp_path, database=NOWHERE))
    promoter._registry = Models()
    yield promoter
    for task in (promoter._watching, promoter._looking):
        if task is not None:
            task.cancel()


async def eventually(holds: Any) -> None:
    for _ in range(100):
        if holds():
            return
        await asyncio.sleep(0.05)
    pytest.fail("does not come true")


@pytest.mark.parametrize("failure", [Unavailable("registry", "does not answer"), KeyError("registered_model")])
async def test_a_model_that_fails_holds_up_no_other(running: Any, failure: Exception) -> None:
    """Those behind it and those of other detectors take their steps, and it takes its own once it can be read."""
    models = running._registry
    models.failure = failure
    await running.check_health()
    await eventually(lambda: {"hdx-rig-catboost", "hdx-generic-random_forest"} <= models.adopted)
    assert "hdx-generic-catboost" not in models.adopted
    models.failure = None
    await running.look()
    await eventually(lambda: {"hdx-generic-catboost", "hdx-rig-xgboost"} <= models.adopted)
    assert not running._watching.done()


async def test_drift_is_watched_on_whatever_a_look_raises(running: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next look comes in its time."""
    looks = []

    async def look() -> None:
        looks.append(1)
        raise KeyError("values")

    monkeypatch.setattr(running._watcher, "look", look)
    await running.check_health()
    await eventually(lambda: len(looks) > 2)
    assert not running._looking.done()


async def test_the_audit_does_not_wait_for_the_registry(running: Any) -> None:
    """Why a version moved is written into the audit also where its tags cannot be written."""
    noted: list[tuple[object, ...]] = []

    async def note(*row: object) -> None:
        noted.append(row)

    running._store = SimpleNamespace(audit=SimpleNamespace(note=note))
    before = ModelState("hdx-generic-catboost", "2", "1", "", True, None)
    await running._remember(("catboost", "generic"), before, Transition("finish", reason="every gate held"))
    assert [row[2] for row in noted] == ["model.finish"]


class Notebook:
    """An audit that may be away."""

    def __init__(self) -> None:
        self.away, self.noted = True, list[str]()

    async def note(self, _: None, actor: str, action: str, subject: str, detail: str) -> None:
        if self.away:
            raise Unavailable("database", "does not answer")
        self.noted.append(action)


STATE = ModelState("hdx-generic-catboost", "2", "1", "", True, None)


async def test_nothing_goes_live_that_the_audit_does_not_know_of(running: Any) -> None:
    """The note comes first, once however often the step is tried; while it cannot be written the step waits."""
    book = Notebook()
    running._store = SimpleNamespace(audit=book)
    with pytest.raises(Unavailable):
        await running._intend(STATE, Transition("finish", reason="every gate held"))
    book.away = False
    for _ in range(2):
        await running._intend(STATE, Transition("finish", reason="every gate held"))
    await running._remember(("catboost", "generic"), STATE, Transition("finish", reason="every gate held"))
    assert book.noted == ["model.finish.begun", "model.finish"]


async def test_a_version_is_sent_back_without_the_audit(running: Any) -> None:
    """What it would have said is written once the database is back, in order."""
    book = Notebook()
    running._store = SimpleNamespace(audit=book)
    await running._intend(STATE, Transition("back", reason="too many errors"))
    await running._remember(("catboost", "generic"), STATE, Transition("back", reason="too many errors"))
    assert book.noted == []
    book.away = False
    await running._go_round()
    assert book.noted == ["model.back.begun", "model.back"]
