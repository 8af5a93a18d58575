"""Turns sentences of the found passages into a cited answer, or a refusal, without a language model.

An answer says nothing that its sources do not say word for word.
"""

import math
import re
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Protocol

from pipelines.knowledge.ingest.passages import prose, sentences
from pipelines.knowledge.records import Answer, Citation, Hit, Language, Passage, Question
from pipelines.knowledge.search.cross_lingual import neutral
from pipelines.knowledge.search.index import indexed_text
from pipelines.knowledge.search.text import (
    asks_for_number,
    asks_for_remedy,
    asks_how,
    coverage,
    held,
    holds_number,
    stems,
    topics,
    words,
)

MODEL = "extractive"

# Least evidence for an answer: mean of the first hit's score and of the share of the question's topics it holds.
# Source: XQuAD, threshold at 90 % answered: wrong answers fall to 13 % (en) and 28 % (ru); AUROC .948 and .910, with
# the share of topics alone .932 and .892.
# Half of the Russian ones by words and vector: 20 %, .935; .34 answers as many as .37 did by words alone.
THRESHOLD: dict[Language, float] = {"en": 0.48, "ru": 0.34}

# The same for passages of the other language, which concepts and sounds alone connect with the question.
# Source: XQuAD with the right paragraph taken out: 2 % (ru to en) and 11 % (en to ru) of what is found reaches it.
FOREIGN_THRESHOLD = 0.4

# BM25 over sentences. Source: K1 customary (Robertson and Zaragoza 2009); B by XQuAD: .3 finds .763 of the English
# answers first and .726 of the Russian, .75 finds .750 and .719.
K1 = 1.2
B = 0.3
# Share of a topic that only a sentence's headings or the sentence before it hold; what it is worth to hold words of the
# question side by side, and a number where one is asked for.
# Source: XQuAD, 595 questions a language, hit@1: .765 (en) and .724 (ru) with the headings alone; .797 and .763 with
# these and with words of which only the beginning is equal (`words.held`).
CONTEXT = 0.5
TOGETHER = 0.2
NUMBER = 0.3
# A sentence scoring less than this share of the best one is filler. Source: XQuAD: at .7 an answer has 2.6 sentences,
# one of which holds the answer for .87 of the English and .83 of the Russian questions; at .55 it has 3.6 (.89, .85).
TAIL = 0.7
# Source: reading of 13 answers: two sentences sharing more of their stems than this say the same.
NEAR_DUPLICATE = 0.7
# Share of the first hit's coverage that a numbered list must have to be about the question. Source: same reading.
ABOUT = 0.55

# Sentences of an answer, and words of the shortest one worth quoting.
FEWEST, MOST = 2, 5
SHORTEST = 4

STEP = re.compile(r"(?:^|\n)[ \t]*(\d{1,3})[.)][ \t]+$")
MARK = re.compile(r"\s*\[\d+\]")
PIECE = re.compile(r"\s*\S+\s*")
STOP = re.compile(r"[.!?…]+[\"»)]*$")

NO_ANSWER: dict[Language, str] = {
    "en": "The sources that can be searched hold no answer to this question.",
    "ru": "В доступных источниках ответа на этот вопрос нет.",
}
NOTHING_FOUND: dict[Language, str] = {"en": "nothing found speaks of it", "ru": "в найденном об этом не сказано"}
NOT_COVERED: dict[Language, str] = {
    "en": "the passages found cover {evidence:.0%} of the question, {threshold:.0%} are needed",
    "ru": "найденные отрывки покрывают вопрос на {evidence:.0%}, нужно {threshold:.0%}",
}


# What a stream of an answer yields: pieces of its text, which add up to it, and the whole of it last.
Event = str | Answer


@dataclass(frozen=True, slots=True)
class Params:
    """How a language model is asked to write.

    Units: `tokens` of the model.
    Source: 600 tokens are twenty sentences of a manual; at temperature 0 a question has one answer.
    """

    tokens: int = 600
    temperature: float = 0.0


