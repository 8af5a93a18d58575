"""Turns the manual's sections into steps, each quoted: what first, why, and whether the machine must stand still."""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from pipelines.knowledge.answer.answer import citation
from pipelines.knowledge.answer.binding import bind
from pipelines.knowledge.answer.inquiry import speaks
from pipelines.knowledge.answer.quotable import quotable
from pipelines.knowledge.answer.standstill import needs_standstill
from pipelines.knowledge.ingest.passages import sentences
from pipelines.knowledge.records import Answer, Citation, Found, Hit, Language, Note, Passage, Question, Step
from pipelines.knowledge.search.text import asks_for_remedy, stems

# What a section is for, by the last of its headings.
REPAIR = re.compile(
    r"repair|remed|what to do|corrective|procedure|solution|ремонт|устранени|что делать|порядок действий", re.IGNORECASE
)
CAUSES = re.compile(r"cause|reason|причин", re.IGNORECASE)
SAFETY = re.compile(r"safety|warning|danger|caution|безопасност|предупрежден|опасност|осторожно", re.IGNORECASE)
WARNED = re.compile(
    r"(?:safety|warning|danger|caution|внимание|опасно|осторожно|предупреждение)\b\s*[!:.—–-]", re.IGNORECASE
)
STEPS, NOTES = 8, 4
# Stems that a cause and a step must share for the one to be the reason of the other, and the share of the rarity of
# either that they must make up. Source: reading of the 150 steps of the built-in articles.
RELATED, SHARE = 2, 0.4


def advised(answer: Answer, question: Question, found: Found) -> Answer:
    """Add to an answer the steps of the manual that it rests on, where a remedy was asked for.

    Args:
        answer: Not added to when it abstains.
        question: What was asked.
        found: With the manual to take them from.
    """
    manual = _of_the_machine(question, found)
    if answer.abstained or not manual or not asks_for_remedy(question.text, question.language):
        return answer
    language = manual[0].language
    quotes = _Quotes(answer.citations, found.hits[0].score)
    causes = _sentences(manual, CAUSES)
    items = _items(manual, REPAIR)[:STEPS]
    reason_of = _reasons([passage.text[slice(*span)] for passage, span in items], causes, language)
    steps = []
    for priority, (passage, span) in enumerate(items, 1):
        text = passage.text[slice(*span)]
        cause = reason_of(text)
        steps.append(
            Step(
                priority=priority,
                text=text,
                citation=quotes.number(passage, span),
                rationale=cause[0].text[slice(*cause[1])] if cause else "",
                rationale_citation=quotes.number(*cause) if cause else None,
                requires_shutdown=needs_standstill(text, language, passage.heading.rpartition(" > ")[2]),
            )
        )
    safety = [
        Note(passage.text[slice(*span)], quotes.number(passage, span)) for passage, span in _warnings(manual)[:NOTES]
    ] if steps else []  # fmt: skip
    return replace(answer, citations=tuple(quotes.known), steps=tuple(steps), safety=tuple(safety))


def _of_the_machine(question: Question, found: Found) -> tuple[Passage, ...]:
    """Return the manual's passages that may speak of what is asked for; none where it is another machine's."""
    if not found.manual:
        return ()
    binding = bind(question, [*found.hits, *(Hit(passage, 0.0) for passage in found.manual)])
    return tuple(passage for passage in found.manual if speaks(binding, Hit(passage, 0.0)))


_Span = tuple[int, int]


class _Quotes:
    """Numbers quotes on from those that an answer has; one place has one number."""

    def __init__(self, known: Iterable[Citation], score: float) -> None:
        self.known = list(known)
        self._score = score

    def number(self, passage: Passage, span: _Span) -> int:
        made = citation(len(self.known) + 1, Hit(passage, self._score), *span)
        place = (made.document_id, made.page, made.start, made.end)
        for old in self.known:
            if (old.document_id, old.page, old.start, old.end) == place:
                return old.number
        self.known.append(made)
        return made.number


def _sections(manual: Sequence[Passage], kind: re.Pattern[str]) -> list[Passage]:
    return [passage for passage in manual if kind.search(passage.heading.rpartition(" > ")[2])]


def _sentences(manual: Sequence[Passage], kind: re.Pattern[str]) -> list[tuple[Passage, _Span]]:
    return _quotable(_sections(manual, kind))


def _quotable(found: Iterable[Passage]) -> list[tuple[Passage, _Span]]:
    spans = [(passage, span) for passage in found for span in sentences(passage.text, passage.language)]
    return [(passage, span) for passage, span in spans if quotable(passage, *span)]


def _items(manual: Sequence[Passage], kind: re.Pattern[str]) -> list[tuple[Passage, _Span]]:
    """Return the list items of a section; all its sentences where it has no list."""
    every = _sentences(manual, kind)
    listed = [
        (passage, span)
        for passage, span in every
        if re.search(r"(?:^|\n)[ \t]*(?:\d{1,3}[.)]|-)[ \t]+$", passage.text[: span[0]])
    ]
    return listed or every


def _warnings(manual: Sequence[Passage]) -> list[tuple[Passage, _Span]]:
    """Return the safety notes of a manual: those of its sections on safety, then those that call themselves so."""
    noted = _sentences(manual, SAFETY)
    called = [(each, span) for each, span in _quotable(manual) if WARNED.match(each.text, span[0])]
    return list(dict.fromkeys([*noted, *called]))


def _reasons(
    steps: Sequence[str], causes: Sequence[tuple[Passage, _Span]], language: Language
) -> Callable[[str], tuple[Passage, _Span] | None]:
    """Return what tells the cause that a step cures: the one that shares most of what is rare among all."""
    said = [set(stems(passage.text[slice(*span)], language)) for passage, span in causes]
    every = [*said, *(set(stems(step, language)) for step in steps)]
    found = Counter(stem for each in every for stem in each)

    def weight(some: set[str]) -> float:
        return sum(math.log(1 + len(every) / (1 + found[stem])) for stem in some)

    def reason_of(step: str) -> tuple[Passage, _Span] | None:
        wanted = set(stems(step, language))
        least = [min(weight(wanted), weight(each)) for each in said]
        shares = [weight(wanted & each) / (most or 1) for each, most in zip(said, least, strict=True)]
        best = max(range(len(said)), key=shares.__getitem__, default=0)
        related = said and shares[best] >= SHARE and len(wanted & said[best]) >= RELATED
        return causes[best] if related else None

    return reason_of
