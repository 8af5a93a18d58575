"""The one replica that writes the index: it reads uploads, has them encoded, writes and removes them.

The store tells it what waits, so work that a dying replica left is found and finished.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from ray import serve

from configs.settings import Settings
from deployments.runtime.bind_address import keep_to_node_address
from pipelines.errors import InvalidInput, Overloaded, Unavailable, reason_of
from pipelines.knowledge.records import Document, Made, Passage
from serve_app.replicas.graph_ports import Handle, reach
from serve_app.shared import logs
from serve_app.store.records import StoredDocument
from serve_app.store.repository import Store

if TYPE_CHECKING:
    from pipelines.knowledge.search.encoder import Vectors
    from pipelines.knowledge.search.index import Index

# Seconds between two looks for work that nobody announced. Source: own choice; an announced upload starts at once.
SWEEP_S = 5
# Texts that the encoder gets at once, so that questions come in between.
BATCH = 32
# A document that kills the replica, or fails in a way nobody foresaw, this often is given up.
ATTEMPTS = 3
# Seconds until a document that was begun in vain is begun again: twice as long each time. Source: own choice; a manual
# takes minutes to read, and whoever mends a part waits a minute at most.
PAUSE_S, LONGEST_PAUSE_S = 5, 60
DISK = "LanceError(IO)"  # so LanceDB names what the file system refuses, in the text of a `RuntimeError`
# Source: own choices; a batch waits for questions, which go first; a manual of 1,000 pages with tables takes minutes.
PROBE_S, PATIENCE_S, READ_S, INDEX_S = 5, 120, 600, 300

Result = TypeVar("Result")


@serve.deployment
class Indexer:
    """Reads uploads, cuts, encodes and writes them; removes what is to go."""

    def __init__(self, settings: Settings, embedder: Handle) -> None:
        keep_to_node_address()
        logs.configure(settings)
        url = settings.database.url
        if url is None:
            raise ValueError("HDX_DATABASE__URL is not set; `hdx run` sets it to the embedded PostgreSQL")
        self._settings = settings
        self._embedder = embedder
        self._store = Store.open(url.get_secret_value(), 2, settings.database.waits)
        self._alone = asyncio.Lock()
        self._sweeping: asyncio.Task[None] | None = None
        self._opened: Index | None = None
        self._dirty: set[int] = set()
        # By document that was begun in vain: its last pause, and when it ends.
        self._pauses: dict[tuple[int, str], tuple[float, float]] = {}
        self._tasks: set[asyncio.Task[None]] = set()  # the loop itself holds them weakly
        self._stuck = False

    async def check_health(self) -> None:
        """Keep looking for work; Ray calls this first when the replica starts.

        Raises:
            Unavailable: A thread does not end; only a new replica is rid of it.
        """
        if self._stuck:
            raise Unavailable("indexer", "a step does not end")
        if self._sweeping is None or self._sweeping.done():
            self._sweeping = asyncio.create_task(self._sweep())

    async def _sweep(self) -> None:
        while True:
            try:
                await self.look()
            except Exception as error:
                logs.write("index.waits", logging.WARNING, error)
            await asyncio.sleep(SWEEP_S)

    async def look(self) -> None:
        """Do all that waits, each document by itself, then fold what was written into the indexes of each tenant.

        A document that was begun in vain waits before it is begun again, longer every time, unless it is announced.
        """
        waiting = await self._store.documents.waiting()
        self._pauses = {key: self._pauses[key] for key in waiting if key in self._pauses}
        for tenant_id, document_id in waiting:
            if time.monotonic() < self._pauses.get((tenant_id, document_id), (0, 0))[1]:
                continue
            try:
                await self.work(tenant_id, document_id)
            except Exception as error:
                logs.write("document.waits", logging.WARNING, error, tenant_id=tenant_id, document_id=document_id)
        for tenant_id in sorted(self._dirty):
            try:
                async with self._alone:
                    await self._in_thread(INDEX_S, self._index.optimise, tenant_id)
                self._dirty.discard(tenant_id)
            except Exception as error:
                logs.write("index.waits", logging.WARNING, error, tenant_id=tenant_id)

    async def work(self, tenant_id: int, document_id: str) -> None:
        """Bring one document to its end: ready, failed, or gone; whoever asked may leave, and it goes on.

        Raises:
            Unavailable: A part is away; the document waits on, and no attempt is counted.
        """
        task = asyncio.create_task(self._work(tenant_id, document_id))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await asyncio.shield(task)

    async def _work(self, tenant_id: int, document_id: str) -> None:
        async with self._alone:
            if (tenant_id, document_id) not in await self._store.documents.waiting():
                return  # done meanwhile
            self._dirty.add(tenant_id)
            document = await self._store.documents.get(tenant_id, document_id)
            if document.state == "removing":
                await self._remove(tenant_id, document_id)
            else:
                await self._index_one(tenant_id, document)

    async def _remove(self, tenant_id: int, document_id: str) -> None:
        await self._in_thread(INDEX_S, self._index.remove, tenant_id, document_id)
        await self._store.documents.drop(tenant_id, document_id)

    async def _index_one(self, tenant_id: int, stored: StoredDocument) -> None:
        """Bring a document to `ready` or `failed`; killed on the way, or a part away, it is begun once more."""
        store, document_id = self._store.documents, stored.document_id
        _, made = await self._encode([], PROBE_S)  # before anything is counted
        content = await store.content(tenant_id, document_id)
        if not await store.begin(tenant_id, document_id):
            return
        try:
            document, passages = await self._read(stored, content)
            await self._write(tenant_id, document, passages, made)
            before = await store.finish(tenant_id, document_id, state="ready", **_known(document, passages))
        except InvalidInput as error:
            await store.finish(tenant_id, document_id, state="failed", reason=error.rule)
            return
        except Exception as error:
            await self._put_off(tenant_id, stored, error)
            raise
        for other in before:
            await self._remove(tenant_id, other)

    async def _put_off(self, tenant_id: int, stored: StoredDocument, error: Exception) -> None:
        """Let a document wait, longer every time; one that failed too often for a reason of its own is given up."""
        key = tenant_id, stored.document_id
        pause_s = min(LONGEST_PAUSE_S, 2 * self._pauses[key][0]) if key in self._pauses else PAUSE_S
        self._pauses[key] = pause_s, time.monotonic() + pause_s
        changes: dict[str, Any] = {"state": "queued"}
        if isinstance(error, Unavailable | Overloaded):  # a part's fault, and not the document's
            changes["attempts"] = stored.attempts
        elif stored.attempts + 1 >= ATTEMPTS:
            reason = f"could not be indexed in {ATTEMPTS} attempts; the last one {reason_of(error)}"
            changes = {"state": "failed", "reason": reason}
        await self._store.documents.finish(*key, **changes)

    async def _read(self, stored: StoredDocument, content: bytes) -> tuple[Document, list[Passage]]:
        """Read a document and cut it.

        Raises:
            InvalidInput: It cannot be read, or not in time, or it was tried too often.
        """
        from pipelines.knowledge.ingest.ingest import prepare

        if stored.attempts >= ATTEMPTS:
            raise InvalidInput("document.content", stored.name, f"could not be indexed in {ATTEMPTS} attempts")
        try:
            return await self._in_thread(READ_S, prepare, stored.name, content)
        except Unavailable:
            raise InvalidInput("document.content", stored.name, f"must be readable within {READ_S} s") from None

    async def _write(self, tenant_id: int, document: Document, passages: list[Passage], made: Made) -> None:
        """Have passages encoded, and write them.

        Raises:
            Unavailable: A part is away: encoder or disk, or the index is another encoder's.
        """
        vectors = await self._vectors(passages)
        try:
            await self._in_thread(INDEX_S, self._index.add, tenant_id, passages, vectors, document.sha256, made)
        except InvalidInput as error:
            raise Unavailable("index", error.rule) from None
        except (OSError, RuntimeError) as error:
            if isinstance(error, OSError) or DISK in str(error):
                raise Unavailable("index", "cannot be written") from error
            raise

    async def _vectors(self, passages: list[Passage]) -> "Vectors":
        """Return the vectors of passages."""
        from pipelines.knowledge.search.index import indexed_text

        texts = [indexed_text(passage) for passage in passages]
        batches = [texts[start : start + BATCH] for start in range(0, len(texts), BATCH)]
        return np.concatenate([(await self._encode(batch, PATIENCE_S))[0] for batch in batches]).astype(np.float32)

    async def _encode(self, texts: list[str], timeout_s: float) -> "tuple[Vectors, Made]":
        encoded: tuple[Vectors, Made] = await reach("embedder", self._embedder.encode.remote(texts), timeout_s)
        return encoded

    async def _in_thread(self, timeout_s: float, call: Callable[..., Result], *given: Any) -> Result:
        """Run a call beside the loop.

        Raises:
            Unavailable: It takes too long. No thread can be stopped: the replica asks to be replaced.
        """
        running = asyncio.create_task(asyncio.to_thread(call, *given))
        done, _ = await asyncio.wait([running], timeout=timeout_s)
        if not done:
            self._stuck = True
            raise Unavailable("indexer", "a step does not end")
        return running.result()

    @property
    def _index(self) -> "Index":
        """The index, opened by the first work: an idle replica needs no library of it."""
        from pipelines.knowledge.search.index import Index

        if self._opened is None:
            multilingual = self._settings.knowledge.encoder_multilingual
            self._opened = Index.open(self._settings.home / "knowledge", multilingual)
        return self._opened


def _known(document: Document, passages: list[Passage]) -> dict[str, Any]:
    """Return what the store keeps of a document that was read."""
    from pipelines.knowledge.ingest.ingest import summary

    known = summary(document, passages)
    pages = [page.text for page in document.pages]
    return {name: getattr(known, name) for name in ("title", "language", "passages", "flagged")} | {"pages": pages}
