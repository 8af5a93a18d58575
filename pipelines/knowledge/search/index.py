"""Stores and searches passages in LanceDB, one table a tenant; a search reads the caller's and the built-in one."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self, cast

from pipelines.knowledge.records import Found, Hit, Language, Made, Passage, Question
from pipelines.knowledge.search.arms import (
    by_concepts,
    by_name,
    by_vector,
    by_words,
    first_lines,
    indexed_text,
    passage_of,
)
from pipelines.knowledge.search.cross_lingual import neutral
from pipelines.knowledge.search.encoder import Vectors
from pipelines.knowledge.search.identifiers import marks, name_of, opening
from pipelines.knowledge.search.ranking import (
    POOL,
    SHARED_SHARE,
    VECTOR_SHARE,
    Rows,
    by_title,
    fused,
    ordered,
)
from pipelines.knowledge.search.tables import KEPT, PASSAGE_FIELDS, SHARED, STEMMERS, VECTOR, Generation, Tables
from pipelines.knowledge.search.text import asks_for_remedy

BUILT_IN = 0  # the tenant id of the knowledge that everyone may read

# Passages that each arm of a search finds at least before the two are fused.
# Source: SciFact, train claims: nDCG@10 .740 with 50 an arm, .741 with 100; 100 take a quarter more time.
DEPTH = 50

# What passages of the question's own language must hold of it, or those of the other language are searched, too.
# Source: the refusal thresholds of `answer`: below it the answer would be a refusal.
OWN_LANGUAGE = 0.5

# How much more a score counts in the other language, where less of a question can be found again.
# Source: half of XQuAD's paragraphs, Russian questions over both languages, nDCG@10 with 1, 1.25, 1.5, 1.75: .71, .83,
# .89, .93 where the right paragraph is there in English alone, .98, .98, .96, .92 where it is in Russian alone.
ACROSS = 1.4

# Passages from which vectors are searched through an index, and (`arms.REFINE`) how many times the hits are compared.
# Source: an exact scan of 384 dims takes 11 ms at 10,000 rows and 110 ms at 100,000 on one core; of 20,000 clustered
# vectors the scalar-quantised index finds 1.00 of the exact ten nearest with 4, .98 without.
SCANNED = 20_000
BATCH = 1_000  # passages that are read, encoded and written at once when a table is made anew


@dataclass(frozen=True, slots=True)
class IndexedDocument:
    """A document as the index knows it.

    Attributes:
        sha256: Of the file it came from.
        passages: How many it was cut into.
        flagged: How many of them give orders, and are never found.
    """

    document_id: str
    title: str
    language: Language
    sha256: str
    passages: int
    flagged: int


Encode = Callable[[Sequence[str]], Vectors]


def compared_by(language: Language, made: Made, multilingual: bool) -> str | None:
    """Return the column by which texts of one language are compared; None where words alone do."""
    if language == "en" or (multilingual and not made.shared):
        return VECTOR
    return SHARED if made.shared else None


def meeting_in(made: Made, multilingual: bool) -> str | None:
    """Return the column in which the languages meet; None where there is none."""
    return SHARED if made.shared else VECTOR if multilingual else None


class Index:
    """All tenants' passages in one folder; one process writes at a time, any number reads."""

    def __init__(self, tables: Tables, multilingual: bool) -> None:
        self._tables = tables
        self.multilingual = multilingual

    @classmethod
    def open(cls, folder: Path, multilingual: bool) -> Self:
        """Open the index in a folder, made when absent.

        Args:
            folder: Where the tables lie.
            multilingual: Search Russian by vector too; only for an encoder that reads Russian.
        """
        return cls(Tables(folder), multilingual)

    def add(
        self, tenant_id: int, passages: Sequence[Passage], vectors: Vectors | None, sha256: str, made: Made
    ) -> None:
        """Write passages; those with a known id are replaced.

        Args:
            tenant_id: Whose they are; `BUILT_IN` for everyone's.
            passages: All of one document.
            vectors: One a passage, both parts of it; None where words alone are searched.
            sha256: Of the document's file.
            made: The encoder of all vectors of this tenant.

        Raises:
            InvalidInput: The tenant's vectors are another encoder's; `renew` comes first.
        """
        if passages:
            made = self._own(made)
            with self._tables.writing():
                table = self._tables.writable(tenant_id, made)
                _write(table, passages, self._columns(passages, vectors, made), [sha256] * len(passages))

    def remove(self, tenant_id: int, document_id: str) -> int:
        """Remove a document; return how many passages it had."""
        from lancedb import col, lit

        with self._tables.writing():
            found = self._tables.current(tenant_id, fresh=True)
            if found is None:
                return 0
            return int(found.table.delete(col("document_id") == lit(document_id)).num_deleted_rows)

    def renew(self, tenant_id: int, made: Made, encode: "Encode") -> int:
        """Make a tenant's table anew where another encoder made it, and swap it in; return how many passages that were.

        Until then readers read the old one; killed on the way, it is begun again.

        Args:
            tenant_id: Whose table.
            made: The encoder to be.
            encode: Makes the vectors of texts.
        """
        made = self._own(made)
        with self._tables.writing():
            old = self._tables.current(tenant_id, fresh=True)
            if old is None or old.made == made:
                return 0
            table, moved = self._tables.create(tenant_id, made), 0
            for batch in old.table.search().select([*PASSAGE_FIELDS, "sha256"]).to_batches(BATCH):
                rows = batch.to_pylist()
                passages = [passage_of(row) for row in rows]
                vectors = encode([indexed_text(passage) for passage in passages])
                _write(table, passages, self._columns(passages, vectors, made), [row["sha256"] for row in rows])
                moved += len(rows)
            _optimise(table)
            self._tables.publish(tenant_id, table, made)
            return moved

    def documents(self, tenant_id: int) -> list[IndexedDocument]:
        """List a tenant's documents by id."""
        rows = self._rows(tenant_id, ["document_id", "title", "language", "sha256", "flag"])
        counted: Counter[tuple[str, Any, Any, Any]] = Counter()
        flagged: Counter[str] = Counter()
        for row in rows:
            counted[row["document_id"], row["title"], row["language"], row["sha256"]] += 1
            flagged[row["document_id"]] += bool(row["flag"])
        return [IndexedDocument(*known, count, flagged[known[0]]) for known, count in sorted(counted.items())]

    def passages(self, tenant_id: int, document_id: str) -> list[Passage]:
        """Return a document's passages in reading order; none where the tenant has no such document."""
        from lancedb import col, lit

        return self._passages(tenant_id, document_id, col("flag") == lit(""))

    def flagged(self, tenant_id: int, document_id: str) -> list[Passage]:
        """Return those of a document's passages that give orders, in reading order; `flag` says what each attempts."""
        from lancedb import col, lit

        return self._passages(tenant_id, document_id, col("flag") != lit(""))

    def count(self, tenant_id: int) -> int:
        """Return how many passages a tenant has."""
        found = self._tables.current(tenant_id)
        return int(found.table.count_rows()) if found else 0

    def tenants(self) -> list[int]:
        """List the tenants that have a table."""
        return self._tables.tenants()

    def optimise(self, tenant_id: int) -> None:
        """Fold new rows into the indexes and drop old versions; for after many writes."""
        with self._tables.writing():
            found = self._tables.current(tenant_id, fresh=True)
            if found is not None:
                _optimise(found.table)
            self._tables.sweep()

    def find(self, tenant_id: int, question: Question) -> Found:
        """Search, and where a remedy is asked for also return the document that the best hit stands in."""
        hits = self.search(tenant_id, question)
        if not hits or not asks_for_remedy(question.text, question.language):
            return Found(tuple(hits))
        document_id = hits[0].passage.document_id
        manual = self.passages(tenant_id, document_id) or self.passages(BUILT_IN, document_id)
        return Found(tuple(hits), tuple(manual))

    def search(self, tenant_id: int, question: Question, depth: int = POOL) -> list[Hit]:
        """Find what may answer: where the question names something, passages that name it go first, then the rest.

        With them come the first lines of their documents, which may say what all of it is about.

        Args:
            tenant_id: As for `ranked`.
            question: The same.
            depth: The same.
        """
        found = self.ranked(tenant_id, question, depth)
        marked = marks(question.text, question.language) or marks(question.context, question.language)
        if not marked:
            return found
        read, keys, most = self._read(tenant_id), _keys_of(question, marked), max(depth, question.limit)
        named = [hit for known in read for hit in by_name(known.table, question, marked, keys, most)]
        both = list({hit.passage.passage_id: hit for hit in (*named, *found)}.values())
        return [*both, *(hit for known in read for hit in first_lines(known.table, both))]

    def ranked(self, tenant_id: int, question: Question, depth: int = POOL) -> list[Hit]:
        """Find passages of the tenant and of the built-in knowledge, best first.

        By words and by vector, Russian by words alone where the encoder reads English only. Where the question's
        language holds too little of it, passages of the other one follow, found by concepts, sounds and vector.

        Args:
            tenant_id: Whose passages are searched beside the built-in ones.
            question: With its vector, or searched by words alone.
            depth: Most hits, or the question's limit, whichever is more; who answers shows `limit` of them.

        Source: XQuAD: with an English-only encoder hybrid search takes Russian nDCG@10 from .955 to .576.
        """
        read, keys, most = self._read(tenant_id), _keys_of(question), max(depth, question.limit)
        least = max(DEPTH, most)
        lexical: Rows = {}
        dense: Rows = {}
        share = SHARED_SHARE
        for known in read:
            lexical |= by_words(known.table, question, least)
            column = compared_by(question.language, known.made, self.multilingual)
            share = VECTOR_SHARE if column == VECTOR else share
            dense |= self._dense(known, question, column, question.language, least)
        hits = ordered(fused(lexical, dense, share), keys, most)
        if not hits or hits[0].score < OWN_LANGUAGE:
            weighed = [(hit.score, hit) for hit in hits]
            weighed += [(ACROSS * hit.score, hit) for hit in self._foreign(read, question, keys, least)[:most]]
            hits = [hit for _, hit in sorted(weighed, key=lambda pair: -pair[0])]
        return (by_title(hits, question) if asks_for_remedy(question.text, question.language) else hits)[:most]

    def _read(self, tenant_id: int) -> list[Generation]:
        return [known for key in dict.fromkeys((tenant_id, BUILT_IN)) if (known := self._tables.current(key))]

    def nearest(self, tenant_id: int, question: Question, count: int) -> list[str]:
        """Return the ids of the tenant's passages whose vectors are nearest to the question's, nearest first."""
        known = self._tables.current(tenant_id)
        if known is None or question.vector is None:
            return []
        column = compared_by(question.language, known.made, self.multilingual)
        found = self._dense(known, question, column, question.language, max(DEPTH, count))
        return sorted(found, key=lambda key: -found[key].score)[:count]

    def _foreign(self, read: Sequence[Generation], question: Question, keys: frozenset[str], least: int) -> list[Hit]:
        """Find passages of the other language by what both have in common."""
        other: Language = "ru" if question.language == "en" else "en"
        common: Rows = {}
        dense: Rows = {}
        for known in read:
            common |= by_concepts(known.table, question.language, keys, least)
            dense |= self._dense(known, question, meeting_in(known.made, self.multilingual), other, least)
        return ordered(fused(common, dense, SHARED_SHARE), keys, least)

    def _dense(self, known: Generation, question: Question, column: str | None, language: Language, least: int) -> Rows:
        """Search a language's passages by the vectors of a column; nothing where they are another encoder's."""
        comparable = question.made is None or self._own(question.made) == known.made
        if question.vector is None or column is None or not comparable:
            return {}
        part = question.vector[known.made.dims :] if column == SHARED else question.vector[: known.made.dims]
        mixed = column == SHARED or self.multilingual
        return by_vector(known.table, part, column, language if mixed else None, least) if part.any() else {}

    def _columns(self, passages: Sequence[Passage], vectors: Vectors | None, made: Made) -> list[dict[str, Any]]:
        """Return by passage what its columns of vectors hold: null where its language is not compared by them."""
        if vectors is None:
            return [{} for _ in passages]
        parts = {VECTOR: vectors[:, : made.dims], SHARED: vectors[:, made.dims :]}
        used = {
            language: {compared_by(language, made, self.multilingual), meeting_in(made, self.multilingual)}
            for language in STEMMERS
        }
        return [
            {
                column: part[place].tolist()
                for column, part in parts.items()
                if column in used[passage.language] and part[place].any()
            }
            for place, passage in enumerate(passages)
        ]

    def _own(self, made: Made) -> Made:
        """Tell tables apart by which languages have vectors, too."""
        return replace(made, encoder=f"{made.encoder}+ru") if self.multilingual else made

    def _passages(self, tenant_id: int, document_id: str, which: Any) -> list[Passage]:
        from lancedb import col, lit

        rows = self._rows(tenant_id, PASSAGE_FIELDS, (col("document_id") == lit(document_id)) & which)
        return sorted((Passage(**row) for row in rows), key=lambda passage: (passage.page, passage.start))

    def _rows(self, tenant_id: int, columns: list[str], where: Any = None) -> list[dict[str, Any]]:
        found = self._tables.current(tenant_id)
        if found is None:
            return []
        query = found.table.search().select(columns)
        return cast("list[dict[str, Any]]", (query.where(where) if where is not None else query).to_list())