class Engine(Protocol):
    """Whatever turns passages into an answer."""

    def stream(self, question: Question, hits: Sequence[Hit], params: Params) -> AsyncIterator[Event]:
        """Yield the answer in pieces and whole; never raises for want of a model."""
        ...


class Extractive:
    """The engine that quotes, and needs no model."""

    async def stream(self, question: Question, hits: Sequence[Hit], params: Params) -> AsyncIterator[Event]:
        """Yield the words of the quoted sentences, and the whole answer last."""
        answer = extract(question, hits)
        for piece in pieces(answer.text):
            yield piece
        yield answer


@dataclass(frozen=True)
class Inquiry:
    """A question held against what was found for it.

    Attributes:
        hits: Best first, those in the best one's language.
    """

    question: Question
    hits: tuple[Hit, ...]

    @property
    def language(self) -> Language:
        """That of the hits."""
        return self.hits[0].passage.language

    @property
    def foreign(self) -> bool:
        """Whether question and hits meet in concepts and sounds alone."""
        return self.language != self.question.language

    def terms(self, text: str) -> list[str]:
        """Return the terms of a text of the hits, in the form in which the question has its own."""
        return neutral(text, self.language).split() if self.foreign else stems(text, self.language)

    @cached_property
    def wanted(self) -> list[str]:
        """The distinct terms that say what the question is about."""
        text, language = self.question.text, self.question.language
        return neutral(text, language, once=True).split() if self.foreign else topics(text, language)

    @cached_property
    def weight(self) -> dict[str, float]:
        """By term its rarity among the hits (inverse document frequency)."""
        texts = [set(self.terms(indexed_text(hit.passage))) for hit in self.hits]
        found = {term: sum(term in text for text in texts) for term in self.wanted}
        return {term: math.log(1 + (len(texts) - count + 0.5) / (count + 0.5)) for term, count in found.items()}

    @cached_property
    def evidence(self) -> float:
        """How much says that the first hit holds the answer, 0..1."""
        return (self.covered(indexed_text(self.hits[0].passage)) + self.hits[0].score) / 2

    @property
    def threshold(self) -> float:
        """The least evidence for an answer."""
        return FOREIGN_THRESHOLD if self.foreign else THRESHOLD[self.language]

    def covered(self, text: str) -> float:
        """Return the weighted share of the question that a text holds."""
        return coverage(self.wanted, self.terms(text), self.weight)

    def sentences(self, hits: Sequence[Hit]) -> "list[Sentence]":
        """Return the sentences of hits, in order."""
        found = []
        for rank, hit in enumerate(hits):
            text = hit.passage.text
            for start, end in sentences(text, hit.passage.language):
                step = STEP.search(text[:start])
                found.append(Sentence(self, hit, rank, start, end, int(step[1]) if step else 0))
        return found


@dataclass(frozen=True)
class Sentence:
    """One sentence of a found passage.

    Attributes:
        rank: Where its passage stands among the hits, from 0.
        start: Offset in the passage's text.
        step: Its number in a numbered list; 0 for any other sentence.
    """

    inquiry: Inquiry
    hit: Hit
    rank: int
    start: int
    end: int
    step: int

    @property
    def text(self) -> str:
        """The sentence as it stands in its source."""
        return self.hit.passage.text[self.start : self.end]

    @cached_property
    def terms(self) -> list[str]:
        """Its terms, in order."""
        return self.inquiry.terms(self.text)

    @cached_property
    def counted(self) -> Counter[str]:
        """Its terms, counted."""
        return Counter(self.terms)

    @cached_property
    def context(self) -> set[str]:
        """The terms of its headings."""
        return set(self.inquiry.terms(f"{self.hit.passage.title}\n{self.hit.passage.heading}"))


def inquire(question: Question, hits: Sequence[Hit]) -> Inquiry:
    """Hold a question against hits, of which there is one at least."""
    language = hits[0].passage.language
    return Inquiry(question, tuple(hit for hit in hits if hit.passage.language == language))


