"""One history of uploads, replacements, removals and kills over the real store and a real index, and what must be left.

An indexer makes one effect after another: transactions in PostgreSQL, commits of LanceDB. A seed says after how many of
them the next call comes, and before or after which one the indexer is killed: nothing it would have done follows.
"""

import asyncio
import hashlib
import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import numpy as np

from configs.settings import Settings
from pipelines.errors import NotFound
from pipelines.knowledge.ingest.document_reader import Bounds, Prepared
from pipelines.knowledge.ingest.documents import document_key
from pipelines.knowledge.ingest.ingest import prepare
from pipelines.knowledge.records import Made
from pipelines.knowledge.search.index import Index
from serve_app.replicas.indexer import Indexer
from serve_app.store.repository import Store

NAMES = ("press.md", "pump.md")
SENTENCES = 30
CALLS = 8
QUIET_S = 60
UNREADABLE = b"# Only a heading"


class Dead(BaseException):
    """What a killed indexer would have done next."""


class Life:
    """Of one indexer, counted in effects; once it is over, nothing more has one."""

    def __init__(self, last: int | None) -> None:
        self.effects, self._last, self.dead = 0, last, False
        self.moved = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def step(self) -> None:
        """Count one effect, or refuse it."""
        if self.dead or self.effects == self._last:
            self.dead = True
            self._loop.call_soon_threadsafe(self.moved.set)
            raise Dead
        self.effects += 1
        self._loop.call_soon_threadsafe(self.moved.set)

    async def after(self, effects: int) -> None:
        """Wait until so many more have been, or nothing moves."""
        end = self.effects + effects
        while self.effects < end and not self.dead:
            self.moved.clear()
            try:
                await asyncio.wait_for(self.moved.wait(), 0.3)
            except TimeoutError:
                return


class Counted:
    """Something whose calls are effects of a life."""

    def __init__(self, real: object, life: Life, names: tuple[str, ...]) -> None:
        self._real, self._life, self._names = real, life, names

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._real, name)
        if name not in self._names:
            return real

        async def later(*given: Any, **named: Any) -> Any:
            self._life.step()
            return await real(*given, **named)

        def now(*given: Any, **named: Any) -> Any:
            self._life.step()
            return real(*given, **named)

        return later if asyncio.iscoroutinefunction(real) else now


@dataclass
class Wanted:
    """What the acknowledged calls on one name asked for."""

    uploads: list[str] = field(default_factory=list)  # ids, the newest last
    gone: set[str] = field(default_factory=set)  # those that were removed after their last upload

    def must(self, readable: set[str]) -> str | None:
        """Return what has to be there: the newest readable one, unless one that came after it was removed."""
        live = self.live(readable)
        return live if live and live == self._newest(readable) else None

    def live(self, readable: set[str]) -> str | None:
        """Return what alone may be there: the newest readable one that was not removed."""
        return next((each for each in reversed(self.uploads) if each in readable - self.gone), None)

    def _newest(self, readable: set[str]) -> str | None:
        return next((each for each in reversed(self.uploads) if each in readable), None)


def text(name: str, version: int) -> bytes:
    """Return a manual of several passages."""
    said = " ".join(f"Valve {n} of {name} opens at {version} bar when the pump turns." for n in range(SENTENCES))
    return f"# Manual {version}\n\n{said}".encode()


