"""Beside the request path: the one replica that writes the index.

Exists so that an upload answers at once, no two writers meet, and work that a dying replica left is found and finished.
"""

import asyncio
import logging
from typing import TYPE_CHECKING

import numpy as np
from ray import serve

from configs.settings import Settings
from deployments.runtime.bind_address import keep_to_node_address
from pipelines.errors import HdxError, InvalidInput
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
# A document whose reading kills the replica this often is given up.
ATTEMPTS = 3
PATIENCE_S = 120  # for one batch; a question's share of the encoder goes first


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

    async def check_health(self) -> None:
        """Keep looking for work; Ray calls this first when the replica starts."""
        if self._sweeping is None or self._sweeping.done():
            self._sweeping = asyncio.create_task(self._sweep())

    async def _sweep(self) -> None:
        while True:
            try:
                for tenant_id, document_id in await self._store.documents.waiting():
                    await self.work(tenant_id, document_id)
                await self._tidy()
            except HdxError as error:
                logs.write("index.waits", logging.WARNING, error)
            await asyncio.sleep(SWEEP_S)

    async def work(self, tenant_id: int, document_id: str) -> None:
        """Bring one document to its end: ready, failed, or gone."""
        async with self._alone:
            if (tenant_id, document_id) not in await self._store.documents.waiting():
                return  # done meanwhile
            self._dirty.add(tenant_id)
            document = await self._store.documents.get(tenant_id, document_id)
            if document.state == "removing":
                await asyncio.to_thread(self._index.remove, tenant_id, document_id)
                await self._store.documents.drop(tenant_id, document_id)
                return
            try:
                await self._index_one(tenant_id, document)
            except InvalidInput as error:
                await self._store.documents.change(tenant_id, document_id, state="failed", reason=error.rule)

    async def _index_one(self, tenant_id: int, stored: StoredDocument) -> None:
        """Write one document's passages, then note that it is ready; killed in between, it is written once more.

        Raises:
            InvalidInput: It cannot be read.
        """
        from pipelines.knowledge.ingest.ingest import prepare, summary

        store, document_id = self._store, stored.document_id
        if stored.attempts >= ATTEMPTS:
            raise InvalidInput("document.content", stored.name, f"could not be read in {ATTEMPTS} attempts")
        await store.documents.change(tenant_id, document_id, state="indexing", attempts=stored.attempts + 1)
        content = await store.documents.content(tenant_id, document_id)
        document, passages = await asyncio.to_thread(prepare, stored.name, content)
        vectors, made = await self._encoded(document, passages)
        await asyncio.to_thread(self._index.add, tenant_id, passages, vectors, document.sha256, made)
        known = summary(document, passages)
        await store.documents.change(
            tenant_id,
            document_id,
            state="ready",
            title=known.title,
            language=known.language,
            passages=known.passages,
            flagged=known.flagged,
            pages=[page.text for page in document.pages],
        )
        for other in await store.documents.namesakes(tenant_id, document_id, stored.name):
            await asyncio.to_thread(self._index.remove, tenant_id, other)
            await store.documents.drop(tenant_id, other)

    async def _encoded(self, document: Document, passages: list[Passage]) -> "tuple[Vectors | None, Made]":
        """Return the vectors of passages where their language is searched by them, and what made them."""
        from pipelines.knowledge.search.index import indexed_text, needs_vector

        wanted = needs_vector(document.language, self._settings.knowledge.encoder_multilingual)
        texts = [indexed_text(passage) for passage in passages]
        parts = []
        for start in range(0, len(texts) if wanted else 1, BATCH):
            part, made = await reach("embedder", self._embedder.encode.remote(texts[start : start + BATCH]), PATIENCE_S)
            parts.append(part)
        return (np.concatenate(parts).astype(np.float32) if wanted else None), made

    async def _tidy(self) -> None:
        """Fold what was written into the indexes, once nothing waits."""
        for tenant_id in sorted(self._dirty):
            async with self._alone:
                await asyncio.to_thread(self._index.optimise, tenant_id)
        self._dirty.clear()

    @property
    def _index(self) -> "Index":
        """The index, opened by the first work: an idle replica needs no library of it."""
        from pipelines.knowledge.search.index import Index

        if self._opened is None:
            multilingual = self._settings.knowledge.encoder_multilingual
            self._opened = Index.open(self._settings.home / "knowledge", multilingual)
        return self._opened
