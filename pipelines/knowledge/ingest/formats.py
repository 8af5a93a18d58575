"""One reader a file type, each turning a file into pages of plain blocks; works for `documents`."""

import io
import re
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any, NamedTuple
from zipfile import BadZipFile, ZipFile

from pipelines.errors import InvalidInput


class Read(NamedTuple):
    """What a file says of itself, and the text of each page."""

    title: str
    language: str
    texts: list[str]


Reader = Callable[[str, bytes], Read]

BINARY = re.compile(rb"\x00|\A(%PDF-|PK\x03\x04|\x89PNG|\xff\xd8\xff|GIF8|\x1f\x8b|\xd0\xcf\x11\xe0)")
UTF_16 = (b"\xff\xfe", b"\xfe\xff")  # byte order marks; only a page of HTML may be so
UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x84\x86-\x9f\ufeff\ud800-\udfff]")
FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?)\n---[ \t]*(?:\n|\Z)", re.DOTALL)
FRONT_MATTER_CHARACTERS = 4_000  # Source: a title and a language need some hundred; YAML far larger is an attack
UNPACKED_BYTES = 200_000_000  # Source: own choice; four times the largest upload, and a zip bomb has thousands

# Parts of a web page that hold no content, and ways to hide text from the reader of a page but not from a parser.
EMPTY_TAGS = ["script", "style", "noscript", "template", "nav", "header", "footer", "form", "svg", "iframe", "head"]
HIDDEN = re.compile(
    r"display\s*:\s*none|visibility\s*:\s*hidden|font-size\s*:\s*0|opacity\s*:\s*0(?![.\d]*[1-9])", re.I
)

FENCE = re.compile(r"^\s*(```|~~~)")
HEADING = re.compile(r"^ {0,3}(#{1,6})\s+(\S.*)$")
ITEM = re.compile(r"^(\s*)([-*+•]|\d{1,3}[.)])\s+(.*)$")
RULE = re.compile(r"^\s*+([-*_=]\s*+){3,}$")
TABLE_RULE = re.compile(r"^\s*+\|?\s*+:?-++:?\s*+(\|\s*+:?-++:?\s*+)*+\|?\s*$")
# Inline markup has bounded lengths, so that no file takes more than linear time.
LINK = re.compile(r"!?\[([^\[\]\n]{0,300})\]\(<?([^()\s>]{0,1000})>?(?:\s\"[^\"\n]{0,300}\")?\)")
EMPHASIS = re.compile(r"(?<![\w*])(\*{1,3}|_{1,3})(?=\S)([^\n]{1,300}?)(?<=\S)\1(?![\w*])")
CODE = re.compile(r"(`{1,2})([^`\n]{1,300})\1")
ESCAPE = re.compile(r"\\([\\`*_{}\[\]()#+\-.!|<>~])")
TAG = re.compile(r"</?(?:br|p|b|i|em|strong|sub|sup|span|div|u)\b[^>\n]{0,200}>", re.IGNORECASE)
HYPHENATED = re.compile(r"(?<=[^\W\d_])[-\u00ad]\n(?=[a-zа-яё])")

# A line shorter than this share of its page's longest ends a block: type is set to the width of the column.
SHORT_LINE = 0.6


def _markdown(name: str, content: bytes) -> Read:
    title, language, text = _front_matter(name, _decoded(name, content))
    return Read(title, language, [_plain_markdown(text)])


def _text(name: str, content: bytes) -> Read:
    return Read("", "", [_reflowed(_decoded(name, content))])


def _html(name: str, content: bytes | str) -> Read:
    """Read a page's visible text; bytes may be in any encoding that the page declares."""
    from bs4 import BeautifulSoup
    from markdownify import MarkdownConverter

    try:
        page = BeautifulSoup(content, "html.parser")
        title = page.title.get_text(" ", strip=True) if page.title else ""
        language = str(page.html.get("lang") or "")[:2].lower() if page.html else ""
        for part in page(EMPTY_TAGS):
            part.decompose()
        for part in page(_hidden):
            part.decompose()
        plain = MarkdownConverter(
            heading_style="ATX", table_infer_header=True, strip=["a", "img"], escape_asterisks=False,
            escape_underscores=False, escape_misc=False,
        ).convert_soup(page)  # fmt: skip
    except RecursionError:
        raise InvalidInput(
            "document.content", name, "must be HTML nested like a page; this one is far deeper"
        ) from None
    return Read(_printable(title), language if language in ("en", "ru") else "", [_plain_markdown(_printable(plain))])


