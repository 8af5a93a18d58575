"""Last step of the ask path: sentences of the found passages become a cited answer, or a refusal.

Exists so that an answer needs no language model and says nothing that its sources do not say word for word.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from pipelines.knowledge.index import indexed_text
from pipelines.knowledge.passages import prose, sentences
from pipelines.knowledge.records import Answer, Citation, Hit, Language, Passage, Question
from pipelines.knowledge.words import asks_for_remedy, asks_how, coverage, stems, topics, words

MODEL = "extractive"

# Least evidence for an answer: mean of the first hit's score and of the share of the question's topics it holds.
# Source: XQuAD, threshold at 90 % answered: wrong answers fall to 13 % (en) and 28 % (ru); AUROC .948 and .910, with
# the share of topics alone .932 and .892.
THRESHOLD: dict[Language, float] = {"en": 0.48, "ru": 0.37}

# BM25 over sentences. Source: K1 customary (Robertson and Zaragoza 2009); B by XQuAD: .3 finds .763 of the English
# answers first and .726 of the Russian, .75 finds .750 and .719.
K1 = 1.2
B = 0.3
# Share of a topic that stands only in a sentence's headings. Source: XQuAD, hit@1 .766 -> .768 en, .726 -> .728 ru.
CONTEXT = 0.5
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


@dataclass(frozen=True)
class Sentence:
    """One sentence of a found passage.

    Attributes:
        rank: Where its passage stands among the hits, from 0.
        start: Offset in the passage's text.
        step: Its number in a numbered list; 0 for any other sentence.
    """

    hit: Hit
    rank: int
    start: int
    end: int
    step: int
    language: Language

    @property
    def text(self) -> str:
        """The sentence as it stands in its source."""
        return self.hit.passage.text[self.start : self.end]

    @cached_property
    def stems(self) -> Counter[str]:
        """Its stems, counted."""
        return Counter(stems(self.text, self.language))

    @cached_property
    def context(self) -> set[str]:
        """The stems of its headings."""
        return set(stems(f"{self.hit.passage.title}\n{self.hit.passage.heading}", self.language))


def extract(question: Question, hits: Sequence[Hit]) -> Answer:
    """Answer with two to five sentences quoted from the first hits, or abstain.

    A question for steps is answered with a numbered list of the sources, in its order, where there is one.

    Args:
        question: Its `limit` is the number of passages that may be quoted.
        hits: Best first; those beyond `limit` tell which words are rare.
    """
    if not hits:
        return abstention(question, hits, NOTHING_FOUND[question.language])
    wanted = topics(question.text, question.language)
    weight = _rarity(wanted, hits, question.language)
    covered = _covered(hits[0].passage, wanted, weight, question.language)
    evidence, threshold = (covered + hits[0].score) / 2, THRESHOLD[question.language]
    if evidence < threshold:
        reason = NOT_COVERED[question.language].format(evidence=evidence, threshold=threshold)
        return abstention(question, hits, reason)
    listed = _steps(question, hits, wanted, weight)
    chosen = listed or _chosen(_sentences(hits[: question.limit], question.language), wanted, weight)
    if not chosen:
        return abstention(question, hits, NOTHING_FOUND[question.language])
    return _composed(chosen, _shown(hits, question.limit, [sentence.hit for sentence in chosen]))


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


def _rarity(wanted: Sequence[str], hits: Sequence[Hit], language: Language) -> dict[str, float]:
    """Weigh stems by their rarity among the passages found (inverse document frequency)."""
    texts = [set(stems(indexed_text(hit.passage), language)) for hit in hits]
    found = {stem: sum(stem in text for text in texts) for stem in wanted}
    return {stem: math.log(1 + (len(texts) - count + 0.5) / (count + 0.5)) for stem, count in found.items()}


def _covered(passage: Passage, wanted: Sequence[str], weight: dict[str, float], language: Language) -> float:
    return coverage(wanted, set(stems(indexed_text(passage), language)), weight)


def _sentences(hits: Sequence[Hit], language: Language) -> list[Sentence]:
    found = []
    for rank, hit in enumerate(hits):
        text = hit.passage.text
        for start, end in sentences(text, hit.passage.language):
            step = STEP.search(text[:start])
            found.append(Sentence(hit, rank, start, end, int(step[1]) if step else 0, language))
    return found


def _scored(found: Sequence[Sentence], wanted: Sequence[str], weight: dict[str, float]) -> list[tuple[float, Sentence]]:
    """Score sentences by their words (BM25) and by the score of their passage, best first."""
    mean = sum(sentence.stems.total() for sentence in found) / max(1, len(found)) or 1.0

    def by_words(sentence: Sentence) -> float:
        norm = K1 * (1 - B + B * sentence.stems.total() / mean)
        return sum(
            weight[stem] * (count * (K1 + 1) / (count + norm) if count else CONTEXT * (stem in sentence.context))
            for stem in wanted
            for count in [sentence.stems[stem]]
        )

    scores = [by_words(sentence) for sentence in found]
    best, best_hit = max(scores, default=0.0), max((sentence.hit.score for sentence in found), default=0.0)
    scored = [
        (score / best + sentence.hit.score / (best_hit or 1.0), sentence)
        for score, sentence in zip(scores, found, strict=True)
        if score > 0 and len(words(sentence.text)) >= SHORTEST and not sentence.text.endswith(":")
    ]
    return sorted(scored, key=lambda pair: -pair[0])


def _chosen(found: Sequence[Sentence], wanted: Sequence[str], weight: dict[str, float]) -> list[Sentence]:
    """Choose the best sentence, then those that add to it; the rest follows in the order of the sources."""
    scored = _scored(found, wanted, weight)
    chosen: list[Sentence] = []
    for score, sentence in scored:
        if len(chosen) == MOST or (len(chosen) >= FEWEST and score < TAIL * scored[0][0]):
            break
        if not any(_alike(sentence, other) for other in chosen):
            chosen.append(sentence)
    return chosen[:1] + sorted(chosen[1:], key=lambda sentence: (sentence.rank, sentence.start))


def _alike(one: Sentence, other: Sentence) -> bool:
    both = one.stems.keys() & other.stems.keys()
    either = one.stems.keys() | other.stems.keys()
    return len(both) > NEAR_DUPLICATE * len(either)


def _steps(question: Question, hits: Sequence[Hit], wanted: Sequence[str], weight: dict[str, float]) -> list[Sentence]:
    """Return the first numbered list that answers a question for steps; empty where none does.

    Asked for a remedy, a list beside the first hit under the same heading is one; else it must speak of the question.
    """
    remedy = asks_for_remedy(question.text, question.language)
    if not remedy and not asks_how(question.text, question.language):
        return []
    needed = ABOUT * _spoken(hits[0].passage, wanted, weight, question.language)
    for rank, hit in enumerate(hits):
        beside = remedy and _beside(hits[0].passage, hit.passage)
        if rank >= question.limit and not beside:
            continue
        steps = [sentence for sentence in _sentences([hit], question.language) if sentence.step]
        if len(steps) < FEWEST or steps[0].step != 1:
            continue
        if beside or _spoken(hit.passage, wanted, weight, question.language) >= max(needed, ABOUT / 2):
            return steps[:MOST]
    return []


def _spoken(passage: Passage, wanted: Sequence[str], weight: dict[str, float], language: Language) -> float:
    """Return the share of the question that a passage's own words hold, its title and headings left out."""
    return coverage(wanted, set(stems(passage.text, language)), weight)


def _beside(one: Passage, other: Passage) -> bool:
    """Tell whether two passages are parts of one section of one document."""
    above = one.heading.rpartition(" > ")[0]
    return one.document_id == other.document_id and bool(above) and other.heading.startswith(f"{above} > ")


def _shown(hits: Sequence[Hit], limit: int, quoted: Sequence[Hit]) -> tuple[Hit, ...]:
    """Return `limit` hits, the quoted ones among them, best first."""
    kept = list(dict.fromkeys([*quoted, *hits[:limit]]))[:limit]
    return tuple(sorted(kept, key=lambda hit: -hit.score))


def _composed(chosen: Sequence[Sentence], shown: tuple[Hit, ...]) -> Answer:
    listed = all(sentence.step for sentence in chosen)
    parts = []
    for number, sentence in enumerate(chosen, 1):
        part = marked(sentence.text, number, sentence.hit.passage.language)
        parts.append(f"{number}. {part}" if listed else part)
    text = ("\n" if listed else " ").join(parts)
    citations = tuple(
        citation(number, sentence.hit, sentence.start, sentence.end) for number, sentence in enumerate(chosen, 1)
    )
    return Answer(text, citations, shown, MODEL, count_tokens(text), grounded=True, abstained=False)
