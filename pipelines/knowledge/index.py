"""Middle of the ask path: passages stored and searched in LanceDB, one table a tenant.

Exists so that a tenant finds its own passages and the built-in ones, and can never name another's.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np

from pipelines.errors import InvalidInput
from pipelines.knowledge.encoder import Vectors
from pipelines.knowledge.records import Hit, Language, Passage, Question
from pipelines.knowledge.words import coverage, expanded, stems, topics
from pipelines.signals.windows import Floats

if TYPE_CHECKING:
    import pyarrow as pa

BUILT_IN = 0  # the tenant id of the knowledge that everyone may read

STEMMERS: Mapping[Language, str] = {"en": "English", "ru": "Russian"}
PASSAGE_FIELDS = [field.name for field in fields(Passage)]

# Passages that each arm of a search finds before the two are fused.
# Source: SciFact, 300 test claims: nDCG@10 .716 with 100 an arm, .712 with 10.
DEPTH = 100

# Share of the vector arm in a hybrid score.
# Source: tuned on SciFact's train claims; nDCG@10 on 150 test claims .722 (reciprocal ranks .707), XQuAD .979 (.970).
VECTOR_SHARE = 0.45

# Passages returned at least: the answer weighs words over more passages than it shows as sources.
POOL = 20

# Passages from which vectors are searched through an index, and how many times the hits asked for are compared exactly.
# Source: an exact scan of 384 dims takes 11 ms at 10,000 rows and 110 ms at 100,000 on one core; of 20,000 clustered
# vectors the scalar-quantised index finds 1.00 of the exact ten nearest with 4, .98 without.
SCANNED = 50_000
REFINE = 4

# Another process's write is seen after this time at the latest; without it a reader never sees it.
CONSISTENCY = timedelta(seconds=1)
# Versions younger than this are kept at clean-up, for readers that still stand on them.
KEPT = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class IndexedDocument:
    """A document as the index knows it.

    Attributes:
        sha256: Of the file it came from.
        passages: How many it was cut into.
    """

    document_id: str
    title: str
    language: Language
    sha256: str
    passages: int


def indexed_text(passage: Passage) -> str:
    """Return what is searched for a passage: its text under its title and headings."""
    headings = [part for part in passage.heading.split(" > ") if part and part != passage.title]
    return "\n".join([" > ".join([passage.title, *headings]), passage.text])


def needs_vector(language: Language, multilingual: bool) -> bool:
    """Tell whether passages of a language are searched by vector at all."""
    return multilingual or language == "en"


class Index:
    """All tenants' passages in one folder; one process writes, any number reads."""

    def __init__(self, database: Any, multilingual: bool) -> None:
        self._database = database
        self._tables: dict[int, Any] = {}
        self.multilingual = multilingual

    @classmethod
    def open(cls, folder: Path, multilingual: bool) -> Self:
        """Open the index in a folder, made when absent.

        Args:
            folder: Where the tables lie.
            multilingual: Search Russian by vector too; only for an encoder that reads Russian.
        """
        import lancedb

        folder.mkdir(parents=True, exist_ok=True)
        return cls(lancedb.connect(folder, read_consistency_interval=CONSISTENCY), multilingual)

    def add(
        self, tenant_id: int, passages: Sequence[Passage], vectors: Vectors | None, sha256: str, encoder: str = ""
    ) -> None:
        """Write passages of one document; those with a known id are replaced.

        Args:
            tenant_id: Whose they are; `BUILT_IN` for everyone's.
            passages: All of one document.
            vectors: One a passage, or None where its language is searched by words alone.
            sha256: Of the document's file.
            encoder: Name of the encoder that made the vectors.
        """
        import pyarrow as pa

        if not passages:
            return
        table = self._writable(tenant_id, None if vectors is None else vectors.shape[1])
        rows = [
            asdict(passage)
            | {
                f"text_{language}": indexed_text(passage) if passage.language == language else None
                for language in STEMMERS
            }
            | {"sha256": sha256, "encoder": "" if vectors is None else encoder}
            | {"vector": None if vectors is None else vectors[number].tolist()}
            for number, passage in enumerate(passages)
        ]
        upsert = table.merge_insert("passage_id").when_matched_update_all().when_not_matched_insert_all()
        # A null vector is meant: the row is found by its words.
        upsert.execute(pa.Table.from_pylist(rows, schema=table.schema), on_bad_vectors="null")

    def remove(self, tenant_id: int, document_id: str) -> int:
        """Remove a document; return how many passages it had."""
        from lancedb import col, lit

        table = self._table(tenant_id)
        return int(table.delete(col("document_id") == lit(document_id)).num_deleted_rows) if table else 0

    def documents(self, tenant_id: int) -> list[IndexedDocument]:
        """List a tenant's documents by id."""
        rows = self._rows(tenant_id, ["document_id", "title", "language", "sha256"])
        counted = Counter((row["document_id"], row["title"], row["language"], row["sha256"]) for row in rows)
        return [IndexedDocument(*document, passages=count) for document, count in sorted(counted.items())]

    def passages(self, tenant_id: int, document_id: str) -> list[Passage]:
        """Return a document's passages in reading order; none where the tenant has no such document."""
        from lancedb import col, lit

        found = self._rows(tenant_id, PASSAGE_FIELDS, col("document_id") == lit(document_id))
        return sorted((Passage(**row) for row in found), key=lambda passage: (passage.page, passage.start))

    def count(self, tenant_id: int) -> int:
        """Return how many passages a tenant has."""
        table = self._table(tenant_id)
        return int(table.count_rows()) if table else 0

    def stale(self, tenant_id: int, encoder: str) -> list[tuple[Passage, str]]:
        """Return passages without a vector of this encoder that need one, each with its file's SHA-256."""
        rows = self._rows(tenant_id, [*PASSAGE_FIELDS, "sha256", "encoder"])
        return [
            (Passage(**{name: row[name] for name in PASSAGE_FIELDS}), row["sha256"])
            for row in rows
            if row["encoder"] != encoder and needs_vector(row["language"], self.multilingual)
        ]

    def tenants(self) -> list[int]:
        """List the tenants that have a table."""
        names = self._database.list_tables().tables
        return sorted(int(name.removeprefix("tenant_")) for name in names)

    def optimise(self, tenant_id: int) -> None:
        """Fold new rows into the indexes and drop old versions; for after many writes."""
        from lancedb.index import IvfSq

        table = self._table(tenant_id)
        if table is None:
            return
        indexed = any(known.columns == ["vector"] for known in table.list_indices())
        if not indexed and table.count_rows() >= SCANNED:
            table.create_index("vector", config=IvfSq(distance_type="cosine"))
        table.optimize(cleanup_older_than=KEPT)

    def search(self, tenant_id: int, question: Question) -> list[Hit]:
        """Find passages of the tenant and of the built-in knowledge, best first.

        English is searched by words and by vector, Russian by words alone unless the encoder is multilingual.
        Returns up to `POOL` hits or the question's limit, whichever is more; who answers shows `limit` of them.

        Source: XQuAD: with an English-only encoder hybrid search takes Russian nDCG@10 from .955 to .576.
        """
        tables = [table for key in dict.fromkeys((tenant_id, BUILT_IN)) if (table := self._table(key))]
        found = [_lexical(table, question) for table in tables]
        lexical = {passage: score for part in found for passage, score in part.items()}
        dense: dict[Passage, float] = {}
        if question.vector is not None and needs_vector(question.language, self.multilingual):
            for table in tables:
                dense |= _dense(table, question.vector)
            scores = _fused(lexical, dense)
        else:
            scores = lexical
        ranked = sorted(scores.items(), key=lambda pair: (-pair[1], pair[0].passage_id))
        return [Hit(passage, score) for passage, score in ranked[: max(question.limit, POOL)]]

    def _table(self, tenant_id: int) -> Any:
        """Return a tenant's table, or None while it has none."""
        if isinstance(tenant_id, bool) or not isinstance(tenant_id, int) or tenant_id < 0:
            raise InvalidInput("tenant_id", tenant_id, "must be a number from 0")
        if tenant_id not in self._tables:
            try:
                self._tables[tenant_id] = self._database.open_table(f"tenant_{tenant_id}")
            except ValueError:  # LanceDB's way to say that there is none
                return None
        return self._tables[tenant_id]

    def _writable(self, tenant_id: int, dims: int | None) -> Any:
        """Return a tenant's table with room for vectors of this length."""
        import pyarrow as pa

        table = self._table(tenant_id)
        if table is None:
            table = self._created(tenant_id, dims or 1)
        elif dims and table.schema.field("vector").type.list_size != dims:
            # Vectors of another encoder can not be compared with; they go, and words still find the rows.
            table.drop_columns(["vector"])
            table.add_columns(pa.field("vector", pa.list_(pa.float32(), dims)))
        return table

    def _created(self, tenant_id: int, dims: int) -> Any:
        from lancedb.index import FTS

        table = self._database.create_table(f"tenant_{tenant_id}", schema=_schema(dims), exist_ok=True)
        for language, stemmer in STEMMERS.items():
            # Folding to ASCII would make one letter of the Russian й and и.
            table.create_index(f"text_{language}", config=FTS(language=stemmer, stem=True, ascii_folding=False))
        self._tables[tenant_id] = table
        return table

    def _rows(self, tenant_id: int, columns: list[str], where: Any = None) -> list[dict[str, Any]]:
        table = self._table(tenant_id)
        if table is None:
            return []
        query = table.search().select(columns)
        return cast("list[dict[str, Any]]", (query.where(where) if where is not None else query).to_list())