def _hidden(tag: Any) -> bool:
    # A parent that was hidden has taken its children with it: they have no attributes any more.
    given = tag.attrs or {}
    return "hidden" in given or given.get("aria-hidden") == "true" or bool(HIDDEN.search(str(given.get("style", ""))))


def _docx(name: str, content: bytes) -> Read:
    """Read a Word document by way of HTML: headings, lists and tables keep their meaning, pictures go."""
    import mammoth

    try:
        size = sum(part.file_size for part in ZipFile(io.BytesIO(content)).infolist())
    except BadZipFile:
        raise InvalidInput("document.content", name, "must be a Word document, as its name says") from None
    if size > UNPACKED_BYTES:
        raise InvalidInput("document.content", name, f"must not unpack to more than {UNPACKED_BYTES} bytes")
    try:
        found = mammoth.convert_to_html(io.BytesIO(content), convert_image=mammoth.images.img_element(lambda _: {}))
    except Exception:  # a parser of hostile files fails in every way there is
        raise InvalidInput("document.content", name, "must be a readable Word document; this one is broken") from None
    return _html(name, found.value)


def _pdf(name: str, content: bytes) -> Read:
    """Read text and ruled tables of each page; an empty page keeps its number."""
    import pdfplumber
    from pdfminer.pdfdocument import PDFPasswordIncorrect

    try:
        with pdfplumber.open(io.BytesIO(content)) as file:
            title = file.metadata.get("Title")
            texts = []
            for page in file.pages:
                texts.append(_page(page))
                page.close()
    except Exception as error:  # a parser of hostile files fails in every way there is
        broken = "must be a readable PDF; this one is broken"
        locked = any(isinstance(cause, PDFPasswordIncorrect) for cause in (error, *error.args))
        raise InvalidInput("document.content", name, "must not be encrypted" if locked else broken) from None
    return Read(_printable(str(title or "")).strip(), "", texts)


def _page(page: Any) -> str:
    """Return a page's text, its tables row by row after it."""
    tables = page.find_tables()
    boxes = [table.bbox for table in tables]
    outside = page.filter(lambda part: not any(_within(part, box) for box in boxes)) if boxes else page
    lines = [_reflowed(_printable(outside.extract_text()))]
    for table in tables:
        header, *rows = [[_printable(cell or "").replace("\n", " ").strip() for cell in row] for row in table.extract()]
        lines += [_row(header, row) for row in rows or [header]]
    return "\n".join(line for line in lines if line)


def _within(part: Mapping[str, Any], box: tuple[float, float, float, float]) -> bool:
    left, top, right, bottom = box
    return (
        part.get("object_type") == "char"
        and left <= (part["x0"] + part["x1"]) / 2 <= right
        and top <= (part["top"] + part["bottom"]) / 2 <= bottom
    )


READERS: Mapping[str, Reader] = {
    ".md": _markdown,
    ".markdown": _markdown,
    ".txt": _text,
    ".text": _text,
    ".html": _html,
    ".htm": _html,
    ".docx": _docx,
    ".pdf": _pdf,
}


# By the first bytes; what has none of these must be text.
MAGIC = {".pdf": b"%PDF-", ".docx": b"PK\x03\x04"}


def reader_of(name: str, content: bytes) -> Reader:
    """Return the reader of a file, by its name, once its first bytes agree with that.

    Raises:
        InvalidInput: Unknown type, content of another type, or empty.
    """
    suffix = PurePath(name).suffix.lower()
    if suffix not in READERS:
        raise InvalidInput("document.name", name, f"must end in one of {', '.join(READERS)}")
    if not content.strip():
        raise InvalidInput("document.content", name, "must not be empty")
    head = content[:4096].lstrip()
    magic = MAGIC.get(suffix)
    if magic and not head.startswith(magic):
        raise InvalidInput("document.content", name, f"must be a {suffix[1:].upper()} file, as its name says")
    if not magic and BINARY.search(head.replace(b"\x00", b"") if head[:2] in UTF_16 else head):
        raise InvalidInput("document.content", name, "must be plain text, as its name says; it is a binary file")
    return READERS[suffix]


def _decoded(name: str, content: bytes) -> str:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput("document.content", name, f"must be UTF-8; byte {error.start} is not") from None
    return _printable(text.replace("\r\n", "\n").replace("\r", "\n"))