def extract(question: Question, hits: Sequence[Hit], first: int = 1) -> Answer:
    """Answer with two to five sentences quoted from the first hits, or abstain.

    A question for steps is answered with a numbered list of the sources, in its order, where there is one.

    Args:
        question: Its `limit` is the number of passages that may be quoted.
        hits: Best first; those beyond `limit` tell which words are rare.
        first: Number of the first citation.
    """
    if not hits:
        return abstention(question, hits, NOTHING_FOUND[question.language])
    inquiry = inquire(question, hits)
    if inquiry.evidence < inquiry.threshold:
        said = NOT_COVERED[question.language]
        return abstention(question, hits, said.format(evidence=inquiry.evidence, threshold=inquiry.threshold))
    chosen = _steps(inquiry) or _chosen(_scored(inquiry))
    if not chosen:
        return abstention(question, hits, NOTHING_FOUND[question.language])
    return _composed(chosen, _shown(inquiry.hits, question.limit, [sentence.hit for sentence in chosen]), first)


def weigh(question: Question, hits: Sequence[Hit]) -> tuple[float, bool, list[Sentence]]:
    """Return the evidence that hits hold an answer, whether it is enough, and their sentences, the likeliest first."""
    if not hits:
        return 0.0, False, []
    inquiry = inquire(question, hits)
    enough = inquiry.evidence >= inquiry.threshold
    return inquiry.evidence, enough, [sentence for _, sentence in _scored(inquiry)]


def pieces(text: str) -> list[str]:
    """Cut a text into its words, each with the space behind it."""
    return PIECE.findall(text)


def abstention(question: Question, hits: Sequence[Hit], reason: str, model: str = MODEL) -> Answer:
    """Return the refusal in the question's language, with the nearest passages for the reader to judge."""
    text = NO_ANSWER[question.language]
    shown = tuple(hits[: question.limit])
    return Answer(text, (), shown, model, count_tokens(text), grounded=False, abstained=True, reason=reason)


def marked(text: str, number: int, language: Language) -> str:
    """Set `[number]` before the stop of each sentence of a text."""
    parts = []
    for start, end in prose(" ".join(text.split()), language):
        sentence = " ".join(text.split())[start:end]
        stop = STOP.search(sentence)
        body, tail = (sentence[: stop.start()], stop[0]) if stop else (sentence.rstrip(" ;:,"), ".")
        parts.append(f"{body} [{number}]{tail}")
    return " ".join(parts)


def count_tokens(text: str) -> int:
    """Count the words of an answer, its citation marks left out."""
    return len(words(MARK.sub("", text)))


def citation(number: int, hit: Hit, start: int, end: int) -> Citation:
    """Quote a stretch of a passage; `start` and `end` count in its text, the citation's in the page's."""
    passage = hit.passage
    return Citation(
        number=number,
        document_id=passage.document_id,
        title=passage.title,
        page=passage.page,
        start=passage.start + start,
        end=passage.start + end,
        quote=passage.text[start:end],
        score=hit.score,
    )


def _scored(inquiry: Inquiry) -> list[tuple[float, Sentence]]:
    """Score sentences by their words (BM25), by the score of their passage and by what the question wants, best first.

    A word counts in part where only its beginning, the sentence before or the headings hold it.
    """
    found = inquiry.sentences(inquiry.hits[: inquiry.question.limit])
    mean = sum(len(sentence.terms) for sentence in found) / max(1, len(found)) or 1.0
    counts = [[held(term, sentence.counted) for term in inquiry.wanted] for sentence in found]

    def by_words(place: int) -> float:
        sentence = found[place]
        norm = K1 * (1 - B + B * len(sentence.terms) / mean)
        after = place > 0 and found[place - 1].hit is sentence.hit
        total = 0.0
        for number, term in enumerate(inquiry.wanted):
            count = counts[place][number]
            told = after and counts[place - 1][number] > 0
            beside = CONTEXT * (term in sentence.context or told)
            total += inquiry.weight[term] * (count * (K1 + 1) / (count + norm) if count else beside)
        return total

    scores = [by_words(place) for place in range(len(found))]
    best, best_hit = max(scores, default=0.0), max((sentence.hit.score for sentence in found), default=0.0)
    pairs = set(pairwise(inquiry.wanted))
    number = asks_for_number(inquiry.question.text, inquiry.question.language)
    scored = [
        (score / best + sentence.hit.score / (best_hit or 1.0) + _fits(sentence, pairs, number=number), sentence)
        for score, sentence in zip(scores, found, strict=True)
        if score > 0 and len(words(sentence.text)) >= SHORTEST and not sentence.text.endswith(":")
    ]
    return sorted(scored, key=lambda pair: -pair[0])


