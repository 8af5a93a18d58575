"""Turns the manual's sections into steps, each quoted: what first, why, and whether the machine must stand still."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from pipelines.knowledge.answer.answer import citation
from pipelines.knowledge.ingest.passages import sentences
from pipelines.knowledge.records import Answer, Citation, Found, Hit, Language, Note, Passage, Question, Step
from pipelines.knowledge.search.text import asks_for_remedy, stems, words, words_of

# What a section is for, by the last of its headings.
REPAIR = re.compile(
    r"repair|remed|what to do|corrective|procedure|solution|ремонт|устранени|что делать|порядок действий", re.IGNORECASE
)
CAUSES = re.compile(r"cause|reason|причин", re.IGNORECASE)
SAFETY = re.compile(r"safety|warning|danger|caution|безопасност|предупрежден|опасност|осторожно", re.IGNORECASE)

# Work on what holds pressure or moves.
# Source: ISO 4413:2010, 5.4 and ISO 14118:2017: such work only when the machine is isolated and without pressure.
STANDSTILL: dict[Language, frozenset[str]] = {
    "en": words_of(
        """replace remove fit install disassemble dismantle open drain disconnect weld flush change align tighten cut
        refit unscrew mount bleed empty"""
    ),
    "ru": words_of(
        """замените заменить снимите снять установите установить разберите разобрать откройте открыть слейте слить
        отсоедините отсоединить промойте промыть затяните затянуть отцентрируйте выверните смонтируйте поменяйте
        удалите удалить опорожните"""
    ),
}
STEPS, NOTES = 8, 4
RELATED = 2  # stems that a cause and a step must share, for the one to be the reason of the other


def advised(answer: Answer, question: Question, found: Found) -> Answer:
    """Add to an answer the steps of the manual that it rests on, where a remedy was asked for.

    Args:
        answer: Not added to when it abstains.
        question: What was asked.
        found: With the manual to take them from.
    """
    manual = found.manual
    if answer.abstained or not manual or not asks_for_remedy(question.text, question.language):
        return answer
    language = manual[0].language
    quotes = _Quotes(answer.citations, found.hits[0].score)
    causes = _sentences(manual, CAUSES)
    steps = []
    for priority, (passage, span) in enumerate(_items(manual, REPAIR)[:STEPS], 1):
        text = passage.text[slice(*span)]
        cause = _related(text, causes, language)
        steps.append(
            Step(
                priority=priority,
                text=text,
                citation=quotes.number(passage, span),
                rationale=cause[0].text[slice(*cause[1])] if cause else "",
                rationale_citation=quotes.number(*cause) if cause else None,
                requires_shutdown=not STANDSTILL[language].isdisjoint(words(text)),
            )
        )
    safety = [
        Note(passage.text[slice(*span)], quotes.number(passage, span)) for passage, span in _sentences(manual, SAFETY)
    ] if steps else []  # fmt: skip
    return replace(answer, citations=tuple(quotes.known), steps=tuple(steps), safety=tuple(safety[:NOTES]))


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
    found = _sections(manual, kind)
    return [(passage, span) for passage in found for span in sentences(passage.text, passage.language)]


def _items(manual: Sequence[Passage], kind: re.Pattern[str]) -> list[tuple[Passage, _Span]]:
    """Return the list items of a section; all its sentences where it has no list."""
    every = _sentences(manual, kind)
    listed = [
        (passage, span)
        for passage, span in every
        if re.search(r"(?:^|\n)[ \t]*(?:\d{1,3}[.)]|-)[ \t]+$", passage.text[: span[0]])
    ]
    return listed or every


def _related(text: str, causes: Sequence[tuple[Passage, _Span]], language: Language) -> tuple[Passage, _Span] | None:
    """Return the cause that shares most stems with a step."""
    wanted = set(stems(text, language))
    shared = [len(wanted & set(stems(passage.text[slice(*span)], language))) for passage, span in causes]
    best = max(range(len(causes)), key=shared.__getitem__, default=0)
    return causes[best] if causes and shared[best] >= RELATED else None
