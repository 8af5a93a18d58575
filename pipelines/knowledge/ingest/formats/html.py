"""Reads web pages as their reader sees them: blocks, lists and tables, and no menus, scripts or hidden text."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice

from pipelines.errors import InvalidInput
from pipelines.knowledge.ingest.formats.blocks import (
    ENDED,
    Read,
    fractions,
    lines_of,
    lowered,
    printable,
    raised,
    spaced,
    unmarked,
)
from pipelines.knowledge.ingest.formats.equations import mathml
from pipelines.knowledge.ingest.formats.grid import Cell, named, read_rows
from pipelines.knowledge.ingest.formats.styles import Element, Look, StyleRules, looked
from pipelines.knowledge.ingest.formats.tree import BLOCKS, elements, parsed, text_of

# Parts of a web page that hold no content.
EMPTY_TAGS = frozenset(
    ("script", "style", "noscript", "template", "nav", "svg", "iframe", "head", "object", "audio", "video", "canvas")
)
# Source: own choices: a cell of more is a part of a page.
PARAGRAPHS = 2
PIECES = 500
CELL_LONGEST = 400  # characters beside a table in it
INPUTS = frozenset(("", "text", "number", "date", "tel", "email", "url", "search", "time", "month", "week"))


def read_html(name: str, content: bytes | str) -> Read:
    """Read a page's visible text; bytes may be in any encoding that the page declares."""
    from bs4 import UnicodeDammit

    text = content if isinstance(content, str) else UnicodeDammit(content, is_html=True).unicode_markup
    if not text:
        raise InvalidInput("document.content", name, "must be text in the encoding that it declares")
    root = parsed(text)
    title = next((spaced(text_of(element)) for element in elements(root, "title")), "")
    return Read(printable(title), root.attributes.get("lang", ""), [lines_of(blocks(root))])


def blocks(root: Element) -> list[str]:
    """Return what a page shows, one block a line."""
    rules = StyleRules(text_of(style) for style in elements(root, "style") if style.attributes.get("media") != "print")
    writer = _Writer(rules)
    writer.walk(root, Look())
    return [line for line in map(printable, writer.done()) if line.strip()]


