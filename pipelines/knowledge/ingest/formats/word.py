"""Reads Word documents by way of HTML: what mammoth leaves out is put where it reads it, what is hidden goes."""

import io
import re
from collections.abc import Callable, Iterator
from xml.etree import ElementTree
from zipfile import ZIP_STORED, BadZipFile, ZipFile

from pipelines.errors import InvalidInput
from pipelines.knowledge.ingest.formats.blocks import Read
from pipelines.knowledge.ingest.formats.equations import omml
from pipelines.knowledge.ingest.formats.html import read_html

UNPACKED_BYTES = 200_000_000  # Source: own choice; four times the largest upload, and a zip bomb has thousands
XML_BYTES = 60_000_000  # Source: own choice; the text of a manual of 1,000 pages takes some 20 million

W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
M = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
MC = "{http://schemas.openxmlformats.org/markup-compatibility/2006}"
TEXTS = re.compile(r"^word/(?:document|footnotes|endnotes)\d*\.xml$")
# Half points. Source: own choice; print of less than two points cannot be read.
SMALLEST = 4
RAISED_BY = 3  # half points above the line, from which on small type is an exponent. Source: own choice
UNWRAPPED = frozenset(f"{W}{name}" for name in ("moveTo", "customXml", "dir", "bdo"))
PALE = re.compile(r"^[f][0-9a-f]([f][0-9a-f]){2}$", re.IGNORECASE)
BACK = re.compile(r'<a href="#(?:foot|end)note-ref-\d+">↑</a>')

DEPTH = 100  # Source: own choice; a run of a table in a table in a box lies some thirty deep

Node = ElementTree.Element


def read_docx(name: str, content: bytes) -> Read:
    """Read a Word document: headings, lists, tables, notes, text boxes and equations stay, pictures go.

    Raises:
        InvalidInput: It is no Word document, broken, or far larger than any.
    """
    import mammoth

    try:
        with ZipFile(io.BytesIO(content)) as file:
            size = sum(part.file_size for part in file.infolist())
            if size > UNPACKED_BYTES:
                raise InvalidInput("document.content", name, f"must not unpack to more than {UNPACKED_BYTES} bytes")
            prepared, styles = _prepared(name, file)
        images = mammoth.images.img_element(lambda _: {})
        found = mammoth.convert_to_html(prepared, convert_image=images, style_map=styles)
    except BadZipFile:
        raise InvalidInput("document.content", name, "must be a Word document, as its name says") from None
    except InvalidInput:
        raise
    except Exception:  # a parser of hostile files fails in every way there is
        raise InvalidInput("document.content", name, "must be a readable Word document; this one is broken") from None
    return read_html(name, BACK.sub("", found.value))


def _prepared(name: str, file: ZipFile) -> tuple[io.BytesIO, str]:
    """Return the document as mammoth is to read it, and which styles are headings."""
    names = set(file.namelist())
    styles = _Styles(_parsed(name, file, "word/styles.xml") if "word/styles.xml" in names else None)
    copy = io.BytesIO()
    with ZipFile(copy, "w", ZIP_STORED) as made:
        for part in names:
            if TEXTS.match(part):
                root = _parsed(name, file, part)
                _Part(root, styles).prepare()
                made.writestr(part, ElementTree.tostring(root))
            elif part.endswith((".xml", ".rels")):
                made.writestr(part, file.read(part))
            else:
                made.writestr(part, b"")  # pictures are not read
    copy.seek(0)
    return copy, styles.map


def _parsed(name: str, file: ZipFile, part: str) -> Node:
    if file.getinfo(part).file_size > XML_BYTES:
        raise InvalidInput("document.content", name, f"must not have more than {XML_BYTES} bytes of text and marks")
    content = file.read(part)
    if b"<!DOCTYPE" in content:  # Word writes none, and entities that multiply need one
        raise InvalidInput("document.content", name, "must be a Word document without entities of its own")
    return ElementTree.fromstring(content)  # noqa: S314 (no entities)


def _on(parent: Node | None, mark: str) -> bool:
    """Tell whether a switch is set among properties."""
    found = parent.find(f"{W}{mark}") if parent is not None else None
    return found is not None and found.get(f"{W}val", "1") not in ("0", "false", "off")


def _value(parent: Node | None, path: str, key: str = "val") -> str:
    found = parent.find("/".join(f"{W}{step}" for step in path.split("/"))) if parent is not None else None
    return found.get(f"{W}{key}", "") if found is not None else ""


