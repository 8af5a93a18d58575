"""The one replica that writes the index: it has uploads read and encoded, writes them, and removes what is to go.

The table of documents is its queue: what waits stands there, in the row that says what was asked for last, so work that
a dying replica left is found and finished. Each document is worked on in steps, and tenants take turns at every step.
"""

import asyncio
import logging
import time
from collections import Counter
from contextlib import suppress
from typing import Any

from ray import serve

from configs.settings import Settings
from deployments.runtime.bind_address import keep_to_node_address
from pipelines.errors import InvalidInput, NotFound, Overloaded, Unavailable, reason_of
from serve_app.replicas.document_steps import DocumentSteps, Superseded
from serve_app.replicas.graph_ports import Handle
from serve_app.shared import logs
from serve_app.store.records import StoredDocument
from serve_app.store.repository import Store

# Seconds between two looks for work that nobody announced. Source: own choice; an announced upload starts at once.
SWEEP_S = 5
# A document that fails in a way nobody foresaw this often is given up; and one in whose work the replica ended so
# often, which is rarely its fault: it is read in a process of its own. Source: own choices.
ATTEMPTS, INTERRUPTED = 3, 10
# Seconds until a document that was begun in vain is begun again: twice as long each time. Source: own choice; a manual
# takes minutes to read, and whoever mends a part waits a minute at most.
PAUSE_S, LONGEST_PAUSE_S = 5, 60

Key = tuple[int, str]