def _schema(dims: int) -> "pa.Schema":
    import pyarrow as pa

    numbers = {"page", "start", "end"}
    columns = [pa.field(name, pa.int64() if name in numbers else pa.string()) for name in PASSAGE_FIELDS]
    columns += [pa.field(f"text_{language}", pa.string()) for language in STEMMERS]
    columns += [pa.field(name, pa.string()) for name in ("sha256", "encoder")]
    return pa.schema([*columns, pa.field("vector", pa.list_(pa.float32(), dims))])


def _lexical(table: Any, question: Question) -> dict[Passage, float]:
    """Search by words; the best hit's score is the share of the question's topics that it holds.

    A table's BM25 scores hang on its own word counts; the share brings two tables to one scale, in 0..1.
    """
    text = expanded(question.text, question.language)
    query = table.search(text, query_type="fts", fts_columns=f"text_{question.language}")
    rows = query.limit(DEPTH).select([*PASSAGE_FIELDS, "_score"]).to_list()
    if not rows:
        return {}
    found = {_passage(row): float(row["_score"]) for row in rows}
    best = max(found, key=lambda passage: found[passage])
    wanted = topics(question.text, question.language)
    present = set(stems(indexed_text(best), question.language))
    scale = coverage(wanted, present, dict.fromkeys(wanted, 1.0)) / max(found[best], 1e-9)
    return {passage: score * scale for passage, score in found.items()}


def _dense(table: Any, vector: Floats) -> dict[Passage, float]:
    """Search by vector; the score is the cosine, cut to 0..1."""
    if table.schema.field("vector").type.list_size != len(vector):
        return {}
    query = table.search(np.asarray(vector, np.float32), vector_column_name="vector").distance_type("cosine")
    rows = query.limit(DEPTH).refine_factor(REFINE).select([*PASSAGE_FIELDS, "_distance"]).to_list()
    return {_passage(row): min(1.0, max(0.0, 1.0 - float(row["_distance"]))) for row in rows}


def _passage(row: Mapping[str, Any]) -> Passage:
    return Passage(**{name: row[name] for name in PASSAGE_FIELDS})


def _fused(lexical: Mapping[Passage, float], dense: Mapping[Passage, float]) -> dict[Passage, float]:
    """Add the two arms; a passage that an arm did not find has that arm's lowest score."""
    missing = _lowest(lexical.values()), _lowest(dense.values())
    return {
        passage: (1 - VECTOR_SHARE) * lexical.get(passage, missing[0]) + VECTOR_SHARE * dense.get(passage, missing[1])
        for passage in {**lexical, **dense}
    }


def _lowest(scores: Iterable[float]) -> float:
    return min(scores, default=0.0)