class _Styles:
    """What styles say of hiding and of headings, those they are based on included."""

    def __init__(self, root: Node | None) -> None:
        self._styles = {style.get(f"{W}styleId", ""): style for style in (root if root is not None else ())}
        self.map = "\n".join(self._headings())

    def _chain(self, key: str) -> Iterator[Node]:
        for _ in range(10):
            style = self._styles.get(key)
            if style is None:
                return
            yield style
            key = _value(style, "basedOn")

    def first(self, key: str, said: Callable[[Node], str]) -> str:
        """Return the nearest thing that a style or one it is based on says."""
        return next((found for style in self._chain(key) if (found := said(style))), "")

    def hides(self, key: str) -> bool:
        return any(_on(style.find(f"{W}rPr"), "vanish") for style in self._chain(key))

    def shades(self, key: str) -> bool:
        """Tell whether a style colours what lies behind its text."""
        return any(shade.get(f"{W}fill", "auto").lower() not in ("auto", "ffffff") for shade in self._shades(key))

    def _shades(self, key: str) -> Iterator[Node]:
        for style in self._chain(key):
            yield from style.iter(f"{W}shd")

    def _headings(self) -> Iterator[str]:
        for key, style in self._styles.items():
            called = _value(style, "name")
            level = "0" if called.lower() == "title" else self.first(key, lambda node: _value(node, "pPr/outlineLvl"))
            if style.get(f"{W}type") == "paragraph" and level in ("0", "1", "2", "3", "4", "5") and "'" not in called:
                yield f"p[style-name='{called}'] => h{int(level) + 1}:fresh"


class _Part:
    """One text of a document, changed so that it says what its reader sees."""

    def __init__(self, root: Node, styles: _Styles) -> None:
        self._root = root
        self._styles = styles
        self._parents: dict[Node, Node] = {}
        self._instead: dict[Node, list[Node]] = {}

    def prepare(self) -> None:
        """Change the text; each step sees what the one before has made."""
        for step in (self._choose, self._unwrap, self._write_equations, self._hide, self._lift_boxes):
            self._parents = {child: parent for parent in self._root.iter() for child in parent}
            self._instead = {}
            step()
            for parent in {self._parents[node] for node in self._instead if node in self._parents}:
                parent[:] = [other for child in parent for other in self._instead.get(child, [child])]

    def _ancestors(self, node: Node) -> Iterator[Node]:
        for _ in range(DEPTH):
            if node not in self._parents:
                return
            node = self._parents[node]
            yield node

    def _choose(self) -> None:
        """Of what is written twice, for new and for old readers, keep one."""
        for both in self._root.iter(f"{MC}AlternateContent"):
            choice = both.find(f"{MC}Choice")
            if choice is not None and next(choice.iter(f"{W}txbxContent"), None) is not None:
                self._instead |= {old: [] for old in both.findall(f"{MC}Fallback")}

    def _unwrap(self) -> None:
        self._instead = {node: list(node) for node in self._root.iter() if node.tag in UNWRAPPED}

    def _write_equations(self) -> None:
        for node in self._root.iter(f"{M}oMath"):
            run = ElementTree.Element(f"{W}r")
            ElementTree.SubElement(run, f"{W}t").text = f" {omml(node)} "
            outer = next((above for above in self._ancestors(node) if above.tag == f"{M}oMathPara"), node)
            self._instead.setdefault(outer, []).append(run)

    def _hide(self) -> None:
        for run in self._root.iter(f"{W}r"):
            properties = run.find(f"{W}rPr")
            if self._hidden(run, properties):
                self._instead[run] = []
            elif properties is not None and _number(_value(properties, "position")) >= RAISED_BY:
                ElementTree.SubElement(properties, f"{W}vertAlign", {f"{W}val": "superscript"})

    def _hidden(self, run: Node, properties: Node | None) -> bool:
        paragraph = next((above for above in self._ancestors(run) if above.tag == f"{W}p"), None)
        styles = (_value(properties, "rStyle"), _value(paragraph, "pPr/pStyle"))
        if _on(properties, "vanish") or any(key and self._styles.hides(key) for key in styles):
            return properties is None or properties.find(f"{W}vanish") is None or _on(properties, "vanish")
        size = _value(properties, "sz")
        if size and _number(size) < SMALLEST:
            return True
        return bool(PALE.match(_value(properties, "color"))) and not self._shaded(run, properties)

    def _shaded(self, run: Node, properties: Node | None) -> bool:
        """Tell whether anything but white lies behind a run."""
        own = [_value(properties, "shd", "fill"), _value(properties, "highlight")]
        tables = []
        for above in self._ancestors(run):
            own += [_value(above, f"{kind}/shd", "fill") for kind in ("pPr", "tcPr", "tblPr")]
            tables.append(_value(above, "tblPr/tblStyle"))
            if above.tag.endswith(("}wsp", "}shape", "}textbox")):
                return True  # a box may be of any colour
        return any(fill.lower() not in ("", "auto", "ffffff", "white") for fill in own) or any(
            key and self._styles.shades(key) for key in tables
        )

    def _lift_boxes(self) -> None:
        """Put the paragraphs of a text box behind the paragraph that it is anchored in."""
        for box in list(self._root.iter(f"{W}txbxContent")):
            anchors = [above for above in self._ancestors(box) if above.tag == f"{W}p"]
            if anchors:
                self._instead.setdefault(anchors[-1], [anchors[-1]]).extend(box)
                box[:] = []


def _number(value: str) -> float:
    try:
        return float(value)
    except ValueError:
        return 0.0