class History:
    """A tenant, an index and one indexer after another, in the hands of a seed."""

    def __init__(self, seed: int, settings: Settings, store: Store) -> None:
        self._random = random.Random(seed)  # noqa: S311 (a history is to be repeated)
        self._settings, self._store = settings, store
        self._wanted = {name: Wanted() for name in NAMES}
        self._contents: dict[str, bytes] = {}
        self._asked: list[asyncio.Task[None]] = []
        self._tenant_id = 0
        self.told: list[str] = []

    async def run(self) -> list[str]:
        """Live it through; return what is wrong at its end."""
        self._tenant_id = await self._store.tenants.ensure(uuid4().hex)
        wrong: list[str] = []
        left = CALLS
        while left:
            life = Life(self._random.randrange(60) if self._random.random() < 0.7 else None)
            indexer = self._indexer(life)
            await indexer.check_health()
            while left and not life.dead:
                await life.after(self._random.choice((0, 0, 1, 2, 3, 5, 8, 13)))
                wrong += await self._call(indexer, life)
                left -= 1
            await self._end(indexer, life)
        return wrong + await self._settled()

    def _indexer(self, life: Life) -> Any:
        indexer = cast(Any, Indexer).func_or_class(self._settings, SimpleNamespace(encode=self._encoder(life)))
        steps = indexer._steps
        documents = ("begin", "progress", "finish", "drop", "content", "get", "waiting")
        counted = SimpleNamespace(documents=Counted(indexer._store.documents, life, documents), real=indexer._store)
        indexer._store = steps._store = counted
        steps._opened = Counted(steps._index, life, ("add", "remove", "optimise"))
        return indexer

    def _encoder(self, life: Life) -> object:
        async def encode(texts: list[str]) -> tuple[object, Made]:
            life.step()
            await asyncio.sleep(0)
            return np.ones((len(texts), 4)), Made("stand-in", 4)

        return SimpleNamespace(remote=encode)

    async def _call(self, indexer: Any, life: Life) -> list[str]:
        """Make one call, as a route does."""
        name = self._random.choice(NAMES)
        known = [each for each in dict.fromkeys(self._wanted[name].uploads) if each not in self._wanted[name].gone]
        if known and self._random.random() < 0.4:
            return await self._remove(name, self._random.choice(known), indexer, life)
        await self._upload(name, indexer, life)
        return []

    async def _upload(self, name: str, indexer: Any, life: Life) -> None:
        version = self._random.randrange(3)
        content = text(name, version) if self._random.random() < 0.9 else UNREADABLE
        sha256 = hashlib.sha256(content).hexdigest()
        key = document_key(name, sha256)
        self._contents[key] = content
        await self._store.documents.add(self._tenant_id, key, name, sha256, content)
        self._wanted[name].uploads.append(key)
        self._wanted[name].gone.discard(key)
        self.told.append(f"{life.effects}: upload {key}")
        if not life.dead:
            indexer.announce(self._tenant_id, key)

    async def _remove(self, name: str, key: str, indexer: Any, life: Life) -> list[str]:
        """Remove a document; whoever waits for the answer finds nothing of it any more."""
        with suppress(NotFound):  # a newer version has taken its place
            await self._store.documents.remove(self._tenant_id, key)
        self._wanted[name].gone.add(key)
        self.told.append(f"{life.effects}: remove {key}")
        if life.dead or self._random.random() < 0.3:
            return []
        asked = asyncio.create_task(indexer.settle(self._tenant_id, key))
        self._asked.append(asked)
        await asyncio.wait([asked])
        if asked.cancelled() or asked.exception():  # the answer is 503: it is removed later
            return []
        return [f"{key} was removed and is still found"] * (key in await asyncio.to_thread(self._found))

    async def _end(self, indexer: Any, life: Life) -> None:
        """Let an indexer be no more, as after a kill: what it had begun with others is over, too."""
        life.dead = True
        self.told.append(f"{life.effects}: killed")
        indexer._sweeping.cancel()
        tasks = [indexer._sweeping, *indexer._working.values(), *self._asked]
        tasks += [indexer._tidying] if indexer._tidying else []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        indexer._steps._threads.shutdown()
        await indexer._store.real.close()

    async def _settled(self) -> list[str]:
        """Let the last indexer do all that is left, and compare what there is with what was asked for."""
        life = Life(None)
        indexer = self._indexer(life)
        await indexer.check_health()
        try:
            async with asyncio.timeout(QUIET_S):
                while await self._store.documents.waiting() or indexer._working:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
        except TimeoutError:
            return [f"still waiting: {await self._store.documents.waiting()}"]
        finally:
            await self._end(indexer, life)
        rows = {each.document_id: each.state for each in await self._store.documents.page(self._tenant_id, "", 99)}
        return self._compared(rows, await asyncio.to_thread(self._found))

    def _compared(self, rows: Mapping[str, str], found: dict[str, list[str]]) -> list[str]:
        readable = {key for key, content in self._contents.items() if content != UNREADABLE}
        wrong = [f"{key} is {state}" for key, state in rows.items() if state not in ("ready", "failed")]
        wrong += [f"{key} is found, and {rows.get(key)}" for key in found if rows.get(key) != "ready"]
        for name, wanted in self._wanted.items():
            own = [key for key, state in rows.items() if state == "ready" and key in wanted.uploads]
            if any(key != wanted.live(readable) for key in own):
                wrong.append(f"{name}: {own} may not be there, at most {wanted.live(readable)}")
            must = wanted.must(readable)
            if must and must not in own:
                wrong.append(f"{name}: {must} is not there")
            wrong += [f"{key} is found in part" for key in own if found.get(key) != self._cut(name, key)]
        return wrong

    def _cut(self, name: str, key: str) -> list[str]:
        return [each.text for each in prepare(name, self._contents[key])[1]]

    def _found(self) -> dict[str, list[str]]:
        """Return the texts of each document that questions find."""
        index = Index.open(self._settings.home / "knowledge", multilingual=False)
        keys = [each.document_id for each in index.documents(self._tenant_id)]
        return {key: [each.text for each in index.passages(self._tenant_id, key)] for key in keys}


def read_here(name: str, content: bytes, _bounds: Bounds, _stopped: Callable[[], bool]) -> Prepared:
    """Read without a process: a history is of what is asked for meanwhile, and a process takes half a second."""
    document, passages = prepare(name, content)
    return Prepared(document, passages, 0)
