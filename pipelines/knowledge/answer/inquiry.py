"""A question held against what was found for it: which sentences may answer, and how much says that they do."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from pipelines.knowledge.answer.binding import Binding, bind
from pipelines.knowledge.answer.quotable import quotable
from pipelines.knowledge.ingest.passages import sentences
from pipelines.knowledge.records import Hit, Language, Passage, Question
from pipelines.knowledge.search.arms import indexed_text
from pipelines.knowledge.search.cross_lingual import neutral
from pipelines.knowledge.search.identifiers import canonical
from pipelines.knowledge.search.text import coverage, held, stems, topics

# Least evidence for an answer: mean of the first hit's score and of the share of the question's topics it holds.
# Source: XQuAD, threshold at 90 % answered: wrong answers fall to 13 % (en) and 28 % (ru); AUROC .948 and .910, with
# the share of topics alone .932 and .892.
THRESHOLD: dict[Language, float] = {"en": 0.48, "ru": 0.34}

# The same for passages of the other language, which concepts and sounds alone connect with the question.
# Source: XQuAD with the right paragraph taken out: 2 % (ru to en) and 11 % (en to ru) of what is found reaches it.
FOREIGN_THRESHOLD = 0.4

# The share of these that will do where a question names a machine and a hit speaks of it.
# Source: `benchmarks/manuals.py`, development seeds.
BOUND = 0.65

STEP = re.compile(r"(?:^|\n)[ \t]*(\d{1,3})[.)][ \t]+$")


@dataclass(frozen=True)
class Inquiry:
    """A question held against what was found for it.

    Attributes:
        hits: Best first, those that may speak of what is asked for, in the best one's language.
        others: All hits of that language; they tell which words are rare.
        binding: What its identifiers bind the answer to.
    """

    question: Question
    hits: tuple[Hit, ...]
    others: tuple[Hit, ...]
    binding: Binding

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
        spelled = canonical(text, self.language)
        return neutral(spelled, self.language).split() if self.foreign else stems(spelled, self.language)

    @cached_property
    def wanted(self) -> list[str]:
        """The distinct terms that say what the question is about; what binds is held already, and asked for no more."""
        text, language = self.binding.text, self.question.language
        found = neutral(text, language, once=True).split() if self.foreign else topics(text, language)
        bound = self.terms(" ".join(key for group in self.binding.groups for key in group))
        return [term for term in found if term not in bound] or found

    @cached_property
    def weight(self) -> dict[str, float]:
        """By term its rarity among the hits (inverse document frequency)."""
        texts = [set(self.terms(indexed_text(hit.passage))) for hit in self.others]
        found = {term: sum(term in text for text in texts) for term in self.wanted}
        return {term: math.log(1 + (len(texts) - count + 0.5) / (count + 0.5)) for term, count in found.items()}

    @cached_property
    def evidence(self) -> float:
        """How much says that the best hit holds the answer, 0..1: the first one, or of what is bound any."""
        return max(self._evidence(hit) for hit in (self.hits if self.binding.binds else self.hits[:1]))

    def _evidence(self, hit: Hit) -> float:
        passage = hit.passage
        share = self.covered(indexed_text(passage))
        if coded := self.coded(passage, 0, len(passage.text)) * self.rare:
            words = sum(self.weight[term] for term in self.wanted)
            share = (share * words + coded) / (words + coded)
        return (share + hit.score) / 2

    @property
    def rare(self) -> float:
        """The weight of a term that one hit alone holds."""
        return math.log(1 + (len(self.others) - 0.5) / 1.5)

    def coded(self, passage: Passage, start: int, end: int) -> int:
        """Return how many identifiers a stretch is about and its document is not: the errors and parts asked for."""
        return sum(self.binding.singled_out(group, passage, start, end) for group in self.binding.groups)

    @property
    def threshold(self) -> float:
        """The least evidence for an answer; less will do of what speaks of the very machine that is asked about."""
        share = BOUND if self.binding.groups else 1.0
        return share * self._plain_threshold

    @property
    def _plain_threshold(self) -> float:
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
                if self.binding.binds and not self.binding.holds(hit.passage, start, end):
                    continue
                if not quotable(hit.passage, start, end):
                    continue
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

    @property
    def holds_topic(self) -> bool:
        """Whether it holds anything itself of what the question is about, or names it."""
        named = self.inquiry.coded(self.hit.passage, self.start, self.end)
        return bool(named) or any(held(term, self.counted) for term in self.inquiry.wanted)

    @cached_property
    def context(self) -> set[str]:
        """The terms of its headings."""
        return set(self.inquiry.terms(f"{self.hit.passage.title}\n{self.hit.passage.heading}"))


def inquire(question: Question, hits: Sequence[Hit]) -> Inquiry:
    """Hold a question against hits; those that speak of another machine than it are none of it."""
    binding = bind(question, hits)
    mine = [] if binding.missing else [hit for hit in hits if speaks(binding, hit)]
    language = mine[0].passage.language if mine else question.language
    own, others = (tuple(hit for hit in some if hit.passage.language == language) for some in (mine, hits))
    return Inquiry(question, own, others, binding)


def speaks(binding: Binding, hit: Hit) -> bool:
    """Tell whether a hit holds a sentence that may answer."""
    if not binding.binds:
        return True
    passage = hit.passage
    spans = sentences(passage.text, passage.language)
    return binding.holds_any(passage) and any(binding.holds(passage, start, end) for start, end in spans)
