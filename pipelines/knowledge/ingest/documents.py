"""Turns a file's bytes into a document with readable pages, the text that quotes point into.

A page's text holds one block a line: a heading as `## Pressure drop`, a list item as `- ...` or `1. ...`, a table row
as `Column: cell; Column: cell`, else a paragraph. Inline markup is dropped, soft line breaks are joined, and offsets
count in the text so made.
"""

import hashlib
import re
from pathlib import PurePath

from pipelines.errors import InvalidInput
from pipelines.knowledge.ingest.formats import HEADING, reader_of
from pipelines.knowledge.records import Document, Language, Page
from pipelines.knowledge.search.text import language_of

__all__ = ["document_key", "language_of", "name_key", "read_document"]


def read_document(name: str, content: bytes) -> Document:
    """Read a Markdown, plain text, HTML, Word or PDF file.

    Raises:
        InvalidInput: Unknown type, content of another type, empty, encrypted or broken.
    """
    read = reader_of(name, content)
    sha256 = hashlib.sha256(content).hexdigest()
    try:
        title, language, texts = read(name, content)
    except InvalidInput:
        raise
    except Exception:  # a parser of hostile files fails in every way there is
        raise InvalidInput("document.content", name, "must be readable as what it is named; it is broken") from None
    pages = tuple(Page(number, text) for number, text in enumerate(texts, 1))
    whole = "\n".join(texts)
    if not whole.strip():
        raise InvalidInput("document.content", name, "must hold text; a scan needs text recognition first")
    return Document(
        document_id=document_key(name, sha256),
        title=(title or _first_heading(whole) or PurePath(name).stem)[:200],
        language=_language(name, language, whole),
        pages=pages,
        sha256=sha256,
    )


def document_key(name: str, sha256: str) -> str:
    """Return a document's id: equal content under an equal name has an equal one."""
    return f"{_slug(name)}-{hashlib.sha256(name.encode()).hexdigest()[:8]}-{sha256[:12]}"


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