@dataclass
class _Writer:
    """Walks a tree and collects its blocks.

    Attributes:
        marker: What the next block begins with, such as `1. ` or `# `.
    """

    rules: StyleRules
    lines: list[str] = field(default_factory=list)
    inline: list[str] = field(default_factory=list)
    marker: str = ""

    def done(self) -> list[str]:
        self.flush()
        return self.lines

    def flush(self) -> None:
        """End the block that is open; a line broken within it is a block of its own where it reads as one."""
        parts = [unmarked(part) for part in map(spaced, fractions("".join(self.inline)).split("\n"))]
        self.inline = []
        found: list[list[str]] = []
        for part in filter(None, parts):
            if found and (part[0].islower() or not (ENDED.search(found[-1][-1]) or ":" in part or part[0].isupper())):
                found[-1].append(part)
            else:
                found.append([part])
        lines = [" ".join(pieces) for pieces in found]
        if lines and self.marker:
            lines, self.marker = [self.marker + " ".join(lines)], ""
        self.lines += lines

    def walk(self, element: Element, inherited: Look) -> None:
        for child in element.children:
            if isinstance(child, str):
                self.inline.append(child.replace("\n", " ").replace("\r", " "))
            else:
                self._element(child, inherited)

    def _element(self, element: Element, inherited: Look) -> None:
        if element.tag in EMPTY_TAGS or _furniture(element):
            self._headings_of(element, inherited)
            return
        look = looked(element, self.rules.declared(element), inherited)
        if look.hidden:
            return
        if element.tag in BLOCKS:
            self.flush()
        handler = getattr(self, f"_{element.tag}", None) if element.tag in HANDLED else None
        if handler:
            handler(element, look)
        else:
            self.walk(element, look)
        if element.tag in BLOCKS:
            self.flush()

    def _headings_of(self, element: Element, inherited: Look) -> None:
        """Read the title that a page's banner holds, and nothing else of it."""
        if element.tag == "header":
            self.flush()
            for level in ("h1", "h2"):
                for heading in elements(element, level, nested=False):
                    self._element(heading, inherited)

    def _inner(self, element: Element, look: Look) -> list[str]:
        """Return the blocks of an element by itself."""
        writer = _Writer(self.rules)
        writer.walk(element, look)
        return writer.done()

    def _line(self, element: Element, look: Look) -> str:
        return spaced(" ".join(self._inner(element, look)))

    def _br(self, element: Element, look: Look) -> None:
        self.inline.append("\n")

    def _heading(self, element: Element, look: Look) -> None:
        if title := self._line(element, look):
            self.lines.append(f"{'#' * int(element.tag[1])} {title}")

    _h1 = _h2 = _h3 = _h4 = _h5 = _h6 = _heading

    def _list(self, element: Element, look: Look) -> None:
        start = element.attributes.get("start", "1")
        number = int(start) if re.fullmatch(r"\d{1,3}", start) else 1
        for child in element.children:
            if not isinstance(child, Element):
                continue
            value = child.attributes.get("value", "")
            number = int(value) if re.fullmatch(r"\d{1,3}", value) else number
            self.flush()
            if child.tag == "li":
                self.marker = f"{number}. " if element.tag == "ol" else "- "
                number += 1
            self._element(child, look)
            self.marker = ""

    _ul = _ol = _menu = _list

    def _dl(self, element: Element, look: Look) -> None:
        """Read terms with what is said of them; each is a key and its value."""
        term = ""
        for child in _below(element, ("dt", "dd")):
            shown = looked(child, self.rules.declared(child), look)
            if shown.hidden:
                continue
            if child.tag == "dt":
                term = self._line(child, shown)
            elif said := self._inner(child, shown):
                self.lines += [f"{term.rstrip(' :')}: {said[0]}" if term else said[0], *said[1:]]
                term = ""
        self.lines += [term] if term else []

    def _pre(self, element: Element, look: Look) -> None:
        self.lines += [line for line in map(unmarked, text_of(element).split("\n")) if line]

    def _sup(self, element: Element, look: Look) -> None:
        self.inline.append(raised(self._line(element, look)))

    def _sub(self, element: Element, look: Look) -> None:
        self.inline.append(lowered(self._line(element, look)))

    def _math(self, element: Element, look: Look) -> None:
        self.inline.append(f" {mathml(element)} ")

    def _input(self, element: Element, look: Look) -> None:
        kind, value = (element.attributes.get(key, "") for key in ("type", "value"))
        if kind.lower() in ("checkbox", "radio"):
            self.inline.append(" ☒ " if "checked" in element.attributes else " ☐ ")
        elif kind.lower() in INPUTS and value:
            self.inline.append(f" {value} ")

    def _select(self, element: Element, look: Look) -> None:
        options = list(elements(element, "option"))
        chosen = [option for option in options if "selected" in option.attributes] or options[:1]
        self.inline.append(f" {', '.join(spaced(text_of(option)) for option in chosen)} ")

    def _button(self, element: Element, look: Look) -> None:
        """Leave out what is only pressed."""

    def _table(self, element: Element, look: Look) -> None:
        rows = [
            (row, [cell for cell in row.children if isinstance(cell, Element) and cell.tag in ("td", "th")])
            for row in _below(element, ("tr",))
        ]
        for caption in _below(element, ("caption",)):
            self._element(caption, look)
        looks = [(cells, self._look_of_row(row, element, look)) for row, cells in rows]
        shown = [(cells, seen) for cells, seen in looks if not seen.hidden]
        if _is_layout(element, [cells for cells, _ in shown]):
            for cells, seen in shown:
                for cell in cells:
                    self._element(cell, seen)
            return
        table: list[list[Cell]] = []
        nested: list[str] = []
        for cells, seen in shown:
            table.append([self._cell(cell, seen) for cell in cells])
            nested += self._nested(cells, table, seen)
        self.lines += read_rows(table) + nested

    def _look_of_row(self, row: Element, table: Element, look: Look) -> Look:
        """Return how a row looks, by its group of rows, too."""
        group = row.parent
        outer = self._look(group, look) if group is not None and group is not table else look
        inner = self._look(row, outer)
        return replace(inner, hidden=inner.hidden or outer.hidden)

    def _look(self, element: Element, inherited: Look) -> Look:
        return looked(element, self.rules.declared(element), inherited)

    def _cell(self, cell: Element, inherited: Look) -> Cell:
        look = self._look(cell, inherited)
        inner = "" if look.hidden or _nests(cell) else self._line(cell, look)
        columns, rows = (_span(cell.attributes.get(key, "")) for key in ("colspan", "rowspan"))
        return Cell(printable(inner), columns, rows, cell.tag == "th" or _bold(cell))

    def _nested(self, cells: list[Element], table: list[list[Cell]], look: Look) -> list[str]:
        """Return the rows of tables inside cells, each with what the outer row says beside them."""
        found: list[str] = []
        for at, cell in enumerate(cells):
            if _nests(cell):
                titles = [title.text for title in table[0]] if len(table) > 1 else []
                beside = named(titles, [other.text if place != at else "" for place, other in enumerate(table[-1])])
                found += [f"{beside}; {line}" if beside else line for line in self._inner(cell, look)]
        if found:
            table.pop()
        return found


