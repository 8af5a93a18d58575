"""Indexes many files at once by Ray Data with the functions that index one; one process writes."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.errors import InvalidInput
from pipelines.knowledge.ingest.document_reader import Bounds, prepare_apart
from pipelines.knowledge.ingest.documents import document_key, name_key
from pipelines.knowledge.ingest.ingest import IngestReport, document_name
from pipelines.knowledge.records import Made, Passage
from pipelines.knowledge.search.arms import indexed_text
from pipelines.knowledge.search.encoder import Encoder
from pipelines.knowledge.search.index import Index

# Passages that an actor encodes at once.
BATCH = 64

_Row = dict[str, Any]
Step = Callable[[str, int, int], None]


def index_many(
    files: Iterable[Path],
    index: Index,
    tenant_id: int,
    encoder: tuple[str, str],
    workers: int,
    bounds: Bounds,
    step: Step,
    *,
    folder: Path | None = None,
) -> IngestReport:
    """Bring files into a tenant's part of the index; what is there already is not read again.

    A document is written whole once all its passages have come, so that a run that was killed is simply run again.

    Args:
        files: Of the types that `read_document` reads.
        index: Written to by this process alone.
        tenant_id: Whose documents they are.
        encoder: Folder and device, as for `Encoder.load`.
        workers: Actors that encode.
        bounds: Of the process that reads a file.
        step: Told what is done, how many documents, and of how many.
        folder: What names are counted from, as in `document_name`.
    """
    import ray.data

    known = {document.document_id: document for document in index.documents(tenant_id)}
    fresh, unchanged, failed = _sorted_out(files, set(known), folder)
    outcomes: dict[str, list[str]] = {"added": [], "replaced": []}
    written = 0
    if fresh:
        rows = ray.data.from_items([{"path": str(path), "name": name} for name, path in fresh.items()])
        cut = rows.flat_map(partial(_cut, bounds=bounds))
        encoded = cut.map_batches(
            _Encode,
            fn_constructor_args=encoder,
            batch_size=BATCH,
            batch_format="pandas",
            concurrency=workers,
        )
        for number, (name, passages, vectors, row) in enumerate(_whole(encoded.iter_rows(), failed)):
            step(name, number, len(fresh))
            index.add(tenant_id, passages, vectors, row["sha256"], Made(**json.loads(row["made"])))
            own = passages[0].document_id
            old = [key for key in known if name_key(key) == name_key(own) and key != own]
            for key in old:
                index.remove(tenant_id, key)
            outcomes["replaced" if old else "added"].append(name)
            written += len(passages)
        index.optimise(tenant_id)
    step("indexed", len(fresh), len(fresh))
    return IngestReport(tuple(outcomes["added"]), tuple(outcomes["replaced"]), tuple(unchanged), (), failed, written)


def _sorted_out(
    files: Iterable[Path], known: set[str], folder: Path | None
) -> tuple[dict[str, Path], list[str], dict[str, str]]:
    """Return the files to be read, and the names of those that are known or cannot be read."""
    fresh: dict[str, Path] = {}
    unchanged: list[str] = []
    failed: dict[str, str] = {}
    for path in files:
        name = document_name(path, folder)
        try:
            with path.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            failed[name] = error.strerror or "cannot be read"
            continue
        if document_key(name, sha256) in known:
            unchanged.append(name)
        else:
            fresh[name] = path
    return fresh, unchanged, failed


def _cut(row: _Row, bounds: Bounds) -> list[_Row]:
    """Read a file into one row a passage; one that cannot be read into one row with the reason."""
    name = row["name"]
    try:
        document, passages = prepare_apart(name, Path(row["path"]).read_bytes(), bounds)
    except (InvalidInput, OSError) as error:
        reason = error.rule if isinstance(error, InvalidInput) else error.strerror or "cannot be read"
        return [{"name": name, "failed": reason, "count": 0, "sha256": "", "passage": None}]
    return [
        {"name": name, "failed": "", "count": len(passages), "sha256": document.sha256, "passage": passage}
        for passage in passages
    ]


class _Encode:
    """Adds vectors; the model is loaded once an actor."""

    def __init__(self, path: str, device: str) -> None:
        self._encoder = Encoder.load(path, device)

    def __call__(self, batch: Any) -> Any:
        wanted = [place for place, passage in enumerate(batch["passage"]) if passage is not None]
        vectors = self._encoder.encode([indexed_text(batch["passage"].iloc[place]) for place in wanted])
        found: list[Any] = [None] * len(batch)
        for place, vector in zip(wanted, vectors, strict=True):
            found[place] = vector
        return batch.assign(vector=found, made=json.dumps(asdict(self._encoder.made)))


def _whole(
    rows: Iterable[Mapping[str, Any]], failed: dict[str, str]
) -> Iterator[tuple[str, list[Passage], Any, Mapping[str, Any]]]:
    """Yield each document once its last passage has come; note those that could not be read."""
    waiting: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        if row["failed"]:
            failed[row["name"]] = row["failed"]
            continue
        parts = waiting.setdefault(row["name"], [])
        parts.append(row)
        if len(parts) == row["count"]:
            vectors = np.array([part["vector"] for part in parts], np.float32)
            yield row["name"], [part["passage"] for part in parts], vectors, row
            del waiting[row["name"]]
