"""The steps that bring one document into the index or out of it; tenants take turns at each of them.

A big document is read, encoded and written in many small steps, so that others come in between.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from configs.settings import Settings
from pipelines.errors import InvalidInput, Unavailable
from pipelines.knowledge.ingest.document_reader import Beyond, Bounds, Prepared, read_apart
from pipelines.knowledge.ingest.documents import remarks
from pipelines.knowledge.records import Made
from serve_app.replicas.graph_ports import Handle, reach
from serve_app.shared.turns import Turns
from serve_app.store.records import StoredDocument
from serve_app.store.repository import Store

if TYPE_CHECKING:
    from pipelines.knowledge.search.encoder import Vectors
    from pipelines.knowledge.search.index import Index

# Texts that the encoder gets at once, so that questions come in between, and passages that are written at once.
BATCH, WRITTEN = 8, 500
# A document is first read with these bounds, and only where it needs more with those of the settings, beside others
# that do: so a place for what is quickly read is soon free again, whatever the files are. Source: own choice; a hundred
# pages of text take a second, and what is read from them a megabyte. Questions and detection go before both: the weight
# of 5 is a third of theirs, that of 19 a seventieth.
QUICK_S, QUICK_BYTES, QUICK_NICE, SLOW_NICE = 2, 16_000_000, 5, 19
LARGE = 4  # documents that hold more than that in memory while they are encoded; source: own choice, 200 MB each
DISK = "LanceError(IO)"  # so LanceDB names what the file system refuses, in the text of a `RuntimeError`
# Source: own choices; a batch waits for questions, which go first; an index of 100,000 passages is folded in a minute.
PROBE_S, PATIENCE_S, INDEX_S = 5, 120, 300

Result = TypeVar("Result")


class Superseded(Exception):
    """Something else has been asked of a document while it was in work."""


class DocumentSteps:
    """What the indexer does with documents.

    Attributes:
        stuck: Whether a step does not end, which only a new process is rid of.
    """

    def __init__(self, settings: Settings, embedder: Handle, store: Store) -> None:
        self._settings, self._embedder, self._store = settings, embedder, store
        known = settings.documents
        each = max(1, known.readers - 1)
        self._quick, self._slow = Turns(known.readers, each), Turns(known.readers, each)
        self._large, self._encoding, self._writing = Turns(LARGE, 1), Turns(1, 1), Turns(1, 1)
        self._bounds = Bounds.of(known)._replace(nice=SLOW_NICE)
        self._threads = ThreadPoolExecutor(2 * known.readers + 4, "indexer")
        self._opened: Index | None = None
        self.stuck = False

    async def encoder(self) -> Made:
        """Return what the encoder's vectors are known by.

        Raises:
            Unavailable: It is away.
        """
        return (await self._encode([], PROBE_S))[1]

    async def index(self, tenant_id: int, stored: StoredDocument, made: Made) -> list[str]:
        """Read a document, have it encoded, write it, and mark it as ready.

        Args:
            tenant_id: Whose it is.
            stored: The document, which is marked as being indexed.
            made: The encoder of all its vectors.

        Returns:
            The ids of those in whose place it has come: they are to go.

        Raises:
            InvalidInput: It cannot be read, or not within its bounds.
            Superseded: Something else has been asked of it meanwhile.
            Unavailable: A part is away: encoder or disk, or the index is another encoder's.
        """
        async with AsyncExitStack() as places:
            prepared = await self._read(tenant_id, stored, places)
            vectors = await self._vectors(tenant_id, prepared, made)
            await self._write(tenant_id, prepared, vectors, made)
            known = _known(prepared)
            return await self._store.documents.finish(tenant_id, stored.document_id, state="ready", **known)

    async def remove(self, tenant_id: int, document_id: str) -> None:
        """Take a document out of the index, and drop its row unless it was uploaded again meanwhile."""
        await self.take_out(tenant_id, document_id)
        await self._store.documents.drop(tenant_id, document_id)

    async def take_out(self, tenant_id: int, document_id: str) -> None:
        """Remove a document's passages."""
        async with self._writing.turn(tenant_id):
            await self._in_thread(INDEX_S, self._index.remove, tenant_id, document_id)

    async def optimise(self, tenant_id: int) -> None:
        """Fold new rows of a tenant into its indexes."""
        async with self._writing.turn(tenant_id):
            await self._in_thread(INDEX_S, self._index.optimise, tenant_id)

    async def _read(self, tenant_id: int, stored: StoredDocument, places: AsyncExitStack) -> Prepared:
        """Have a document read; one that holds much keeps one of few places until it is written."""
        seconds = min(QUICK_S, self._bounds.seconds)
        quick = self._bounds._replace(seconds=seconds, text_bytes=QUICK_BYTES, nice=QUICK_NICE)
        try:
            async with self._quick.turn(tenant_id):
                return await self._read_apart(tenant_id, stored, quick)
        except Beyond:
            pass
        async with self._slow.turn(tenant_id):
            try:
                prepared = await self._read_apart(tenant_id, stored, self._bounds)
            except Beyond as beyond:
                raise InvalidInput("document.content", stored.name, str(beyond)) from None
            if prepared.size > QUICK_BYTES:
                await places.enter_async_context(self._large.turn(tenant_id))
            return prepared

    async def _read_apart(self, tenant_id: int, stored: StoredDocument, bounds: Bounds) -> Prepared:
        content = await self._store.documents.content(tenant_id, stored.document_id)
        stopped = threading.Event()
        given = stored.name, content, bounds, stopped.is_set
        return await self._in_thread(None, read_apart, *given, stop=stopped.set)

    async def _vectors(self, tenant_id: int, prepared: Prepared, made: Made) -> "Vectors":
        """Return the vectors of passages."""
        from pipelines.knowledge.search.arms import indexed_text

        count, vectors = len(prepared.cuts), []
        for start in range(0, count, BATCH):
            texts = [indexed_text(passage) for passage in prepared.passages(start, start + BATCH)]
            async with self._encoding.turn(tenant_id):
                encoded, maker = await self._encode(texts, PATIENCE_S)
            if maker != made:
                raise Unavailable("embedder", "another encoder has come meanwhile")
            vectors.append(encoded.astype(np.float32))
            await self._note(tenant_id, prepared, min(count, start + BATCH))
        return np.concatenate(vectors)

    async def _write(self, tenant_id: int, prepared: Prepared, vectors: "Vectors", made: Made) -> None:
        """Write a document in place of what an earlier reading of it left.

        Raises:
            Unavailable: The disk is full, or the index is another encoder's.
        """
        try:
            await self.take_out(tenant_id, prepared.document.document_id)
            for start in range(0, len(prepared.cuts), WRITTEN):
                await self._note(tenant_id, prepared, len(prepared.cuts))
                passages = prepared.passages(start, start + WRITTEN)
                given = tenant_id, passages, vectors[start : start + WRITTEN], prepared.document.sha256, made
                async with self._writing.turn(tenant_id):
                    await self._in_thread(INDEX_S, self._index.add, *given)
        except InvalidInput as error:
            raise Unavailable("index", error.rule) from None
        except (OSError, RuntimeError) as error:
            if isinstance(error, OSError) or DISK in str(error):
                raise Unavailable("index", "cannot be written") from error
            raise

    async def _note(self, tenant_id: int, prepared: Prepared, done: int) -> None:
        """Say how far a document is.

        Raises:
            Superseded: Something else has been asked of it meanwhile.
        """
        known = tenant_id, prepared.document.document_id
        if not await self._store.documents.progress(*known, done, len(prepared.cuts)):
            raise Superseded

    async def _encode(self, texts: list[str], timeout_s: float) -> "tuple[Vectors, Made]":
        encoded: tuple[Vectors, Made] = await reach("embedder", self._embedder.encode.remote(texts), timeout_s)
        return encoded

    async def _in_thread(
        self, limit_s: float | None, call: Callable[..., Result], *given: Any, stop: Callable[[], object] = bool
    ) -> Result:
        """Run a call beside the loop; where it is waited for no longer it is told to stop, and its end awaited.

        However often that is said: what came of a document that is to go must not be written after it went.

        Raises:
            Unavailable: It takes too long. No thread can be stopped: the replica asks to be replaced.
        """
        loop = asyncio.get_running_loop()
        running = loop.run_in_executor(self._threads, partial(call, *given))
        end = None if limit_s is None else loop.time() + limit_s
        cancelled: asyncio.CancelledError | None = None
        while True:
            try:
                left = None if end is None else max(0.0, end - loop.time())
                done, _ = await asyncio.wait([running], timeout=left)
                break
            except asyncio.CancelledError as error:
                stop()
                cancelled = error
        self.stuck |= not done
        if cancelled is not None:
            if done:
                running.exception()  # nobody waits for what it was
            raise cancelled
        if not done:
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


def _known(prepared: Prepared) -> dict[str, Any]:
    """Return what the store keeps of a document that was read."""
    document, cuts = prepared.document, prepared.cuts
    return {
        "title": document.title,
        "language": document.language,
        "passages": len(cuts),
        "flagged": sum(bool(cut.flag) for cut in cuts),
        "pages": [page.text for page in document.pages],
        "reason": remarks(document),
    }
