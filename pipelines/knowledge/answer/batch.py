"""Searches and asks a corpus as a whole, offline, with the code that serves; Parquet in and out."""

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.knowledge.answer.answer import weigh
from pipelines.knowledge.answer.collection import read_documents, read_queries
from pipelines.knowledge.records import Hit, Passage, Question
from pipelines.knowledge.search.arms import indexed_text
from pipelines.knowledge.search.encoder import Encoder
from pipelines.knowledge.search.index import Index

OWNER = 1  # the tenant of a corpus
BATCH = 512
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


def search_corpus(
    corpus: Path, queries: Path, encoder: Encoder, top: int, *, multilingual: bool, step: Step
) -> pa.Table:
    """Search a corpus for many queries.

    Args:
        corpus: Parquet with `doc_id`, `text`, and where it has them `title` and `lang`; rows that share a `doc_id` are
            parts of one document.
        queries: Parquet with `query_id`, `text`, and where it has it `lang`.
        encoder: Of passages and queries.
        top: Documents a query.
        multilingual: Whether the encoder reads Russian, too.
        step: Told what is done, how much of it, and of how much.

    Returns:
        `query_id, doc_id, rank, score`, best first.

    Raises:
        InvalidInput: A column is missing, or a row cannot be read as it stands.
    """
    rows: list[dict[str, Any]] = []
    for query_id, _, hits in _asked(Index.ranked, corpus, queries, encoder, top, multilingual, step):
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
        `text[start:end] == quote` in the row of the document; also those of a refusal, which says `abstained`.

    Raises:
        InvalidInput: A column is missing, or a row cannot be read as it stands.
    """
    rows: list[dict[str, Any]] = []
    for query_id, question, hits in _asked(Index.search, corpus, queries, encoder, QUOTED, multilingual, step):
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
    search: Callable[[Index, int, Question, int], list[Hit]],
    corpus: Path,
    queries: Path,
    encoder: Encoder,
    limit: int,
    multilingual: bool,
    step: Step,
) -> Iterator[tuple[str, Question, list[Hit]]]:
    asked, passages = read_queries(queries), read_documents(corpus)
    with TemporaryDirectory(prefix="hdx-corpus-") as folder:
        index = Index.open(Path(folder), multilingual)
        _fill(index, passages, encoder, step)
        vectors = encoder.encode([row["text"] for row in asked])
        for number, (row, vector) in enumerate(zip(asked, vectors, strict=True)):
            step("search", number, len(asked))
            question = Question(row["text"], row["lang"], limit, vector.astype(np.float64))
            yield row["query_id"], question, search(index, OWNER, question, limit)
        step("search", len(asked), len(asked))


def _fill(index: Index, passages: list[Passage], encoder: Encoder, step: Step) -> None:
    for start in range(0, len(passages), BATCH):
        step("index", start, len(passages))
        batch = passages[start : start + BATCH]
        index.add(OWNER, batch, encoder.encode([indexed_text(passage) for passage in batch]), "", encoder.made)
    index.optimise(OWNER)
    step("index", len(passages), len(passages))