def _fits(sentence: Sentence, pairs: set[tuple[str, str]], *, number: bool) -> float:
    """Return what a sentence gains by words side by side as in the question, and by a number where one is asked for."""
    together = len(pairs.intersection(pairwise(sentence.terms))) / len(pairs) if pairs else 0.0
    return TOGETHER * together + NUMBER * (number and holds_number(sentence.text))


def _chosen(scored: Sequence[tuple[float, Sentence]]) -> list[Sentence]:
    """Choose the best sentence, then those that add to it; the rest follows in the order of the sources."""
    chosen: list[Sentence] = []
    for score, sentence in scored:
        if len(chosen) == MOST or (len(chosen) >= FEWEST and score < TAIL * scored[0][0]):
            break
        if not any(_alike(sentence, other) for other in chosen):
            chosen.append(sentence)
    return chosen[:1] + sorted(chosen[1:], key=lambda sentence: (sentence.rank, sentence.start))


def _alike(one: Sentence, other: Sentence) -> bool:
    both = one.counted.keys() & other.counted.keys()
    either = one.counted.keys() | other.counted.keys()
    return len(both) > NEAR_DUPLICATE * len(either)


def _steps(inquiry: Inquiry) -> list[Sentence]:
    """Return the first numbered list that answers a question for steps; empty where none does.

    Asked for a remedy, a list beside the first hit under the same heading is one; else it must speak of the question.
    """
    question, hits = inquiry.question, inquiry.hits
    remedy = asks_for_remedy(question.text, question.language)
    if not remedy and not asks_how(question.text, question.language):
        return []
    needed = max(ABOUT * inquiry.covered(hits[0].passage.text), ABOUT / 2)
    for rank, hit in enumerate(hits):
        beside = remedy and _beside(hits[0].passage, hit.passage)
        if rank >= question.limit and not beside:
            continue
        steps = [sentence for sentence in inquiry.sentences([hit]) if sentence.step]
        if len(steps) < FEWEST or steps[0].step != 1:
            continue
        if beside or inquiry.covered(hit.passage.text) >= needed:
            return steps[:MOST]
    return []


def _beside(one: Passage, other: Passage) -> bool:
    """Tell whether two passages are parts of one section of one document."""
    above = one.heading.rpartition(" > ")[0]
    return one.document_id == other.document_id and bool(above) and other.heading.startswith(f"{above} > ")


def _shown(hits: Sequence[Hit], limit: int, quoted: Sequence[Hit]) -> tuple[Hit, ...]:
    """Return `limit` hits, the quoted ones among them, best first."""
    kept = list(dict.fromkeys([*quoted, *hits[:limit]]))[:limit]
    return tuple(sorted(kept, key=lambda hit: -hit.score))


def _composed(chosen: Sequence[Sentence], shown: tuple[Hit, ...], first: int) -> Answer:
    listed = all(sentence.step for sentence in chosen)
    parts = []
    for place, sentence in enumerate(chosen):
        part = marked(sentence.text, first + place, sentence.hit.passage.language)
        parts.append(f"{place + 1}. {part}" if listed else part)
    text = ("\n" if listed else " ").join(parts)
    citations = tuple(
        citation(number, sentence.hit, sentence.start, sentence.end) for number, sentence in enumerate(chosen, first)
    )
    return Answer(text, citations, shown, MODEL, count_tokens(text), grounded=True, abstained=False)
