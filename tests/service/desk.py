"""An indexer with what stands around it: real PostgreSQL and LanceDB, and an encoder that may be away."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self, cast
from uuid import uuid4

import numpy as np
from pydantic import SecretStr
from ray.exceptions import ActorDiedError

from configs.settings import Database
from pipelines.knowledge.ingest.documents import document_key
from pipelines.knowledge.records import Made
from pipelines.knowledge.search.index import Index
from serve_app.replicas.indexer import Indexer
from serve_app.store.records import StoredDocument
from serve_app.store.repository import Store
from tests.contract.stand_ins import settings_for

TEXT = "The relief valve of the press opens at {} bar. Set it with the lock nut loose."


class Embedder:
    """An encoder behind its handle: it may be away, and may be waited for."""

    def __init__(self) -> None:
        self.meanwhile: Callable[[], Awaitable[object]] | None = None
        self.away: set[str] = set()
        self.encode = SimpleNamespace(remote=self._encode)

    async def _encode(self, texts: list[str]) -> tuple[object, Made]:
        if ("passages" if texts else "probe") in self.away:
            raise ActorDiedError
        if texts and self.meanwhile is not None:
            await self.meanwhile()
        return np.ones((len(texts), 4)), Made("stand-in", 4)


class Desk:
    """An indexer with what stands around it, and a tenant."""

    def __init__(self, store: Store, embedder: Embedder, indexer: Any, tenant_id: int, home: Path) -> None:
        self.store, self.embedder, self.indexer, self.tenant_id = store, embedder, indexer, tenant_id
        self.folder = home / "knowledge"

    @classmethod
    async def open(cls, url: str, home: Path, **given: Any) -> Self:
        """Open one with a tenant of its own; some settings may be given."""
        store, embedder = Store.open(url, 4), Embedder()
        settings = settings_for(home, database=Database(url=SecretStr(url)), **given)
        indexer = cast(Any, Indexer).func_or_class(settings, embedder)
        return cls(store, embedder, indexer, await store.tenants.ensure(uuid4().hex), home)

    async def close(self) -> None:
        """Leave nothing: what a test left would be the next one's work."""
        for tenant_id, document_id, _ in await self.store.documents.waiting():
            await self.store.documents.remove(tenant_id, document_id)
        for running in self.indexer._working.values():
            running.cancel()
        await self._rest()
        for tenant_id, document_id, _ in await self.store.documents.waiting():
            await self.store.documents.drop(tenant_id, document_id)
        await self.indexer._store.close()
        await self.store.close()

    async def upload(self, name: str, bar: int = 217) -> str:
        """Add a small document as the route does; return its id."""
        return await self.upload_file(name, TEXT.format(bar).encode())

    async def upload_file(self, name: str, content: bytes, tenant_id: int | None = None) -> str:
        """Add a document, of another tenant where one is given; return its id."""
        sha256 = hashlib.sha256(content).hexdigest()
        key = document_key(name, sha256)
        await self.store.documents.add(tenant_id or self.tenant_id, key, name, sha256, content)
        return key

    async def state(self, key: str) -> StoredDocument:
        return await self.store.documents.get(self.tenant_id, key)

    async def finish(self) -> None:
        """Let the indexer look, until it has nothing in work."""
        await self.indexer.look()
        await self._rest()

    async def _rest(self) -> None:
        while working := [*self.indexer._working.values(), *filter(None, [self.indexer._tidying])]:
            await asyncio.wait(working)
            if self.indexer._tidying and self.indexer._tidying.done():
                self.indexer._tidying = None

    async def states(self) -> dict[str, str]:
        return {each.name: each.state for each in await self.store.documents.page(self.tenant_id, "", 10)}

    def quoted(self) -> str:
        """Return all text that a question could find."""
        index = Index.open(self.folder, multilingual=False)
        ids = [each.document_id for each in index.documents(self.tenant_id)]
        return " ".join(part.text for key in ids for part in index.passages(self.tenant_id, key))