@serve.deployment
class Indexer:
    """Has uploads read, cut, encoded and written; removes what is to go."""

    def __init__(self, settings: Settings, embedder: Handle) -> None:
        keep_to_node_address()
        logs.configure(settings)
        url = settings.database.url
        if url is None:
            raise ValueError("HDX_DATABASE__URL is not set; `hdx run` sets it to the embedded PostgreSQL")
        self._store = Store.open(url.get_secret_value(), 4, settings.database.waits)
        self._steps = DocumentSteps(settings, embedder, self._store)
        # A tenant's documents that are in work: while one is encoded the others are read.
        self._each = 1 + settings.documents.readers
        self._working: dict[Key, asyncio.Task[None]] = {}
        self._indexing: set[Key] = set()  # those of them that are not being removed
        self._announced = asyncio.Event()
        self._sweeping: asyncio.Task[None] | None = None
        self._tidying: asyncio.Task[None] | None = None
        self._tidied = 0.0
        self._dirty: set[int] = set()
        # By document that was begun in vain: its last pause, and when it ends.
        self._pauses: dict[Key, tuple[float, float]] = {}

    async def check_health(self) -> None:
        """Keep looking for work; Ray calls this first when the replica starts.

        Raises:
            Unavailable: A thread does not end; only a new replica is rid of it.
        """
        if self._steps.stuck:
            raise Unavailable("indexer", "a step does not end")
        if self._sweeping is None or self._sweeping.done():
            self._sweeping = asyncio.create_task(self._sweep())

    async def _sweep(self) -> None:
        while True:
            self._announced.clear()
            with logs.surviving("index.waits"):
                await self.look()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._announced.wait(), SWEEP_S)

    async def look(self) -> None:
        """Begin what waits and is due, so many documents of each tenant; end the work on what is to go."""
        waiting = await self._store.documents.waiting()
        keys = {(each.tenant_id, each.document_id) for each in waiting}
        self._pauses = {key: pause for key, pause in self._pauses.items() if key in keys}
        busy = Counter(tenant_id for tenant_id, _ in self._working)
        for each in waiting:
            key = each.tenant_id, each.document_id
            if each.going and key in self._indexing:
                self._working[key].cancel()
            elif self._due(key) and (each.going or busy[each.tenant_id] < self._each):
                busy[each.tenant_id] += not each.going
                self._begin(key)
        if self._dirty and time.monotonic() >= self._tidied + SWEEP_S and (not self._tidying or self._tidying.done()):
            self._tidied = time.monotonic()
            self._tidying = asyncio.create_task(self._tidy(sorted(self._dirty)))

    def _due(self, key: Key) -> bool:
        return key not in self._working and time.monotonic() >= self._pauses.get(key, (0, 0))[1]

    def announce(self, tenant_id: int, document_id: str) -> None:
        """Look for work at once; a document that was begun in vain waits no longer."""
        self._pauses.pop((tenant_id, document_id), None)
        self._announced.set()

    async def settle(self, tenant_id: int, document_id: str) -> None:
        """Bring one document to its end: ready, failed, or gone; whoever asked may leave, and it goes on.

        What is to go is no longer worked on.

        Raises:
            Unavailable: A part is away; the document waits on, and no attempt is counted.
        """
        key = tenant_id, document_id
        while running := self._working.get(key):
            if key in self._indexing and await self._going(key):
                running.cancel()
            await asyncio.wait([running])
        begun = self._begin(key)
        await asyncio.wait([begun])
        if not begun.cancelled():  # else it is to go, and whoever asked for that sees to it
            begun.result()

    async def _going(self, key: Key) -> bool:
        with suppress(NotFound):
            return (await self._store.documents.get(*key)).state == "removing"
        return True

    def _begin(self, key: Key) -> "asyncio.Task[None]":
        task = asyncio.create_task(self._work(key))
        self._working[key] = task
        task.add_done_callback(lambda _: self._ended(key, task))
        return task

    def _ended(self, key: Key, task: "asyncio.Task[None]") -> None:
        del self._working[key]
        self._indexing.discard(key)
        self._announced.set()
        if not task.cancelled() and (error := task.exception()):
            logs.write("document.waits", logging.WARNING, error, tenant_id=key[0], document_id=key[1])

    async def _work(self, key: Key) -> None:
        try:
            document = await self._store.documents.get(*key)
            self._dirty.add(key[0])
            if document.state == "removing":
                await self._steps.remove(*key)
            elif document.state in ("queued", "indexing"):
                self._indexing.add(key)
                await self._index(key[0], document)
        except NotFound:
            return  # gone meanwhile
        except Exception:
            self._pause(key)
            raise

    async def _index(self, tenant_id: int, stored: StoredDocument) -> None:
        """Bring a document to `ready` or `failed`; killed on the way, or a part away, it is begun once more."""
        key = tenant_id, stored.document_id
        made = await self._steps.encoder()  # before anything is begun
        begun = await self._store.documents.begin(*key)
        try:
            if begun > INTERRUPTED:
                rule = f"could not be indexed: the indexer ended {INTERRUPTED} times while it was in work"
                raise InvalidInput("document.content", stored.name, rule)
            before = await self._steps.index(tenant_id, stored, made) if begun else []
        except Superseded:
            return  # something else has been asked of it: that comes next
        except InvalidInput as error:
            await self._give_up(key, error.rule)
        except Exception as error:
            await self._put_off(key, stored, error)
            raise
        else:
            for other in {(tenant_id, each) for each in before} - set(self._working):
                self._begin(other)

    async def _give_up(self, key: Key, reason: str, **changes: Any) -> None:
        """Let a document be failed; nothing of it stays in the index."""
        await self._steps.take_out(*key)
        await self._store.documents.finish(*key, state="failed", reason=reason, **changes)

    async def _put_off(self, key: Key, stored: StoredDocument, error: Exception) -> None:
        """Let a document wait; one that failed too often for a reason of its own is given up."""
        own = not isinstance(error, Unavailable | Overloaded | OSError)  # those are a part's fault, or the machine's
        attempts = stored.attempts + own
        if attempts >= ATTEMPTS:
            reason = f"could not be indexed in {ATTEMPTS} attempts; the last one {reason_of(error)}"
            await self._give_up(key, reason, attempts=attempts)
        else:
            await self._store.documents.finish(*key, state="queued", attempts=attempts)

    def _pause(self, key: Key) -> None:
        """Let a document wait, longer every time."""
        pause_s = min(LONGEST_PAUSE_S, 2 * self._pauses[key][0]) if key in self._pauses else PAUSE_S
        self._pauses[key] = pause_s, time.monotonic() + pause_s

    async def _tidy(self, tenants: list[int]) -> None:
        """Fold what was written into the indexes of each tenant."""
        for tenant_id in tenants:
            self._dirty.discard(tenant_id)
            try:
                await self._steps.optimise(tenant_id)
            except Exception as error:
                self._dirty.add(tenant_id)
                logs.write("index.waits", logging.WARNING, error, tenant_id=tenant_id)
