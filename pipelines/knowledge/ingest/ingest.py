"""Reads files, cuts, encodes and indexes them; twice changes nothing, and one broken file harms no other."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from pipelines.errors import InvalidInput
from pipelines.knowledge.ingest.document_reader import Bounds, prepare_apart
from pipelines.knowledge.ingest.documents import document_key, name_key, read_document
from pipelines.knowledge.ingest.passages import passages
from pipelines.knowledge.records import Document, Passage
from pipelines.knowledge.search.arms import indexed_text
from pipelines.knowledge.search.encoder import Encoder
from pipelines.knowledge.search.index import Index, IndexedDocument

ARTICLES = Path(__file__).parents[1] / "articles"

Progress = Callable[[int, int, str], None]
Outcome = Literal["added", "replaced", "unchanged"]


@dataclass(frozen=True, slots=True)
class Ingested:
    """What became of one document."""

    document: IndexedDocument
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What became of many files, by name.

    Attributes:
        removed: Ids of documents whose file is gone.
        failed: Reason by name of each file that could not be read.
        passages: How many were written.
    """

    added: tuple[str, ...]
    replaced: tuple[str, ...]
    unchanged: tuple[str, ...]
    removed: tuple[str, ...]
    failed: Mapping[str, str]
    passages: int


def articles() -> list[Path]:
    """Return the files of the built-in knowledge, in every language."""
    return sorted(ARTICLES.glob("*/*.md"))


@cache
def built_in_pages() -> Mapping[str, Sequence[str]]:
    """Return the text of each page of the built-in knowledge, by document id."""
    read = [read_document(document_name(path), path.read_bytes()) for path in articles()]
    return {document.document_id: [page.text for page in document.pages] for document in read}


def document_name(path: Path, folder: Path | None = None) -> str:
    """Name a file by its place below a folder and that folder's own name; without one by the folder it lies in.

    So it is the same document wherever its tree is copied to, and no two files of a tree have one name.
    """
    above = path.parent if folder is None else folder
    return f"{above.resolve().name}/{path.relative_to(above).as_posix()}"


def drop_short_named(index: Index, tenant_id: int, files: Iterable[Path], folder: Path) -> None:
    """Remove what stands in the index twice: under the name that a file below `folder` has, and under its short one.

    Once all files were named by their own folder alone. One whose content differs is another file's, and stays.
    """
    known = {(name_key(found.document_id), found.sha256): found.document_id for found in index.documents(tenant_id)}
    for path in files:
        short, own = (name_key(document_key(document_name(path, above), "")) for above in (None, folder))
        twice = [known.get((short, sha256)) for name, sha256 in known if name == own != short]
        for document_id in filter(None, twice):
            index.remove(tenant_id, document_id)


def ingest(
    files: Iterable[Path],
    index: Index,
    encoder: Encoder,
    tenant_id: int,
    progress: Progress | None = None,
    *,
    folder: Path | None = None,
    drop_missing: bool = False,
    bounds: Bounds | None = None,
) -> IngestReport:
    """Bring a tenant's part of the index in line with files.

    Args:
        files: Files of the types that `read_document` reads.
        index: Written to by this process alone.
        encoder: Of the passages.
        tenant_id: Whose documents they are.
        progress: Called before each file with its number from 0, the number of files and its name.
        folder: What names are counted from, as in `document_name`.
        drop_missing: Also remove the tenant's documents that are none of the files.
        bounds: Of the process that reads a file; without them this one reads files that are known to be good.
    """
    paths = list(files)
    outcomes: dict[Outcome, list[str]] = {"added": [], "replaced": [], "unchanged": []}
    failed: dict[str, str] = {}
    kept: set[str] = set()
    written = 0
    for number, path in enumerate(paths):
        name = document_name(path, folder)
        if progress:
            progress(number, len(paths), name)
        try:
            done = ingest_document(name, path.read_bytes(), index, encoder, tenant_id, bounds)
        except InvalidInput as error:
            failed[name] = error.rule
            continue
        except OSError as error:
            failed[name] = error.strerror or "cannot be read"
            continue
        outcomes[done.outcome].append(name)
        kept.add(done.document.document_id)
        written += 0 if done.outcome == "unchanged" else done.document.passages
    # A file that could not be read is not gone: what it last said stays.
    removed = _dropped(index, tenant_id, kept) if drop_missing and not failed else ()
    if written or removed:
        index.optimise(tenant_id)
    added, replaced, unchanged = (tuple(outcomes[key]) for key in ("added", "replaced", "unchanged"))
    return IngestReport(added, replaced, unchanged, removed, failed, written)


def ingest_document(
    name: str, content: bytes, index: Index, encoder: Encoder, tenant_id: int, bounds: Bounds | None = None
) -> Ingested:
    """Write one document; the one that had its name before is replaced, an equal one left as it is.

    Raises:
        InvalidInput: The content cannot be read.
    """
    document_id = document_key(name, hashlib.sha256(content).hexdigest())
    namesakes = [known for known in index.documents(tenant_id) if name_key(known.document_id) == name_key(document_id)]
    for known in namesakes:
        if known.document_id == document_id:
            return Ingested(known, "unchanged")
    document, found = prepare_apart(name, content, bounds) if bounds else prepare(name, content)
    vectors = encoder.encode([indexed_text(passage) for passage in found])
    index.add(tenant_id, found, vectors, document.sha256, encoder.made)
    for known in namesakes:
        index.remove(tenant_id, known.document_id)
    return Ingested(summary(document, found), "replaced" if namesakes else "added")


def prepare(name: str, content: bytes) -> tuple[Document, list[Passage]]:
    """Read a file and cut it.

    Raises:
        InvalidInput: It cannot be read, holds no sentence, or too many.
    """
    document = read_document(name, content)
    found = passages(document)
    if not found:
        raise InvalidInput("document.content", name, "must hold at least one sentence beside headings and references")
    return document, found


def summary(document: Document, found: Sequence[Passage]) -> IndexedDocument:
    """Return a document as the index will know it."""
    flagged = sum(bool(passage.flag) for passage in found)
    return IndexedDocument(
        document.document_id, document.title, document.language, document.sha256, len(found), flagged
    )


def renew(index: Index, encoder: Encoder) -> int:
    """Make anew what another encoder made, for all tenants; return how many passages that were."""
    return sum(index.renew(tenant_id, encoder.made, encoder.encode) for tenant_id in index.tenants())


def _dropped(index: Index, tenant_id: int, kept: set[str]) -> tuple[str, ...]:
    gone = [known.document_id for known in index.documents(tenant_id) if known.document_id not in kept]
    for document_id in gone:
        index.remove(tenant_id, document_id)
    return tuple(gone)
