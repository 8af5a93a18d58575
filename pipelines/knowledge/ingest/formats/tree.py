"""A page of HTML as elements, tags that were left out put in as browsers do."""

import re
from collections.abc import Iterator
from html import unescape
from itertools import islice

from pipelines.errors import InvalidInput
from pipelines.knowledge.ingest.formats.styles import Attributes, Element

# Source: own choices; a saved manual of 1,000 pages has some 100,000 elements, nested some thirty deep.
ELEMENTS = 400_000
DEPTH = 100

VOID_TAGS = frozenset(
    ["area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr"]
)
BLOCKS = frozenset(
    [
        "address",
        "article",
        "aside",
        "blockquote",
        "body",
        "caption",
        "center",
        "dd",
        "details",
        "dialog",
        "div",
        "dl",
        "dt",
        "fieldset",
        "figcaption",
        "figure",
        "footer",
        "form",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "header",
        "hr",
        "html",
        "legend",
        "li",
        "main",
        "menu",
        "ol",
        "p",
        "pre",
        "section",
        "summary",
        "table",
        "td",
        "th",
        "tr",
        "ul",
    ]
)
# What the beginning of a tag ends, and inside which one it does not look further. Source: HTML, optional tags.
ENDS: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    "li": (frozenset(("li",)), frozenset(("ul", "ol", "menu"))),
    **dict.fromkeys(("dt", "dd"), (frozenset(("dt", "dd")), frozenset(("dl",)))),
    **dict.fromkeys(("td", "th"), (frozenset(("td", "th")), frozenset(("table", "tr")))),
    "tr": (frozenset(("tr", "td", "th")), frozenset(("table",))),
    **dict.fromkeys(
        ("thead", "tbody", "tfoot"),
        (frozenset(("thead", "tbody", "tfoot", "tr", "td", "th", "caption", "colgroup")), frozenset(("table",))),
    ),
    "option": (frozenset(("option",)), frozenset(("select",))),
}
BOX = frozenset(("td", "th", "table", "div", "li", "body", "blockquote", "section", "article", "form", "dd", "main"))

NOTED = frozenset(("table", "h1", "h2", "h3"))
RAW_TAGS = frozenset(("script", "style", "title", "textarea"))
# Source: own choices; pictures written into a page are its longest attributes, and are not read.
LONGEST_TAG = 20_000
ATTRIBUTES = 50
UNCLOSED = 1_000
NAME = re.compile(r"[a-zA-Z][\w:-]{0,60}")
# Possessive, so that none of it is tried twice.
INNER = re.compile(r"(?:[^>\"']++|\"[^\"]*+\"|'[^']*+')*+")
ATTRIBUTE = re.compile(r"([^\s=/\"'>]++)(?:\s*+=\s*+(\"[^\"]*+\"|'[^']*+'|[^\s>]*+))?")


