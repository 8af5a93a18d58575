"""Cuts a document's pages into passages, and any text into sentences; every cut falls between sentences."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from pipelines.knowledge.ingest.formats import HEADING, ITEM
from pipelines.knowledge.ingest.injection import order_in
from pipelines.knowledge.ingest.unpacking import check_count
from pipelines.knowledge.records import Document, Language, Page, Passage

# Units: characters. Source: 1,000 characters of English are about 220 word pieces; the encoder reads 256.
LONGEST = 1_000
AIM = 800
# Of all headings above a passage, which is read and indexed with them: without an end their length would count once for
# each passage. Source: own choice, as long as the longest passage.
HEADING_MAX = 1_000
# Longer lines are split in parts: the sentence splitter takes quadratic time over a run of opening quotes.
LONGEST_LINE = 20_000

# Parts that only name sources; found, they would crowd out the text that rests on them.
BIBLIOGRAPHY = frozenset({"sources", "references", "bibliography", "источники", "литература", "список литературы"})

# Abbreviations of manuals that the sentence splitter does not know; no sentence ends after them.
ABBREVIATION = re.compile(
    r"(?:^|[\s(«\"])(?:approx|min|max|fig|figs|tab|ref|dia|temp|vol|pos|incl|resp|sec|ca|"
    r"ок|рис|табл|см|прим|поз|мин|макс|напр|т\.\s?[екдпн]|и\s?др|тыс|диам|стр|разд|гл|п|пп)\.\s*$",
    re.IGNORECASE,
)
ABBREVIATION_REACH = 12  # characters: the longest of them with its stop and the spaces around it
LOWER = re.compile(r"[«\"(]?[a-zа-яё]")

LABELLED = re.compile(r"[^:.!?]{1,60}: \S")

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Section:
    """Sentences under one heading."""

    heading: str
    spans: tuple[Span, ...]


def sentences(text: str, language: Language) -> list[Span]:
    """Return the span of each sentence, without white space around it.

    A heading, a list item and a table row are one sentence each, whatever stops they hold; a list item's span leaves
    its marker out, a heading's its `#` signs.
    """
    found: list[Span] = []
    start = 0
    for line in text.split("\n"):
        found += _line_sentences(line, start, language)
        start += len(line) + 1
    return found


def _line_sentences(line: str, offset: int, language: Language) -> list[Span]:
    if unit := HEADING.match(line):
        start, end = _trimmed(line, *unit.span(2))
        return [(offset + start, offset + end)]
    if unit := ITEM.match(line):
        return _cut([_trimmed(line, unit.start(3), len(line))], line, offset) if unit[3].strip() else []
    if not line.strip():
        return []
    if is_row(line):
        return _cut([_trimmed(line, 0, len(line))], line, offset)
    return _cut(prose(line, language), line, offset)


def is_row(line: str) -> bool:
    """Tell whether a line is a row of a table: values with the names of their columns, a title before them at most."""
    parts = line.split("; ")
    return len(parts) > 1 and sum(bool(LABELLED.match(part)) for part in parts) >= max(2, len(parts) - 1)


def prose(line: str, language: Language) -> list[Span]:
    """Split running text; a stop after an abbreviation or before a small letter does not end a sentence."""
    from semantic_text_splitter import TextSplitter
    from sentencex import get_sentence_boundaries

    if len(line) > LONGEST_LINE:
        pieces = TextSplitter(LONGEST_LINE).chunk_indices(line)
        return [(at + start, at + end) for at, piece in pieces for start, end in prose(piece, language)]
    spans: list[Span] = []
    start = 0
    for boundary in get_sentence_boundaries(language, line):
        end = int(boundary["end_index"])
        if not LOWER.match(line, end) and not ABBREVIATION.search(line[max(start, end - ABBREVIATION_REACH) : end]):
            spans.append(_trimmed(line, start, end))
            start = end
    if line[start:].strip():
        spans.append(_trimmed(line, start, len(line)))
    return [span for span in spans if span[0] < span[1]]


def _trimmed(line: str, start: int, end: int) -> Span:
    text = line[start:end]
    return start + len(text) - len(text.lstrip()), start + len(text.rstrip())


def _cut(spans: list[Span], line: str, offset: int) -> list[Span]:
    """Cut what no reader would call a sentence any more, at the best place below the longest length."""
    from semantic_text_splitter import TextSplitter

    found: list[Span] = []
    for start, end in spans:
        if end - start <= LONGEST:
            found.append((offset + start, offset + end))
            continue
        for at, piece in TextSplitter(LONGEST).chunk_indices(line[start:end]):
            found.append((offset + start + at, offset + start + at + len(piece)))
    return found


def passages(document: Document) -> list[Passage]:
    """Cut a document into passages of about 600 to 1,000 characters, fewer where a section is shorter.

    A passage stays inside one page and under one heading, and `page.text[start:end] == text`.

    Raises:
        InvalidInput: The document has too many pages or passages.
    """
    cuts = list(_cuts(document))
    check_count(document.title, len(document.pages), len(cuts))  # before each is looked at for orders, which costs most
    return [
        Passage(
            passage_id=f"{document.document_id}:{page.number}:{start}",
            document_id=document.document_id,
            title=document.title,
            language=document.language,
            page=page.number,
            start=start,
            end=end,
            heading=heading,
            text=page.text[start:end],
            flag=order_in(f"{document.title}\n{heading}\n{page.text[start:end]}"),
        )
        for page, heading, (start, end) in cuts
    ]


def _cuts(document: Document) -> Iterator[tuple[Page, str, Span]]:
    """Yield where each passage stands, with the headings above it."""
    for page in document.pages:
        for section in _sections(page, document.language):
            if section.heading.rpartition(" > ")[2].strip(" .:").lower() not in BIBLIOGRAPHY:
                yield from ((page, section.heading, span) for span in _packed(section.spans))


def _sections(page: Page, language: Language) -> Iterator[_Section]:
    path: list[tuple[int, str]] = []
    spans: list[Span] = []
    start = 0
    for line in page.text.split("\n"):
        if heading := HEADING.match(line):
            if spans:
                yield _Section(" > ".join(title for _, title in path)[:HEADING_MAX], tuple(spans))
            spans = []
            level = len(heading[1])
            path = [*((depth, title) for depth, title in path if depth < level), (level, heading[2][:HEADING_MAX])]
        else:
            units = _line_sentences(line, start, language)
            if units and ITEM.match(line):
                # The marker belongs to the passage, though not to the sentence: steps are read with their numbers.
                units[0] = (start + len(line) - len(line.lstrip()), units[0][1])
            spans += units
        start += len(line) + 1
    if spans:
        yield _Section(" > ".join(title for _, title in path)[:HEADING_MAX], tuple(spans))


def _packed(spans: tuple[Span, ...]) -> list[Span]:
    """Join neighbouring sentences into passages of nearly equal length."""
    length = spans[-1][1] - spans[0][0]
    aim = length / max(1, round(length / AIM))
    found: list[Span] = []
    start, end = spans[0]
    for first, last in spans[1:]:
        over = last - start > LONGEST
        if over or (end - start) + (last - first) / 2 > aim:
            found.append((start, end))
            start = first
        end = last
    return [*found, (start, end)]
