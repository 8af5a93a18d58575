"""Documents with their bytes, and what has become of each on its way from upload to index."""

from typing import Any

from sqlalchemy import ColumnElement, Sequence, case, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from pipelines.errors import NotFound
from serve_app.store.audit import note
from serve_app.store.database import Database
from serve_app.store.records import COMMAND_LINE, StoredDocument, Waiting
from serve_app.store.tables import documents

DOCUMENT = tuple(documents.c[name] for name in StoredDocument.__dataclass_fields__)
# Who has put one document in the place of another, in the audit.
INDEXER = "indexer"
UPLOADS = Sequence("documents_uploads")  # their order: two may be of one moment, and clocks are set back
ANEW = ("attempts", "done", "total", "begun")  # what is counted from nothing when a document is begun anew
# Documents of a tenant that wait and are looked at. Source: own choice; so many fill any number of readers, and a
# tenant with a hundred thousand costs the others nothing.
LOOKED_AT = 1_000


class Documents:
    """Documents of the tenants."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(
        self, tenant_id: int, document_id: str, name: str, sha256: str, content: bytes, actor: str = COMMAND_LINE
    ) -> StoredDocument:
        """Take a document in; one with the same name and content stays as it is, unless it failed or is going.

        Either way it is the newest of its name from now on.
        """
        row = {
            "tenant_id": tenant_id,
            "document_id": document_id,
            "name": name,
            "sha256": sha256,
            "bytes": len(content),
            "content": content,
            "state": "queued",
            "pages": [],
            **dict.fromkeys(("reason", "title"), ""),
            **dict.fromkeys(("passages", "flagged", *ANEW), 0),
        }
        over = documents.c.state.in_(["failed", "removing"])
        begun_anew = {name: case((over, row[name]), else_=documents.c[name]) for name in ("state", "reason", *ANEW)}
        newest = {"created_at": func.now(), "upload": UPLOADS.next_value()}
        again = upsert(documents).values(row).on_conflict_do_update(
            index_elements=["tenant_id", "document_id"], set_={**begun_anew, **newest}
        ).returning(*DOCUMENT)  # fmt: skip
        async with self._database.tenant(tenant_id) as connection:
            kept = StoredDocument(*(await connection.execute(again)).one())
            await note(connection, tenant_id, actor, "document.added", document_id, name)
        return kept

    async def get(self, tenant_id: int, document_id: str) -> StoredDocument:
        """Return a document.

        Raises:
            NotFound: There is none in this tenant.
        """
        return StoredDocument(*await self._one(tenant_id, document_id, *DOCUMENT))

    async def pages(self, tenant_id: int, document_id: str) -> list[str]:
        """Return the text of each page, to which the offsets of quotes count.

        Raises:
            NotFound: There is none in this tenant.
        """
        (pages,) = await self._one(tenant_id, document_id, documents.c.pages)
        return list(pages)

    async def content(self, tenant_id: int, document_id: str) -> bytes:
        """Return the file as it was uploaded.

        Raises:
            NotFound: There is none in this tenant.
        """
        (content,) = await self._one(tenant_id, document_id, documents.c.content)
        return bytes(content)

    async def page(self, tenant_id: int, after: str, limit: int) -> list[StoredDocument]:
        """Return a page of documents in the order of their ids."""
        query = select(*DOCUMENT).where(documents.c.document_id > after).order_by(documents.c.document_id).limit(limit)
        async with self._database.tenant(tenant_id) as connection:
            return [StoredDocument(*row) for row in await connection.execute(query)]

    async def change(
        self, tenant_id: int, document_id: str, actor: str = COMMAND_LINE, **changes: Any
    ) -> StoredDocument:
        """Note what is wanted of a document.

        Raises:
            NotFound: There is none in this tenant, or it is going.
        """
        own = (documents.c.document_id == document_id) & (documents.c.state != "removing")
        async with self._database.tenant(tenant_id) as connection:
            changed = await connection.execute(update(documents).where(own).values(changes).returning(*DOCUMENT))
            if (row := changed.one_or_none()) is None:
                raise NotFound("document", document_id)
            await note(connection, tenant_id, actor, "document.changed", document_id, row.state)
        return StoredDocument(*row)

    async def remove(self, tenant_id: int, document_id: str, actor: str = COMMAND_LINE) -> None:
        """Mark a document as going; its row is dropped once its passages are.

        Raises:
            NotFound: There is none in this tenant.
        """
        own = update(documents).where(documents.c.document_id == document_id).values(state="removing")
        async with self._database.tenant(tenant_id) as connection:
            if not (await connection.execute(own)).rowcount:
                raise NotFound("document", document_id)
            await note(connection, tenant_id, actor, "document.removed", document_id, "")

    async def begin(self, tenant_id: int, document_id: str) -> int:
        """Note that a document is being indexed.

        Returns:
            How often that was begun without an end; 0 when it is not to be indexed any more.
        """
        wanted = (documents.c.document_id == document_id) & documents.c.state.in_(["queued", "indexing"])
        changes = {"state": "indexing", "done": 0, "total": 0, "begun": documents.c.begun + 1}
        begin = update(documents).where(wanted).values(changes).returning(documents.c.begun)
        async with self._database.tenant(tenant_id) as connection:
            return (await connection.execute(begin)).scalar_one_or_none() or 0

    async def progress(self, tenant_id: int, document_id: str, done: int, total: int) -> bool:
        """Note how far the indexing of a document is; false when something else has been asked of it meanwhile."""
        changes = {"done": done, "total": total}
        async with self._database.tenant(tenant_id) as connection:
            changed = await connection.execute(update(documents).where(_begun(document_id)).values(changes))
        return bool(changed.rowcount)

    async def finish(self, tenant_id: int, document_id: str, **changes: Any) -> list[str]:
        """Note what came of an attempt, unless something else has been asked of the document meanwhile.

        Of all documents of its name the newest that is ready stays: those before it are marked as going.

        Returns:
            The ids of those.
        """
        this, other = documents.alias(), documents.alias()
        name = select(this.c.name).where(this.c.document_id == document_id).scalar_subquery()
        newest = select(func.max(other.c.upload)).where(other.c.name == name, other.c.state == "ready")
        older = (documents.c.upload < newest.scalar_subquery()) & (documents.c.state != "removing")
        going = (
            update(documents)
            .where(documents.c.name == name, older)
            .values(state="removing")
            .returning(documents.c.document_id)
        )
        async with self._database.tenant(tenant_id) as connection:
            changed = await connection.execute(
                update(documents).where(_begun(document_id)).values({**changes, "begun": 0})
            )
            if not changed.rowcount or changes["state"] != "ready":
                return []
            gone = list((await connection.execute(going)).scalars())
            for key in gone:
                await note(connection, tenant_id, INDEXER, "document.replaced", key, f"by {document_id}")
            return gone

    async def drop(self, tenant_id: int, document_id: str) -> None:
        """Delete a document's row, unless it was uploaded again meanwhile."""
        going = (documents.c.document_id == document_id) & (documents.c.state == "removing")
        async with self._database.tenant(tenant_id) as connection:
            await connection.execute(delete(documents).where(going))

    async def waiting(self) -> list[Waiting]:
        """Return what is to be removed, and then what is to be indexed, the oldest upload first; of all tenants."""
        going = (documents.c.state == "removing").label("going")
        order = going.desc(), documents.c.upload
        place = func.row_number().over(partition_by=documents.c.tenant_id, order_by=order).label("place")
        found = select(documents.c.tenant_id, documents.c.document_id, documents.c.upload, going, place).subquery()
        query = (
            select(found.c.tenant_id, found.c.document_id, found.c.going)
            .where(found.c.place <= LOOKED_AT)
            .order_by(found.c.going.desc(), found.c.upload)
        )
        async with self._database.transaction("hdx.waiting", "all") as connection:
            return [Waiting(*row) for row in await connection.execute(query)]

    async def _one(self, tenant_id: int, document_id: str, *columns: Any) -> tuple[Any, ...]:
        query = select(*columns).where(documents.c.document_id == document_id)
        async with self._database.tenant(tenant_id) as connection:
            row = (await connection.execute(query)).one_or_none()
        if row is None:
            raise NotFound("document", document_id)
        return tuple(row)


def _begun(document_id: str) -> ColumnElement[bool]:
    return (documents.c.document_id == document_id) & (documents.c.state == "indexing")
