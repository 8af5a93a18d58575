"""`make bench-retrieval`: every promised figure of search and answer beside what is measured now.

Figures are of queries that nothing was tuned on, except where the page says so; times are those of one core.
"""

import argparse
import math
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from benchmarks.identifiers import measured, shares
from benchmarks.manuals import REPORT
from benchmarks.speed import ROOT, markdown, put
from pipelines.diagnosis.calibration import auc
from pipelines.knowledge.answer.answer import extract
from pipelines.knowledge.answer.batch import answer_corpus, search_corpus
from pipelines.knowledge.answer.faults import faults
from pipelines.knowledge.ingest.ingest import articles, ingest
from pipelines.knowledge.records import Language, Made, Passage, Question
from pipelines.knowledge.search.encoder import Encoder, Vectors
from pipelines.knowledge.search.index import BUILT_IN, Index
from pipelines.knowledge.search.text import language_of

PAGE = ROOT / "docs" / "retrieval.md"
HEAD = ("figure", "demand", "measured", "")
LANGUAGES: tuple[Language, ...] = ("en", "ru")
# Made-up neighbours of real vectors: as far from them as real passages on one matter are from each other.
LARGE, NOISE, ASKED, NEAREST, ROUNDS = 100_000, 0.6, 200, 10, 3
FOLDS = 10  # of the paragraphs, each left out once
VOCABULARY = 4_000
QUIET: Callable[..., None] = lambda *_: None  # noqa: E731
Rows = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Figure:
    """One promised figure; `least` tells a lower bound from an upper one."""

    name: str
    demand: float
    measured: float
    least: bool = True

    @property
    def row(self) -> tuple[str, ...]:
        """As it is shown."""
        held = self.measured >= self.demand if self.least else self.measured <= self.demand
        bound = f"{'>=' if self.least else '<='} {self.demand:g}"
        return self.name, bound, f"{self.measured:.4g}", "ok" if held else "missed"


def gain(ranked: Sequence[str], wanted: set[str]) -> float:
    """Return nDCG@10 with binary gain."""
    found = sum(1 / math.log2(rank + 2) for rank, key in enumerate(ranked[:NEAREST]) if key in wanted)
    return found / sum(1 / math.log2(rank + 2) for rank in range(min(NEAREST, len(wanted))))


def mean_gain(runs: Mapping[str, Sequence[str]], wanted: Mapping[str, set[str]]) -> float:
    """Return the mean nDCG@10 over all queries, of which some may have found nothing."""
    return statistics.mean(gain(runs.get(key, ()), good) for key, good in wanted.items())


class Remembered(Encoder):
    """An encoder that encodes no text twice."""

    def __init__(self, encoder: Encoder) -> None:
        self.made = encoder.made
        self._encoder = encoder
        self._known: dict[str, Any] = {}

    def _encoded(self, texts: Sequence[str]) -> Any:
        """Return one vector a text."""
        fresh = [text for text in dict.fromkeys(texts) if text not in self._known]
        self._known |= dict(zip(fresh, self._encoder.encode(fresh), strict=True))
        return [self._known[text] for text in texts]


def searched(corpus: Path, queries: Path, encoder: Remembered) -> dict[str, list[str]]:
    """Return by query the documents found, best first, as `hdx search` does."""
    rows = search_corpus(corpus, queries, encoder, NEAREST, multilingual=False, step=QUIET).to_pylist()
    found: dict[str, list[str]] = {}
    for row in rows:
        found.setdefault(row["query_id"], []).append(row["doc_id"])
    return found


def by_vectors(corpus: Rows, queries: Rows, encoder: Remembered) -> dict[str, list[str]]:
    """Return by query what the arm of vectors alone finds, exactly: by the part in which its language is compared."""
    alike = {row.get("lang", "en") for row in (*corpus, *queries)} == {"en"}
    part = slice(None, encoder.made.dims) if alike else slice(encoder.made.dims, None)
    documents = encoder.encode(texts_of(corpus))[:, part]
    asked = encoder.encode([row["text"] for row in queries])[:, part]
    order = np.argsort(-(asked @ documents.T), axis=1)[:, :NEAREST]
    return {
        row["query_id"]: [corpus[place]["doc_id"] for place in best] for row, best in zip(queries, order, strict=True)
    }


def texts_of(corpus: Rows) -> list[str]:
    """Return what is encoded of each document."""
    return [f"{row['title']}\n{row['text']}" for row in corpus]


def by_words(corpus: Rows, queries: Rows) -> dict[str, list[str]]:
    """Return by query what the arm of words alone finds, in an index without any vector."""
    with TemporaryDirectory(prefix="hdx-words-") as folder:
        index = Index.open(Path(folder), multilingual=False)
        passages = [
            Passage(row["doc_id"], row["doc_id"], row["title"], "en", 1, 0, len(row["text"]), "", row["text"])
            for row in corpus
        ]
        index.add(BUILT_IN, passages, None, "", Made("none", 1))
        found = {}
        for row in queries:
            hits = index.search(BUILT_IN, Question(row["text"], "en", NEAREST))
            found[row["query_id"]] = [hit.passage.document_id for hit in hits]
        return found


