"""A tenant's own manuals, from upload to removal; an upload answers at once and is indexed behind."""

import hashlib
from dataclasses import asdict
from pathlib import PurePath
from typing import Annotated, Any

from fastapi import APIRouter, File, Path, Query, UploadFile
from fastapi.responses import JSONResponse, Response

from pipelines.errors import InvalidInput, NotFound
from pipelines.knowledge.ingest.documents import document_key
from pipelines.knowledge.ingest.formats import reader_of
from pipelines.knowledge.ingest.ingest import built_in_pages
from serve_app.api import problems
from serve_app.api.auth import Editor, Reader
from serve_app.api.keyed_route import KeyedRoute
from serve_app.api.ports import Ports
from serve_app.api.schemas.documents import DocumentReply, DocumentsReply, FlaggedReply, PageReply
from serve_app.store.records import StoredDocument

NAME_MAX = 200
KEY = r"^[a-z0-9-]{1,80}$"

router = APIRouter(prefix="/api/rag/documents", tags=["assistant"], route_class=KeyedRoute)

DocumentId = Annotated[str, Path(pattern=KEY)]


@router.post(
    "/",
    status_code=202,
    response_model=DocumentReply,
    responses=problems.documented(400, 401, 403, 413, 415),
    summary="Add a document",
)
async def add_document(
    file: Annotated[UploadFile, File(description="PDF, DOCX, HTML, Markdown or text, up to 50 MB")],
    caller: Editor,
    services: Ports,
) -> Response:
    """Take a file in and index it behind; the answer's `state` is what its address will say of it from now on.

    The same file under the same name changes nothing; another one under that name takes its place.
    """
    name, content = _name(file.filename), await file.read()
    reader_of(name, content)
    sha256 = hashlib.sha256(content).hexdigest()
    document_id = document_key(name, sha256)
    document = await services.store.documents.add(caller.tenant_id, document_id, name, sha256, content, caller.name)
    if document.state != "ready":
        services.library.announce(caller.tenant_id, document_id)
    return JSONResponse(_shown(document), 202, {"location": f"/api/rag/documents/{document_id}/"})


@router.get("/", response_model=DocumentsReply, responses=problems.documented(401), summary="List documents")
async def list_documents(
    caller: Reader,
    services: Ports,
    after: Annotated[str, Query(pattern=r"^[a-z0-9-]{0,80}$")] = "",
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Response:
    """Return one page, in order of the id."""
    found = await services.store.documents.page(caller.tenant_id, after, limit + 1)
    page = found[:limit]
    following = page[-1].document_id if len(found) > limit else None
    return JSONResponse({"documents": [_shown(document) for document in page], "next": following})


@router.get(
    "/{document_id}/",
    response_model=DocumentReply,
    responses=problems.documented(401, 404),
    summary="Follow a document",
)
async def read_document(document_id: DocumentId, caller: Reader, services: Ports) -> Response:
    """Say what has become of an upload."""
    return JSONResponse(_shown(await services.store.documents.get(caller.tenant_id, document_id)))


@router.get(
    "/{document_id}/pages/{number}/",
    response_model=PageReply,
    responses=problems.documented(401, 404),
    summary="Read a page",
)
async def read_page(
    document_id: DocumentId, number: Annotated[int, Path(ge=1, le=1_000_000)], caller: Reader, services: Ports
) -> Response:
    """Return a page's text, in which a citation's `start` and `end` count; of built-in articles, too."""
    pages = built_in_pages().get(document_id) or await services.store.documents.pages(caller.tenant_id, document_id)
    if number > len(pages):
        raise NotFound("page", number)
    return JSONResponse({"document_id": document_id, "page": number, "text": pages[number - 1]})


@router.get(
    "/{document_id}/flagged/",
    response_model=FlaggedReply,
    responses=problems.documented(401, 404, 503),
    summary="Read what is never quoted",
)
async def read_flagged(document_id: DocumentId, caller: Reader, services: Ports) -> Response:
    """Say which passages of a document are set aside, and why: each gives orders to whoever answers from it."""
    document = await services.store.documents.get(caller.tenant_id, document_id)
    found = await services.assistant.flagged(caller.tenant_id, document_id) if document.flagged else ()
    shown = [
        {"page": passage.page, "start": passage.start, "end": passage.end, "text": passage.text, "reason": passage.flag}
        for passage in found
    ]
    return JSONResponse({"document_id": document_id, "flagged": shown})


@router.delete(
    "/{document_id}/",
    status_code=204,
    responses=problems.documented(401, 403, 404, 503),
    summary="Remove a document",
)
async def remove_document(document_id: DocumentId, caller: Editor, services: Ports) -> Response:
    """Remove a document and all its passages; two seconds after this answers, no question finds it any more."""
    await services.store.documents.remove(caller.tenant_id, document_id, caller.name)
    await services.library.settle(caller.tenant_id, document_id)
    return Response(status_code=204)


@router.post(
    "/{document_id}/reindex/",
    status_code=202,
    response_model=DocumentReply,
    responses=problems.documented(401, 403, 404),
    summary="Index a document again",
)
async def reindex_document(document_id: DocumentId, caller: Editor, services: Ports) -> Response:
    """Read, cut and encode the stored file once more."""
    anew: dict[str, Any] = {"state": "queued", "reason": "", "attempts": 0, "done": 0, "total": 0}
    document = await services.store.documents.change(caller.tenant_id, document_id, caller.name, **anew)
    services.library.announce(caller.tenant_id, document_id)
    return JSONResponse(_shown(document), 202)


def _name(given: str | None) -> str:
    """Return the last part of a file's name.

    Raises:
        InvalidInput: There is none, it is too long, or it holds what no name holds.
    """
    name = PurePath((given or "").replace("\\", "/")).name
    if not name or len(name) > NAME_MAX or not name.isprintable():
        raise InvalidInput("file.filename", given, f"must be 1 to {NAME_MAX} printable characters")
    return name


def _shown(document: StoredDocument) -> dict[str, Any]:
    return {**asdict(document), "created_at": document.created_at.isoformat()}
