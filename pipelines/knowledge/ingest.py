"""Before the ask path: files are read, cut, encoded and written to the index.

Exists so that running it twice changes nothing, and one broken file harms no other.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipelines.errors import InvalidInput
from pipelines.knowledge.documents import name_key, read_document
from pipelines.knowledge.encoder import Encoder
from pipelines.knowledge.index import Index, IndexedDocument, indexed_text, needs_vector
from pipelines.knowledge.passages import passages

ARTICLES = Path(__file__).parent / "articles"

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


def document_name(path: Path) -> str:
    """Name a file by itself and its folder, so that it is the same document wherever its tree is copied to."""
    return f"{path.resolve().parent.name}/{path.name}"


def ingest(
    files: Iterable[Path],
    index: Index,
    encoder: Encoder,
    tenant_id: int,
    progress: Progress | None = None,
    *,
    drop_missing: bool = False,
) -> IngestReport:
    """Bring a tenant's part of the index in line with files.

    Args:
        files: Files of the types that `read_document` reads.
        index: Written to by this process alone.
        encoder: Used for the languages that the index searches by vector.
        tenant_id: Whose documents they are.
        progress: Called before each file with its number from 0, the number of files and its name.
        drop_missing: Also remove the tenant's documents that are none of the files.
    """
    paths = list(files)
    outcomes: dict[Outcome, list[str]] = {"added": [], "replaced": [], "unchanged": []}
    failed: dict[str, str] = {}
    kept: set[str] = set()
    written = 0
    for number, path in enumerate(paths):
        name = document_name(path)
        if progress:
            progress(number, len(paths), name)
        try:
            done = ingest_document(name, path.read_bytes(), index, encoder, tenant_id)
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


def ingest_document(name: str, content: bytes, index: Index, encoder: Encoder, tenant_id: int) -> Ingested:
    """Write one document; the one that had its name before is replaced, an equal one left as it is.

    Raises:
        InvalidInput: The content cannot be read.
    """
    document = read_document(name, content)
    namesakes = [
        known for known in index.documents(tenant_id) if name_key(known.document_id) == name_key(document.document_id)
    ]
    for known in namesakes:
        if known.document_id == document.document_id:
            return Ingested(known, "unchanged")
    found = passages(document)
    if not found:
        raise InvalidInput("document.content", name, "must hold at least one sentence beside headings and references")
    encoded = needs_vector(document.language, index.multilingual)
    vectors = encoder.encode([indexed_text(passage) for passage in found]) if encoded else None
    index.add(tenant_id, found, vectors, document.sha256, encoder.name)
    for known in namesakes:
        index.remove(tenant_id, known.document_id)
    fresh = IndexedDocument(document.document_id, document.title, document.language, document.sha256, len(found))
    return Ingested(fresh, "replaced" if namesakes else "added")


def refresh_vectors(index: Index, encoder: Encoder) -> int:
    """Encode anew what another encoder encoded, for all tenants; return how many passages that were."""
    refreshed = 0
    for tenant_id in index.tenants():
        stale = index.stale(tenant_id, encoder.name)
        by_file: dict[str, list[int]] = {}
        for number, (_, sha256) in enumerate(stale):
            by_file.setdefault(sha256, []).append(number)
        for sha256, numbers in by_file.items():
            found = [stale[number][0] for number in numbers]
            vectors = encoder.encode([indexed_text(passage) for passage in found])
            index.add(tenant_id, found, vectors, sha256, encoder.name)
        refreshed += len(stale)
        if stale:
            index.optimise(tenant_id)
    return refreshed


def _dropped(index: Index, tenant_id: int, kept: set[str]) -> tuple[str, ...]:
    gone = [known.document_id for known in index.documents(tenant_id) if known.document_id not in kept]
    for document_id in gone:
        index.remove(tenant_id, document_id)
    return tuple(gone)
