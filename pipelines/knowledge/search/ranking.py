"""The order of what a search finds: both arms fused, then by pieces of words, then by title for a remedy."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from pipelines.knowledge.records import Hit, Passage, Question
from pipelines.knowledge.search.text import coverage, stems, topics

# Share of the vector arm in a hybrid score.
# Source: nDCG@10: SciFact train claims .735, .737, .741, .742 with .45, .5, .55, .6; XQuAD en .983, .984 with .45, .55.
VECTOR_SHARE = 0.55
# The same of the arm in which the languages meet: within Russian, and from one language to the other.
# Source: half of XQuAD's paragraphs, nDCG@10 with .5, .6, .7: .970, .972, .969 (ru), .888, .905, .902 (ru to en), .872,
# .906, .905 (en to ru).
SHARED_SHARE = 0.6

# Share that the pieces of words have in the order of the passages found, and how many of them are put in order by it.
# Source: nDCG@10 with 0, .1, .2, .33: XQuAD .979, .983, .985, .982 (en), .955, .957, .958, .956 (ru); SciFact, train
# claims, .731, .732, .730, .717.
PIECES_SHARE = 0.1

# Passages returned at least: the answer weighs words over more passages than it shows as sources.
POOL = 20

# How far passages step back for a remedy behind those whose title holds more of it: the manual on a fault is the one
# named after it, and many others mention it.
# Source: the repairs of the 35 faults that detectors name, in the built-in articles: without it 14 English and 7
# Russian ones quote another fault's manual, at .5 none and 5, at .8 none.
TITLED = 0.8


class Row(NamedTuple):
    """A passage found.

    Attributes:
        keys: Its concepts and the pieces of its words.
        score: By the arm, or the arms, that found it; 0..1.
    """

    passage: Passage
    keys: frozenset[str]
    score: float


Rows = dict[str, Row]  # by passage id


def fused(lexical: Rows, dense: Rows, share: float) -> Rows:
    """Add the two arms, the one of vectors by its share; a passage that an arm did not find has its lowest score."""
    if not dense:
        return lexical
    missing = _lowest(lexical.values()), _lowest(dense.values())

    def both(key: str) -> float:
        words = lexical[key].score if key in lexical else missing[0]
        meaning = dense[key].score if key in dense else missing[1]
        return (1 - share) * words + share * meaning

    return {key: row._replace(score=both(key)) for key, row in {**lexical, **dense}.items()}


def _lowest(rows: Iterable[Row]) -> float:
    return min((row.score for row in rows), default=0.0)


def ordered(found: Rows, keys: frozenset[str], most: int) -> list[Hit]:
    """Put the first of those found in order by the pieces of words they share with the question, too.

    A piece weighs by its rarity among them. It finds what stemming parts: build and building, насос and насосный.
    """
    ranked = sorted(found.values(), key=lambda row: (-row.score, row.passage.passage_id))[:most]
    first = ranked[:POOL]
    holding = {key: sum(key in row.keys for row in first) for key in keys}
    weight = {key: math.log(1 + (len(first) - count + 0.5) / (count + 0.5)) for key, count in holding.items()}
    total = sum(weight.values()) or 1.0

    def score(place: int, row: Row) -> float:
        shared = sum(weight[key] for key in keys & row.keys) / total if place < POOL else 0.0
        return (1 - PIECES_SHARE) * row.score + PIECES_SHARE * shared

    hits = [Hit(row.passage, score(place, row)) for place, row in enumerate(ranked)]
    return sorted(hits, key=lambda hit: -hit.score)


def by_title(hits: Sequence[Hit], question: Question) -> list[Hit]:
    """Let passages step back behind those of documents whose title says more of what a remedy is asked for."""
    wanted = topics(question.text, question.language)
    alike = dict.fromkeys(wanted, 1.0)
    shares = [coverage(wanted, stems(hit.passage.title, question.language), alike) for hit in hits]
    most = max(shares, default=0.0)
    found = [
        replace(hit, score=hit.score * (1 - TITLED * (most - share))) for hit, share in zip(hits, shares, strict=True)
    ]
    return sorted(found, key=lambda hit: -hit.score)