class _Tree:
    """Builds elements; what is nested without end hangs on the deepest one that any page has."""

    def __init__(self) -> None:
        self.root = Element("html", {})
        self.at = self.root
        self.count = 0

    def begin(self, tag: str, attributes: Attributes, closed: bool) -> None:
        self.count += 1
        if self.count > ELEMENTS:
            raise InvalidInput("document.content", "html", f"must not have more than {ELEMENTS} elements")
        if tag == "html" and self.at is self.root and not self.root.children:
            self.root = self.at = Element("html", attributes)
            return
        self._end_before(tag)
        element = Element(tag, attributes, self.at, self.at.depth + 1)
        self.at.children.append(element)
        if tag in NOTED:
            self._note(tag)
        if not (tag in VOID_TAGS or (closed and tag not in BLOCKS) or element.depth >= DEPTH):
            self.at = element

    def _note(self, tag: str) -> None:
        above: Element | None = self.at
        while above is not None and tag not in above.holds:
            above.holds.add(tag)
            above = above.parent

    def _end_before(self, tag: str) -> None:
        ended, within = ENDS.get(tag, (frozenset(), frozenset()))
        if tag in BLOCKS and tag not in ENDS:
            ended, within = frozenset(("p",)), BOX
        at: Element | None = self.at
        while at is not None and at.tag not in within:
            if at.tag in ended:
                self.at = at.parent or self.root
            at = at.parent

    def end(self, tag: str) -> None:
        at: Element | None = self.at
        while at is not None and at.tag != tag:
            if at.tag in ("td", "th", "table") and tag not in ("tr", "table", "tbody", "thead", "tfoot", "body"):
                return  # a stray end inside a cell ends nothing outside
            at = at.parent
        if at is not None:
            self.at = at.parent or self.root

    def text(self, text: str) -> None:
        if text:
            self.at.children.append(unescape(text))

    def feed(self, text: str) -> None:
        """Take a page in, each of its characters a bounded number of times."""
        at = 0
        marks = _Marks(text)
        while (begin := text.find("<", at)) >= 0:
            self.text(text[at:begin])
            at = self._markup(text, begin, marks)
        self.text(text[at:])

    def _markup(self, text: str, begin: int, marks: "_Marks") -> int:
        """Read what a `<` begins; return where the text goes on."""
        if text.startswith("<!--", begin):
            end = marks.find("-->", begin + 4)
            return end + 3 if end >= 0 else begin + 4
        kind = text[begin + 1 : begin + 2]
        end = marks.find(">", begin) if kind and (kind in "!?/" or kind.isalpha()) else -1
        if end < 0:
            self.text("<")
            return begin + 1
        if kind in "!?":
            return end + 1
        if kind == "/":
            if name := NAME.match(text, begin + 2):
                self.end(name[0].lower())
            return end + 1
        return self._tag(text, begin, end, marks)

    def _tag(self, text: str, begin: int, end: int, marks: "_Marks") -> int:
        name = NAME.match(text, begin + 1)
        if name is None:
            self.text("<")
            return begin + 1
        if marks.unclosed < UNCLOSED:
            inner = INNER.match(text, name.end(), name.end() + LONGEST_TAG)
            whole = inner is not None and text.startswith(">", inner.end())
            marks.unclosed += not whole
            end = inner.end() if inner is not None and whole else end
        written = text[name.end() : min(end, name.end() + LONGEST_TAG)]
        tag = name[0].lower()
        self.begin(tag, _attributes(written), written.rstrip().endswith("/"))
        return self._raw(tag, text, end + 1) if tag in RAW_TAGS else end + 1

    def _raw(self, tag: str, text: str, at: int) -> int:
        """Read what holds no tags up to its own end."""
        closing = re.compile(f"</{tag}", re.IGNORECASE).search(text, at)
        end = closing.start() if closing else len(text)
        self.at.children.append(text[at:end] if tag in ("script", "style") else unescape(text[at:end]))
        return end


class _Marks:
    """Finds marks in a text, and never looks twice for one that does not come any more."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._gone: set[str] = set()
        self.unclosed = 0  # tags whose quotes do not close; after many, quotes are taken for letters

    def find(self, mark: str, at: int) -> int:
        """Return where a mark comes next, -1 where it does not."""
        found = -1 if mark in self._gone else self._text.find(mark, at)
        if found < 0:
            self._gone.add(mark)
        return found


def _attributes(written: str) -> Attributes:
    found: dict[str, str] = {}
    for one in islice(ATTRIBUTE.finditer(written), ATTRIBUTES):
        found.setdefault(one[1].lower(), unescape((one[2] or "").strip("\"'")))
    return found


def elements(element: Element, tag: str, nested: bool = True) -> Iterator[Element]:
    """Yield the elements of a name below one, in order; those inside one another too, or the outermost alone."""
    waiting: list[Element] = [element]
    while waiting:
        at = waiting.pop()
        if at.tag == tag:
            yield at
            if not nested:
                continue
        waiting += [child for child in reversed(at.children) if isinstance(child, Element)]


def text_of(element: Element) -> str:
    """Return all text below an element."""
    return "".join(child if isinstance(child, str) else text_of(child) for child in element.children)


def parsed(text: str) -> Element:
    """Return a page's outermost element.

    Raises:
        InvalidInput: It has more elements than any page.
    """
    tree = _Tree()
    tree.feed(text)
    return tree.root