def scifact(data: Path, encoder: Remembered) -> list[Figure]:
    """Claims over abstracts."""
    paths = data / "corpus.parquet", data / "queries_test.parquet"
    corpus, queries = map(read, paths)
    wanted: dict[str, set[str]] = {}
    for row in read(data / "qrels_test.parquet"):
        wanted.setdefault(row["query_id"], set()).add(row["doc_id"])
    both = mean_gain(searched(*paths, encoder), wanted)
    return [
        Figure("SciFact, nDCG@10", 0.71, both),
        Figure(
            "SciFact, beyond the arm of vectors", 0.0, both - mean_gain(by_vectors(corpus, queries, encoder), wanted)
        ),
        Figure("SciFact, beyond the arm of words", 0.0, both - mean_gain(by_words(corpus, queries), wanted)),
    ]


def xquad(data: Path, folder: Path, encoder: Remembered) -> list[Figure]:
    """Questions over paragraphs, each in its own language, Russian over English, and with the paragraph taken out."""
    corpus, queries = (read(data / f"{name}.parquet") for name in ("corpus", "queries"))
    rows: list[Figure] = []
    for language, found, held, refused in (("en", 0.96, 0.76, 0.93), ("ru", 0.95, 0.72, 0.90)):
        own = [row for row in corpus if row["lang"] == language], [row for row in queries if row["lang"] == language]
        paths = written(folder, *own)
        wanted = {row["query_id"]: {row["doc_id"]} for row in own[1]}
        rows.append(Figure(f"XQuAD {language}, nDCG@10", found, mean_gain(searched(*paths, encoder), wanted)))
        rows += answers(own, folder, encoder, language, held, refused)
    english, russian = [row for row in corpus if row["lang"] == "en"], [row for row in queries if row["lang"] == "ru"]
    wanted = {row["query_id"]: {f"en{row['doc_id'][2:]}"} for row in russian}
    across = mean_gain(searched(*written(folder, english, russian), encoder), wanted)
    dense = mean_gain(by_vectors(english, russian, encoder), wanted)
    return [
        *rows,
        Figure("XQuAD, Russian question to English paragraph, nDCG@10", 0.85, across),
        Figure("XQuAD, the same beyond the arm of vectors", 0.0, across - dense),
    ]


def answers(
    own: tuple[Rows, Rows],
    folder: Path,
    encoder: Remembered,
    language: str,
    held: float,
    refused: float,
) -> list[Figure]:
    """Return how often the first sentence holds the answer, and how well refusal tells a paragraph left out."""
    corpus, queries = own
    asked = {row["query_id"]: row for row in queries}
    first = likeliest(corpus, queries, folder, encoder)
    right = [
        row["doc_id"] == question["doc_id"] and row["start"] <= question["answer_start"] < row["end"]
        for row in first
        for question in [asked[row["query_id"]]]
    ]
    absent = [part for fold in range(FOLDS) for part in left_out(own, folder, encoder, fold)]
    confidence = np.array([*(row["confidence"] for row in first), *absent])
    truth = np.array([True] * len(first) + [False] * len(absent))
    return [
        Figure(f"XQuAD {language}, answer in the first sentence", held, sum(right) / len(queries)),
        Figure(f"XQuAD {language}, refusal AUROC", refused, auc(confidence, truth)),
    ]


def left_out(own: tuple[Rows, Rows], folder: Path, encoder: Remembered, fold: int) -> list[float]:
    """Return the confidence of questions whose paragraphs are not in the corpus: one fold of them at a time."""
    gone = {row["doc_id"] for row in own[0][fold::FOLDS]}
    corpus = [row for row in own[0] if row["doc_id"] not in gone]
    queries = [row for row in own[1] if row["doc_id"] in gone]
    return [row["confidence"] for row in likeliest(corpus, queries, folder, encoder)]


def likeliest(corpus: Rows, queries: Rows, folder: Path, encoder: Remembered) -> Rows:
    """Return the likeliest sentence of each query, as `hdx answer` does."""
    found = answer_corpus(*written(folder, corpus, queries), encoder, multilingual=False, step=QUIET).to_pylist()
    return [row for row in found if row["rank"] == 1]


def read(path: Path) -> Rows:
    """Read a collection's file."""
    rows: Rows = pq.read_table(path).to_pylist()
    return rows


def written(folder: Path, corpus: Rows, queries: Rows) -> tuple[Path, Path]:
    """Write a corpus and its queries to files."""
    paths = folder / "corpus.parquet", folder / "queries.parquet"
    for path, rows in zip(paths, (corpus, queries), strict=True):
        pq.write_table(pa.Table.from_pylist(rows), path)
    return paths


