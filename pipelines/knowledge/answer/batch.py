"""Searches and asks a corpus as a whole, offline, with the code that serves; Parquet in and out."""

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.errors import InvalidInput
from pipelines.knowledge.answer.answer import weigh
from pipelines.knowledge.records import Hit, Passage, Question
from pipelines.knowledge.search.encoder import Encoder
from pipelines.knowledge.search.index import Index, indexed_text, needs_vector
from pipelines.knowledge.search.text import language_of

OWNER = 1  # the tenant of a corpus
BATCH = 512
# Characters from which a document is cut before it is searched. Source: SciFact's abstracts, whole, nDCG@10 .723.
WHOLE = 4_000
# Passages that an answer is chosen from. Source: XQuAD, as `answer`.
QUOTED = 5

SEARCHED = pa.schema(
    [("query_id", pa.string()), ("doc_id", pa.string()), ("rank", pa.int64()), ("score", pa.float64())]
)
ANSWERED = pa.schema(
    [
        *(("query_id", pa.string()), ("doc_id", pa.string()), ("start", pa.int64()), ("end", pa.int64())),
        *(("quote", pa.string()), ("rank", pa.int64()), ("confidence", pa.float64()), ("abstained", pa.bool_())),
    ]
)

Step = Callable[[str, int, int], None]
_Row = dict[str, Any]


def search_corpus(
    corpus: Path, queries: Path, encoder: Encoder, top: int, *, multilingual: bool, step: Step
) -> pa.Table:
    """Search a corpus for many queries.

    Args:
        corpus: Parquet with `doc_id`, `text`, and where it has them `title` and `lang`.
        queries: Parquet with `query_id`, `text`, and where it has it `lang`.
        encoder: Of passages and queries.
        top: Documents a query.
        multilingual: Whether the encoder reads Russian, too.
        step: Told what is done, how much of it, and of how much.

    Returns:
        `query_id, doc_id, rank, score`, best first.

    Raises:
        InvalidInput: A column is missing.
    """
    rows: list[_Row] = []
    for query_id, _, hits in _asked(corpus, queries, encoder, top, multilingual, step):
        best: dict[str, float] = {}
        for hit in hits:
            best.setdefault(hit.passage.document_id, hit.score)
        rows += [
            {"query_id": query_id, "doc_id": key, "rank": rank, "score": score}
            for rank, (key, score) in enumerate(list(best.items())[:top], 1)
        ]
    return pa.Table.from_pylist(rows, SEARCHED)


def answer_corpus(corpus: Path, queries: Path, encoder: Encoder, *, multilingual: bool, step: Step) -> pa.Table:
    """Answer many questions from a corpus with quoted sentences.

    Args:
        corpus: As for `search_corpus`.
        queries: The same.
        encoder: Of passages and queries.
        multilingual: Whether the encoder reads Russian, too.
        step: Told what is done, how much of it, and of how much.

    Returns:
        `query_id, doc_id, start, end, quote, rank, confidence, abstained`: the likeliest sentences, best first, with
        `text[start:end] == quote` in the document; also those of a refusal, which says `abstained`.

    Raises:
        InvalidInput: A column is missing.
    """
    rows: list[_Row] = []
    for query_id, question, hits in _asked(corpus, queries, encoder, QUOTED, multilingual, step):
        evidence, enough, sentences = weigh(question, hits)
        for rank, sentence in enumerate(sentences[:QUOTED], 1):
            passage = sentence.hit.passage
            rows.append(
                {
                    "query_id": query_id,
                    "doc_id": passage.document_id,
                    "start": passage.start + sentence.start,
                    "end": passage.start + sentence.end,
                    "quote": sentence.text,
                    "rank": rank,
                    "confidence": evidence,
                    "abstained": not enough,
                }
            )
        if not sentences:
            nothing = {"doc_id": "", "start": 0, "end": 0, "quote": "", "rank": 1, "confidence": evidence}
            rows.append({"query_id": query_id, **nothing, "abstained": True})
    return pa.Table.from_pylist(rows, ANSWERED)


def _asked(
    corpus: Path, queries: Path, encoder: Encoder, limit: int, multilingual: bool, step: Step
) -> Iterator[tuple[str, Question, list[Hit]]]:
    asked = _read(queries, "queries", "query_id")
    with TemporaryDirectory(prefix="hdx-corpus-") as folder:
        index = Index.open(Path(folder), multilingual)
        _fill(index, _read(corpus, "corpus", "doc_id"), encoder, step)
        vectors = encoder.encode([row["text"] for row in asked])
        for number, (row, vector) in enumerate(zip(asked, vectors, strict=True)):
            step("search", number, len(asked))
            language = row.get("lang") or language_of(row["text"])
            question = Question(row["text"], language, limit, vector.astype(np.float64))
            yield str(row["query_id"]), question, index.search(OWNER, question, limit)
        step("search", len(asked), len(asked))


def _read(path: Path, field: str, key: str) -> list[_Row]:
    table = pq.read_table(path)
    if missing := {key, "text"} - set(table.column_names):
        raise InvalidInput(
            field, path.name, f"must have the columns {key} and text; lacks {', '.join(sorted(missing))}"
        )
    read = [name for name in (key, "title", "text", "lang") if name in table.column_names]
    rows: list[_Row] = table.select(read).to_pylist()
    return rows


def _fill(index: Index, documents: list[_Row], encoder: Encoder, step: Step) -> None:
    passages = [passage for row in documents for passage in _cut(row)]
    for start in range(0, len(passages), BATCH):
        step("index", start, len(passages))
        batch = passages[start : start + BATCH]
        for language in ("en", "ru"):
            part = [passage for passage in batch if passage.language == language]
            wanted = part and needs_vector(part[0].language, index.multilingual)
            vectors = encoder.encode([indexed_text(passage) for passage in part]) if wanted else None
            index.add(OWNER, part, vectors, "", encoder.made)
    index.optimise(OWNER)
    step("index", len(passages), len(passages))


def _cut(row: _Row) -> Iterator[Passage]:
    """Return a document as one passage, a long one as several."""
    from semantic_text_splitter import TextSplitter

    key, text, title = str(row["doc_id"]), row["text"] or "", row.get("title") or ""
    language = row.get("lang") or language_of(text)
    parts = [(0, text)] if len(text) <= WHOLE else TextSplitter(WHOLE).chunk_indices(text)
    for start, part in parts:
        yield Passage(f"{key}:{start}", key, title, language, 1, start, start + len(part), "", part)
