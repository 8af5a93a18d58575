"""Asks one table for passages: by words, by vectors, by what two languages have in common, and by what they name."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import reduce
from operator import or_
from typing import Any

import numpy as np

from pipelines.knowledge.records import Hit, Language, Passage, Question
from pipelines.knowledge.search.identifiers import OPENING, canonical, without
from pipelines.knowledge.search.ranking import Row, Rows, ordered
from pipelines.knowledge.search.tables import PASSAGE_FIELDS
from pipelines.knowledge.search.text import coverage, stems, synonyms, topics
from pipelines.signals.windows import Floats

# What a synonym counts beside a word of the question itself.
# Source: SciFact, train claims: nDCG@10 .732, .735, .737 with 1, .5, .25; biology has none of the trade's synonyms.
SYNONYMS = 0.5

# What it counts that a passage names the machine: it must, and its words tell which is best.
LEAST = 0.001
# How many times the hits asked for are compared exactly. Source: `index.SCANNED`.
REFINE = 4


def indexed_text(passage: Passage) -> str:
    """Return what is searched for a passage: its text under its title and headings."""
    headings = [part for part in passage.heading.split(" > ") if part and part != passage.title]
    return "\n".join([" > ".join([passage.title, *headings]), passage.text])


def by_words(table: Any, question: Question, least: int, marked: Sequence[str] = ()) -> Rows:
    """Search by words; the best hit's score is the share of the question's topics that it holds.

    A table's BM25 scores hang on its own word counts; the share brings two tables to one scale, in 0..1.
    """
    query = table.search(_naming(_words_asked(question), marked), query_type="fts")
    rows = query.limit(least).select([*PASSAGE_FIELDS, "keys", "_score"]).to_list()
    if not rows:
        return {}
    best = max(rows, key=lambda row: row["_score"])
    wanted = topics(canonical(question.text, question.language), question.language)
    present = set(stems(canonical(indexed_text(passage_of(best)), question.language), question.language))
    scale = coverage(wanted, present, dict.fromkeys(wanted, 1.0)) / max(best["_score"], 1e-9)
    return _found(rows, [row["_score"] * scale for row in rows])


def _words_asked(question: Question) -> Any:
    """Ask for the question's words and, counting less, for their synonyms."""
    from lancedb.query import BooleanQuery, MatchQuery, Occur

    column = f"text_{question.language}"
    match: Any = MatchQuery  # its stub lacks the defaults
    asked = match(question.text, column)
    alike = " ".join(synonyms(question.text, question.language))
    if not alike:
        return asked
    return BooleanQuery([(Occur.SHOULD, asked), (Occur.SHOULD, match(alike, column, boost=SYNONYMS))])


def _naming(asked: Any, marked: Sequence[str]) -> Any:
    """Ask only for what names all identifiers; which of them comes first is left to the words."""
    from lancedb.query import BooleanQuery, MatchQuery, Occur

    match: Any = MatchQuery  # its stub lacks the defaults
    must = [(Occur.MUST, match(mark, "keys", boost=LEAST)) for mark in marked]
    return BooleanQuery([*must, (Occur.SHOULD, asked)]) if must else asked


def by_name(table: Any, question: Question, marked: Sequence[str], keys: frozenset[str], most: int) -> list[Hit]:
    """Return the passages that name what the question names, all of it or else any, in whichever language."""
    question = replace(question, text=without(question.text, question.language))
    own = by_words(table, question, most, marked)
    if len(marked) > 1 and not own:
        for mark in marked:
            own |= by_words(table, question, most, [mark])
    return ordered(own or by_concepts(table, question.language, keys, most, marked), keys, most)


def by_concepts(table: Any, language: Language, keys: frozenset[str], least: int, marked: Sequence[str] = ()) -> Rows:
    """Search the passages of the other language by concepts and sounds; scored like words, by share of the keys."""
    from lancedb import col, lit
    from lancedb.query import MatchQuery

    if not keys:
        return {}
    match: Any = MatchQuery
    query = table.search(_naming(match(" ".join(sorted(keys)), "keys"), marked), query_type="fts")
    foreign = query.where(col("language") != lit(language)).limit(least)
    rows = foreign.select([*PASSAGE_FIELDS, "keys", "_score"]).to_list()
    if not rows:
        return {}
    best = max(rows, key=lambda row: row["_score"])
    scale = len(keys.intersection(best["keys"].split())) / len(keys) / max(best["_score"], 1e-9)
    return _found(rows, [row["_score"] * scale for row in rows])


def by_vector(table: Any, vector: Floats, column: str, language: Language | None, least: int) -> Rows:
    """Search by vector, all or one language; the score is the cosine, cut to 0..1."""
    from lancedb import col, lit

    query = table.search(np.asarray(vector, np.float32), vector_column_name=column).distance_type("cosine")
    if language is not None:
        query = query.where(col("language") == lit(language))
    rows = query.limit(least).refine_factor(REFINE).select([*PASSAGE_FIELDS, "keys", "_distance"]).to_list()
    return _found(rows, [min(1.0, max(0.0, 1.0 - row["_distance"])) for row in rows])


def first_lines(table: Any, hits: Sequence[Hit]) -> list[Hit]:
    """Return the beginnings of the documents found that are not among the hits: they say whose manual each is."""
    from lancedb import col, lit

    there = {hit.passage.passage_id for hit in hits}
    wanted = {hit.passage.document_id for hit in hits}
    if not wanted:
        return []
    first = reduce(or_, (col("document_id") == lit(key) for key in sorted(wanted)))
    first = first & (col("page") == lit(1)) & (col("start") < lit(OPENING)) & (col("flag") == lit(""))
    rows = table.search().where(first).select(PASSAGE_FIELDS).to_list()
    return [Hit(passage_of(row), 0.0) for row in rows if row["passage_id"] not in there]


def _found(rows: Sequence[Mapping[str, Any]], scores: Sequence[float]) -> Rows:
    return {
        row["passage_id"]: Row(passage_of(row), frozenset(row["keys"].split()), score)
        for row, score in zip(rows, scores, strict=True)
    }


def passage_of(row: Mapping[str, Any]) -> Passage:
    """Return the passage of a table's row."""
    return Passage(**{name: row[name] for name in PASSAGE_FIELDS})