def _write(table: Any, passages: Sequence[Passage], vectors: Sequence[dict[str, Any]], sha256: Sequence[str]) -> None:
    """Write rows; of a passage that gives orders nothing is searchable, so that no question finds it."""
    import pyarrow as pa

    if not passages:
        return
    rows = []
    opened = {each.document_id: marks(opening(each), each.language) for each in reversed(passages)}
    for number, passage in enumerate(passages):
        text = None if passage.flag else indexed_text(passage)
        rows.append(
            asdict(passage)
            | {f"text_{language}": text if passage.language == language else None for language in STEMMERS}
            | {"keys": None if text is None else _keys(passage, text, opened), "sha256": sha256[number]}
            | ({} if text is None else vectors[number])
        )
    upsert = table.merge_insert("passage_id").when_matched_update_all().when_not_matched_insert_all()
    # A null vector is meant: the row is found by its words.
    upsert.execute(pa.Table.from_pylist(rows, schema=table.schema), on_bad_vectors="null")


def _keys(passage: Passage, text: str, opened: Mapping[str, list[str]]) -> str:
    """Return the words by which a passage is found beside its own: concepts, sounds, and whose machine it speaks of."""
    named = [*marks(text, passage.language), *marks(name_of(passage.document_id), passage.language)]
    return " ".join(dict.fromkeys([neutral(text, passage.language), *named, *opened[passage.document_id]]))


def _optimise(table: Any) -> None:
    from lancedb.index import IvfSq

    indexed = {column for known in table.list_indices() for column in known.columns}
    for column in {VECTOR, SHARED}.intersection(table.schema.names) - indexed:
        if table.count_rows(f"{column} is not null") >= SCANNED:
            table.create_index(column, config=IvfSq(distance_type="cosine"))
    table.optimize(cleanup_older_than=KEPT)


def _keys_of(question: Question, marked: Sequence[str] = ()) -> frozenset[str]:
    return frozenset([*neutral(question.text, question.language).split(), *marked])