def large(encoder: Remembered, real: Vectors) -> list[Figure]:
    """Search of many passages: neighbours of real vectors, words as unevenly spread as in a language."""
    random = np.random.default_rng(0)
    vectors = real[random.integers(0, len(real), LARGE)] + NOISE * random.normal(
        size=(LARGE, real.shape[1])
    ) / math.sqrt(real.shape[1])
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    popular = 1 / np.arange(1, VOCABULARY + 1)
    vocabulary = np.array([f"word{number}" for number in range(VOCABULARY)])
    texts = [" ".join(words) for words in random.choice(vocabulary, (LARGE, 80), p=popular / popular.sum())]
    places = random.integers(0, LARGE, ASKED)
    queries = vectors[places] + 0.3 * random.normal(size=(ASKED, real.shape[1])) / math.sqrt(real.shape[1])
    asked = [
        Question(" ".join(random.choice(texts[place].split(), 6)), "en", NEAREST, query)
        for place, query in zip(places, queries, strict=True)
    ]
    with TemporaryDirectory(prefix="hdx-large-") as folder:
        index = Index.open(Path(folder), multilingual=False)
        for start in range(0, LARGE, 5_000):
            part = range(start, start + 5_000)
            made = [Passage(f"p{n}", f"d{n}", "t", "en", 1, 0, len(texts[n]), "", texts[n]) for n in part]
            index.add(BUILT_IN, made, vectors[part], "", Made("made up", real.shape[1]))
        index.optimise(BUILT_IN)
        exact = np.argsort(-(queries @ vectors.T), axis=1)[:, :NEAREST]
        recall = statistics.mean(
            len({f"p{n}" for n in best} & set(index.nearest(BUILT_IN, question, NEAREST))) / NEAREST
            for best, question in zip(exact, asked, strict=True)
        )
        times = []
        for _ in range(ROUNDS + 1):
            times.append([timed(partial(index.search, BUILT_IN, question)) for question in asked])
    late = statistics.median(float(np.percentile(part, 99)) for part in times[1:])
    return [
        Figure(f"{LARGE:,} passages, p99 of a search, ms", 30, late, least=False),
        Figure(f"{LARGE:,} passages, recall@10 against exact", 0.99, recall),
    ]


def machines(encoder: Remembered) -> list[Figure]:
    """Ask about machines whose names differ by a sign, in manuals that no rule was written against."""
    found = shares(measured(REPORT, encoder))
    return [
        Figure("machines alike, answers right", 0.9, found["right"]),
        Figure("machines alike, absent name answered as grounded", 0.01, found["absent"], least=False),
        Figure("machines alike, value of another machine given", 0.01, found["strange"], least=False),
        Figure("machines alike, refused for a name although it is there", 0.02, found["by name"], least=False),
        Figure("machines alike, answered what no manual says", 0.1, found["unsaid"], least=False),
    ]


def quick(encoder: Encoder) -> Figure:
    """Answer technicians' questions from the built-in knowledge, the encoding of the question included."""
    with TemporaryDirectory(prefix="hdx-built-in-") as folder:
        index = Index.open(Path(folder), multilingual=False)
        ingest(articles(), index, encoder, BUILT_IN)

        def ask(text: str) -> None:
            question = Question(text, language_of(text), 3, encoder.encode([text])[0].astype(np.float64))
            extract(question, index.search(BUILT_IN, question))

        texts = [faults()[kind][language] for kind in faults() for language in LANGUAGES]
        rounds = [[timed(partial(ask, text)) for text in texts] for _ in range(ROUNDS + 1)]
    slow = statistics.median(float(np.percentile(part, 95)) for part in rounds[1:])
    return Figure("extractive answer, p95, ms", 150, slow, least=False)


def timed(call: Callable[[], object]) -> float:
    """Return the milliseconds that a call takes."""
    begun = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - begun)


def main() -> None:
    """Measure on one core, print, and write the page; fail on a figure that misses its demand."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    data = parser.parse_args().data
    if not data.exists():
        sys.exit(f"{data}: no collections there; give --data")
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    plain = Encoder.load("", "cpu")
    encoder = Remembered(plain)
    with TemporaryDirectory(prefix="hdx-retrieval-") as folder:
        figures = [*scifact(data / "ir_scifact", encoder), *xquad(data / "ir_xquad_enru", Path(folder), encoder)]
    real = encoder.encode(texts_of(read(data / "ir_scifact" / "corpus.parquet")))[:, : encoder.made.dims]
    figures += [*machines(encoder), *large(encoder, real), quick(plain)]
    rows = [figure.row for figure in figures]
    table = Table(*HEAD)
    for row in rows:
        table.add_row(*row)
    Console(width=120).print(table)
    put(PAGE, "figures", markdown(HEAD, rows))
    if missed := [row[0] for row in rows if row[-1] == "missed"]:
        sys.exit(f"missed: {'; '.join(missed)}")


if __name__ == "__main__":
    main()
