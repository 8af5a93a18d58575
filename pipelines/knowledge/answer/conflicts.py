"""Finds sentences of different documents that give different values for one thing, and which document is the newest."""

import re
from collections.abc import Sequence
from itertools import combinations

from pipelines.knowledge.answer.inquiry import Sentence
from pipelines.knowledge.records import Hit, Language
from pipelines.knowledge.search.identifiers import name_of, opening
from pipelines.knowledge.search.quantities import quantities

# Share of their stems that two sentences on one thing have in common, numbers left out. Source: own choice; two manuals
# that say the same in other words share half of them.
ONE_THING = 0.5
DIFFER: dict[Language, str] = {"en": "The sources differ {marks}.", "ru": "Источники расходятся {marks}."}
# A date or a year of edition, as title pages have them: 2024-05-12, 05/2024, 12.05.2024, 2024.
DATE = re.compile(
    r"(?<!\d)(?:(?P<year>(?:19|20)\d\d)(?:[-./](?P<month>0?[1-9]|1[0-2])(?!\d))?|"
    r"(?:\d{1,2}[./])?(?P<month2>0?[1-9]|1[0-2])[./](?P<year2>(?:19|20)\d\d))(?!\d)"
)
Edition = tuple[int, int]


def differing(sentences: Sequence[Sentence]) -> list[Sentence]:
    """Return those of some sentences that another document contradicts, in their order."""
    against = {
        place
        for (one, first), (other, second) in combinations(enumerate(sentences), 2)
        if _contradict(first, second)
        for place in (one, other)
    }
    return [sentence for place, sentence in enumerate(sentences) if place in against]


def newest_first(sentences: Sequence[Sentence], hits: Sequence[Hit]) -> list[Sentence]:
    """Order sentences by the edition of their documents, those without one last; else as they were."""
    return sorted(sentences, key=lambda sentence: edition(sentence.hit.passage.document_id, hits), reverse=True)


def edition(document_id: str, hits: Sequence[Hit]) -> Edition:
    """Return year and month of a document's edition, as title, file name or first lines say; else zeros."""
    own = [hit.passage for hit in hits if hit.passage.document_id == document_id]
    said = [name_of(document_id), *(part for passage in own for part in (passage.title, opening(passage)))]
    return max((_read(match) for text in said for match in DATE.finditer(text)), default=(0, 0))


def _read(match: re.Match[str]) -> Edition:
    return int(match["year"] or match["year2"]), int(match["month"] or match["month2"] or 0)


def _contradict(one: Sentence, other: Sentence) -> bool:
    if one.hit.passage.document_id == other.hit.passage.document_id:
        return False
    values = [dict(_by_unit(sentence.text)) for sentence in (one, other)]
    shared = values[0].keys() & values[1].keys()
    if not shared or any(values[0][unit] == values[1][unit] for unit in shared):
        return False
    stems = [{term for term in sentence.counted if not term[:1].isdigit()} for sentence in (one, other)]
    return len(stems[0] & stems[1]) >= ONE_THING * min(map(len, stems))


def _by_unit(text: str) -> list[tuple[str, str]]:
    return [(unit, number) for number, _, unit in (each.partition(" ") for each in quantities(text))]