def _printable(text: str) -> str:
    return UNPRINTABLE.sub("", text).replace("\u00a0", " ").replace("\x85", "\n")


def _front_matter(name: str, text: str) -> tuple[str, str, str]:
    """Cut title and language off the top."""
    import yaml

    match = FRONT_MATTER.match(text)
    if match is None:
        return "", "", text
    if len(match[1]) > FRONT_MATTER_CHARACTERS:
        raise InvalidInput(
            "document.content", name, f"front matter must not exceed {FRONT_MATTER_CHARACTERS} characters"
        )
    try:
        # Texts alone: no tag makes anything of a value, and no merge multiplies it.
        fields: Any = yaml.load(match[1], yaml.BaseLoader)  # noqa: S506 (it makes fewer kinds of things than the safe one)
    except (yaml.YAMLError, ValueError, RecursionError):
        raise InvalidInput("document.content", name, "front matter between --- lines must be YAML") from None
    if not isinstance(fields, dict):
        return "", "", text
    title, language = (fields.get(key) for key in ("title", "language"))
    return (
        _inline(title).strip() if isinstance(title, str) else "",
        language.strip().lower() if isinstance(language, str) else "",
        text[match.end() :],
    )


def _inline(text: str) -> str:
    text = LINK.sub(lambda link: f"{link[1]} ({link[2]})" if link[2].startswith("http") else link[1], text)
    text = CODE.sub(r"\2", TAG.sub(" ", text))
    text = EMPHASIS.sub(r"\2", EMPHASIS.sub(r"\2", text))
    return re.sub(r"[ \t]+", " ", ESCAPE.sub(r"\1", text)).strip()


def _cells(line: str) -> list[str]:
    return [_inline(cell) for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]


def _without_comments(text: str) -> str:
    first, *rest = text.split("<!--")
    # An opening without an end is text.
    return first + "".join(part.partition("-->")[2] if "-->" in part else f"<!--{part}" for part in rest)


class _Blocks:
    """Collects lines of Markdown into blocks."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.open: list[str] = []

    def close(self) -> None:
        if self.open:
            self.lines.append(" ".join(self.open))
        self.open = []

    def whole(self, line: str) -> None:
        self.close()
        if line:
            self.lines.append(line)


def _plain_markdown(text: str) -> str:
    """Return one block a line, without inline markup."""
    blocks, header, fenced = _Blocks(), list[str](), False
    lines = _without_comments(text).split("\n")
    for number, raw in enumerate(lines):
        line = re.sub(r"^\s*(>\s?)+", "", raw)
        below = lines[number + 1] if number + 1 < len(lines) else ""
        if FENCE.match(line):
            fenced = not fenced
            blocks.close()
        elif fenced:
            blocks.whole(line.strip())
        elif "|" in line and (header or ("|" in below and TABLE_RULE.match(below))):
            if not header:
                header = _cells(line)
            elif not TABLE_RULE.match(line):
                blocks.whole(_row(header, _cells(line)))
        else:
            header = []
            _line(blocks, line)
    blocks.close()
    return "\n".join(blocks.lines)


def _row(header: list[str], cells: list[str]) -> str:
    """Join a table row so that it can be read without its table."""
    named = [f"{title}: {cell}" if title else cell for title, cell in zip(header, cells, strict=False) if cell]
    return "; ".join([*named, *(cell for cell in cells[len(header) :] if cell)])


def _line(blocks: _Blocks, line: str) -> None:
    if heading := HEADING.match(line):
        title = _inline(heading[2].strip().rstrip("#"))
        blocks.whole(f"{heading[1]} {title}" if title else "")
    elif not line.strip() or RULE.match(line):
        blocks.close()
    elif item := ITEM.match(line):
        blocks.close()
        marker = item[2] if item[2][0].isdigit() else "-"
        blocks.open = [f"{marker} {_inline(item[3])}"]
    else:
        blocks.open.append(_inline(line))


def _reflowed(text: str) -> str:
    """Join lines that were broken only to fit the width, one block a line."""
    lines = [line.strip() for line in HYPHENATED.sub("", text).split("\n")]
    width = max(map(len, lines), default=0)
    blocks = _Blocks()
    for line in lines:
        if not line or ITEM.match(line) or HEADING.match(line):
            blocks.close()
        if line:
            blocks.open.append(re.sub(r"[ \t]+", " ", line))
        if len(line) < SHORT_LINE * width or HEADING.match(line):
            blocks.close()
    blocks.close()
    return "\n".join(blocks.lines)