HANDLED = frozenset(("br", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "menu", "dl", "pre", "sup", "sub")) | {
    *("math", "input", "select", "button", "table")
}


def _furniture(element: Element) -> bool:
    """Tell whether an element is the banner or the foot of a whole page; those of an article are text."""
    if element.tag not in ("header", "footer"):
        return False
    at = element.parent
    while at is not None and at.tag not in ("article", "main", "section", "td", "blockquote", "figure", "dialog"):
        at = at.parent
    return at is None


def _below(element: Element, tags: tuple[str, ...]) -> Iterator[Element]:
    """Yield elements of a table or list, and not of those nested in it."""
    for child in element.children:
        if isinstance(child, Element):
            if child.tag in tags:
                yield child
            elif child.tag not in ("table", "dl"):
                yield from _below(child, tags)


def _is_layout(table: Element, rows: list[list[Element]]) -> bool:
    """Tell whether a table only places parts of the page."""
    cells = [cell for row in rows for cell in row]
    if table.attributes.get("role") in ("presentation", "none") or len(cells) < 2:
        return True
    if any(cell.tag == "th" for cell in cells):
        return False
    return any(_structured(cell) for cell in cells) and max(map(len, rows), default=0) <= 3


def _structured(cell: Element) -> bool:
    """Tell whether a cell holds a part of a page: headings, several paragraphs, or a table among much else."""
    if cell.holds - {"table"} or sum(1 for _ in islice(_below(cell, ("p",)), PARAGRAPHS + 1)) > PARAGRAPHS:
        return True
    return _nests(cell) and sum(len(text) for text in islice(_texts(cell), PIECES)) > CELL_LONGEST


def _texts(element: Element) -> Iterator[str]:
    """Yield the pieces of text below an element, an empty one for each element, so that whoever counts may stop."""
    waiting: list[Element | str] = [element]
    while waiting:
        at = waiting.pop()
        yield at.strip() if isinstance(at, str) else ""
        waiting += [] if isinstance(at, str) else at.children


def _nests(cell: Element) -> bool:
    return "table" in cell.holds


def _bold(cell: Element) -> bool:
    """Tell whether all of a cell's text is set bold."""
    inner = [child for child in cell.children if not isinstance(child, str) or child.strip()]
    while len(inner) == 1 and isinstance(inner[0], Element):
        if inner[0].tag in ("b", "strong"):
            return True
        inner = [child for child in inner[0].children if not isinstance(child, str) or child.strip()]
    return False


def _span(value: str) -> int:
    return max(1, min(10_000, int(value))) if re.fullmatch(r"\d{1,5}", value.strip()) else 1
