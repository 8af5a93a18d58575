"""First step of ingest: a file's bytes become a document with readable pages.

Exists so that every quote can point into one fixed text. A page's text holds one block a line: a heading as
`## Pressure drop`, a list item as `- ...` or `1. ...`, a table row as `Column: cell; Column: cell`, else a paragraph.
Inline markup is dropped, soft line breaks are joined, and offsets count in the text so made.
"""

import hashlib
import io
import re
from pathlib import PurePath
from typing import Any

from pipelines.errors import InvalidInput
from pipelines.knowledge.records import Document, Language, Page
from pipelines.knowledge.words import language_of

__all__ = ["language_of", "name_key", "read_document"]

KINDS = {".md": "markdown", ".markdown": "markdown", ".txt": "text", ".text": "text", ".pdf": "pdf"}
BINARY = re.compile(rb"\x00|\A(%PDF-|PK\x03\x04|\x89PNG|\xff\xd8\xff|GIF8|\x1f\x8b|\xd0\xcf\x11\xe0)")
UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x84\x86-\x9f\ufeff\ud800-\udfff]")
FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?)\n---[ \t]*(?:\n|\Z)", re.DOTALL)
FRONT_MATTER_CHARACTERS = 4_000  # Source: a title and a language need some hundred; YAML far larger is an attack

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


def read_document(name: str, content: bytes) -> Document:
    """Read a Markdown, plain text or PDF file.

    Raises:
        InvalidInput: Unknown type, content of another type, not UTF-8, empty, encrypted or broken.
    """
    kind = KINDS.get(PurePath(name).suffix.lower())
    if kind is None:
        raise InvalidInput("document.name", name, f"must end in one of {', '.join(KINDS)}")
    if not content.strip():
        raise InvalidInput("document.content", name, "must not be empty")
    sha256 = hashlib.sha256(content).hexdigest()
    title, language = "", ""
    if kind == "pdf":
        title, texts = _pdf(name, content)
    else:
        text = _decoded(name, content)
        if kind == "markdown":
            title, language, text = _front_matter(name, text)
            text = _plain_markdown(text)
        else:
            text = _reflowed(text)
        texts = [text]
    pages = tuple(Page(number, text) for number, text in enumerate(texts, 1))
    whole = "\n".join(texts)
    if not whole.strip():
        rule = "must hold text; a scan needs text recognition first" if kind == "pdf" else "must hold text"
        raise InvalidInput("document.content", name, rule)
    return Document(
        document_id=f"{_slug(name)}-{hashlib.sha256(name.encode()).hexdigest()[:8]}-{sha256[:12]}",
        title=(title or _first_heading(whole) or PurePath(name).stem)[:200],
        language=_language(name, language, whole),
        pages=pages,
        sha256=sha256,
    )


def name_key(document_id: str) -> str:
    """Return the part of a document id that stays when the content changes under one name."""
    return document_id.rpartition("-")[0]


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", PurePath(name).stem.lower()).strip("-")[:40] or "document"


def _language(name: str, given: str, text: str) -> Language:
    match given:
        case "en" | "ru":
            return given
        case "":
            return language_of(text)
        case _:
            raise InvalidInput("document.language", given, f"must be en or ru in the front matter of {name}")


def _first_heading(text: str) -> str:
    for line in text.split("\n"):
        if match := HEADING.match(line):
            return match[2]
    return ""


def _decoded(name: str, content: bytes) -> str:
    if BINARY.search(content[:4096]):
        raise InvalidInput("document.content", name, "must be plain text, as its name says; it is a binary file")
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
        fields: Any = yaml.safe_load(match[1])
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


def _pdf(name: str, content: bytes) -> tuple[str, list[str]]:
    """Return the title a PDF names and its pages' texts; an empty page keeps its number."""
    from pypdf import PdfReader

    if not content.lstrip()[:5] == b"%PDF-":
        raise InvalidInput("document.content", name, "must be a PDF file, as its name says")
    try:
        reader = PdfReader(io.BytesIO(content))
        if reader.is_encrypted and not reader.decrypt(""):
            raise InvalidInput("document.content", name, "must not be encrypted")
        texts = [_reflowed(_printable(page.extract_text())) for page in reader.pages]
        title = reader.metadata.title if reader.metadata else None
    except InvalidInput:
        raise
    except Exception:  # a parser of hostile files fails in every way there is
        raise InvalidInput("document.content", name, "must be a readable PDF; this one is broken") from None
    return _printable(str(title or "")).strip(), texts
