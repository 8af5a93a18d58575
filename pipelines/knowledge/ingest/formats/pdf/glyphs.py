"""Signs on a page as lines of text: what stands raised or lowered is kept apart from what stands on the line."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from operator import attrgetter

from pipelines.knowledge.ingest.formats.blocks import fractions, lowered, raised

# Units: the size of the type. Source: own choices, held by the manuals that the tests make; a word space is a quarter,
# a justified one seldom more than the whole, a gutter between columns at least one and a half.
WORD_GAP = 0.22
SPAN_GAP = 0.8
MARKER_GAP = 6.0
CELL_GAP = 0.65  # between cells of a table that lines tell to be one
ON_LINE = 0.18
SMALL = 0.88
TOUCHING = 0.45
DOUBLED = 0.12

MARKER = re.compile(r"^(?:[-*+•●▪■◦‣▸►➢❖·∙–—]|\d{1,3}[.)]|[a-zA-Zа-я][.)]|\(\d{1,2}\))$")
BULLETS = re.compile(r"^[•●▪■◦‣▸►➢❖·∙\uf0b7\uf0a7]\s*|^[–—]\s+")


@dataclass(slots=True)
class Glyph:
    """One sign, in a frame in which its text reads from left to right and lines follow downwards. Units: points."""

    text: str
    x0: float
    y0: float
    x1: float
    y1: float
    base: float
    size: float
    bold: bool = False
    apart: int = 0  # whether a space stands before it: 2 by the file, 1 by PDFium's reckoning
    shift: int = 0  # 1 raised, -1 lowered
    filled: bool = False  # it is what a field of a form holds


@dataclass(slots=True)
class Span:
    """A stretch of one line without a gap that separates columns. Units: points."""

    text: str
    x0: float
    y0: float
    x1: float
    y1: float
    base: float
    size: float
    bold: bool = False
    filled: bool = False  # it ends with what a field of a form holds


@dataclass(slots=True)
class _Line:
    """Signs that share a base line."""

    base: float
    size: float
    glyphs: list[Glyph] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)


def spans_of(glyphs: Iterable[Glyph], gap: float = SPAN_GAP) -> list[Span]:
    """Return the spans that signs make up, top down and left to right; `gap` parts two, in sizes of the type."""
    lines = _with_small(_lines(glyphs))
    found = [span for line in lines for span in _spans(line, gap)]
    return sorted(found, key=lambda span: (span.base, span.x0))


def _lines(glyphs: Iterable[Glyph]) -> list[_Line]:
    """Gather signs by base line and size."""
    lines: list[_Line] = []
    for glyph in sorted(glyphs, key=attrgetter("base", "x0")):
        for line in reversed(lines[-4:]):
            near = abs(glyph.base - line.base) <= ON_LINE * min(glyph.size, line.size)
            if near and SMALL < glyph.size / line.size < 1 / SMALL:
                line.glyphs.append(glyph)
                break
        else:
            lines.append(_Line(glyph.base, glyph.size, [glyph]))
    for line in lines:
        line.glyphs.sort(key=attrgetter("x0"))
        line.ends = [glyph.x1 for glyph in line.glyphs]
    return lines


def _with_small(lines: list[_Line]) -> list[_Line]:
    """Put exponents and indexes into the lines that they belong to."""
    bases = [line.base for line in lines]
    for small in lines:
        reach = 1.2 * small.size / SMALL
        near = lines[bisect_left(bases, small.base - reach) : bisect_right(bases, small.base + 2 * reach)][:20]
        hosts = [line for line in near if line is not small and line.glyphs and small.size < SMALL * line.size]
        kept = []
        for glyph in small.glyphs:
            host = next((line for line in hosts if _belongs(glyph, line)), None)
            if host is None:
                kept.append(glyph)
                continue
            glyph.shift = 1 if host.base > glyph.base + ON_LINE * host.size / 2 else -1
            at = bisect_right(host.ends, glyph.x1)
            host.glyphs.insert(at, glyph)
            host.ends.insert(at, glyph.x1)
        small.glyphs = kept
    return [line for line in lines if line.glyphs]


def _belongs(glyph: Glyph, line: _Line) -> bool:
    rise = (line.base - glyph.base) / line.size
    if not (-0.6 < rise < -0.04 or 0.1 < rise < 0.8):
        return False
    # It touches a sign of the line, or one that has come to it already.
    at = bisect_right(line.ends, glyph.x0 + TOUCHING * line.size)
    before = max(line.ends[max(0, at - 1) : at], default=-1e9)
    if glyph.x0 - before < TOUCHING * line.size:
        return True
    following = line.glyphs[bisect_right(line.ends, glyph.x1) :][:1]  # a note's number stands before its text
    return any(glyph.text.isdigit() and 0 <= other.x0 - glyph.x1 < TOUCHING * line.size for other in following)


def _spans(line: _Line, gap: float) -> list[Span]:
    """Cut a line where its gaps are wide."""
    runs: list[list[Glyph]] = []
    last: Glyph | None = None
    for glyph in line.glyphs:
        if last and not glyph.shift and glyph.text == last.text and abs(glyph.x0 - last.x0) < DOUBLED * glyph.size:
            continue  # print made bold by doing it twice
        if last is None or glyph.x0 - last.x1 > gap * line.size:
            runs.append([])
        runs[-1].append(glyph)
        last = glyph
    spans = [_span(run, line) for run in runs]
    return _with_markers([span for span in spans if span.text])


def _with_markers(spans: list[Span]) -> list[Span]:
    """Join the number or dot of an item with what it stands before."""
    found: list[Span] = []
    for span in spans:
        before = found[-1] if found else None
        if before and MARKER.match(before.text) and span.x0 - before.x1 < MARKER_GAP * span.size:
            before.text = f"{before.text} {span.text}"
            before.filled, before.x1, before.y0, before.y1 = (
                span.filled,
                span.x1,
                min(before.y0, span.y0),
                max(before.y1, span.y1),
            )
        else:
            found.append(span)
    for span in found:
        span.text = BULLETS.sub("- ", span.text)
    return found


def _span(glyphs: Sequence[Glyph], line: _Line) -> Span:
    on_line = [glyph for glyph in glyphs if not glyph.shift] or glyphs
    return Span(
        _written(glyphs, line.size),
        min(glyph.x0 for glyph in glyphs),
        min(glyph.y0 for glyph in on_line),
        max(glyph.x1 for glyph in glyphs),
        max(glyph.y1 for glyph in on_line),
        line.base,
        line.size,
        sum(glyph.bold for glyph in on_line) * 2 > len(on_line),
        glyphs[-1].filled,
    )


def _written(glyphs: Sequence[Glyph], size: float) -> str:
    """Write signs in a line, small ones as such, spaces where there are gaps."""
    parts: list[str] = []
    at = 0
    while at < len(glyphs):
        end = at + 1
        while end < len(glyphs) and bool(glyphs[end].shift) == bool(glyphs[at].shift):
            if glyphs[at].shift and glyphs[end].shift != glyphs[at].shift and not _stacked(glyphs[at:end], glyphs[end]):
                break
            end += 1
        before = glyphs[at - 1] if at else None
        gap = _gap(before, glyphs[at], size) if before else ""
        small = _small(glyphs[at:end], glyphs[end] if end < len(glyphs) else None, parts)
        parts.append(gap + (small if glyphs[at].shift else _plain(glyphs[at:end], size)))
        at = end
    return fractions("".join(parts)).strip()


def _gap(before: Glyph, glyph: Glyph, size: float) -> str:
    if glyph.shift or before.shift:
        return " " if glyph.apart > 1 or glyph.x0 - before.x1 > TOUCHING * size else ""
    return " " if glyph.apart or glyph.x0 - before.x1 > WORD_GAP * size else ""


def _plain(glyphs: Sequence[Glyph], size: float) -> str:
    parts = [glyphs[0].text]
    for before, glyph in pairwise(glyphs):
        parts.append(_gap(before, glyph, size) + glyph.text)
    return "".join(parts)


def _stacked(above: Sequence[Glyph], glyph: Glyph) -> bool:
    """Tell whether a small sign stands over or under others, as the parts of a fraction do."""
    return glyph.x0 < max(other.x1 for other in above) - 0.2 * glyph.size


def _small(glyphs: Sequence[Glyph], after: Glyph | None, parts: list[str]) -> str:
    over = "".join(glyph.text for glyph in glyphs if glyph.shift > 0)
    under = "".join(glyph.text for glyph in glyphs if glyph.shift < 0)
    if over and under and parts and parts[-1][-1:].isalpha():
        return lowered(under) + raised(over)  # an index and an exponent of one letter
    if over and under:
        return f" {over}/{under}" if parts and parts[-1][-1:].isdigit() else f"{over}/{under}"
    if not glyphs[0].shift:
        return ""
    return raised(over) if over else lowered(under)
