"""Turns a file's bytes into a document with readable pages, the text that quotes point into.

A page's text holds one block a line: a heading as `## Pressure drop`, a list item as `- ...` or `1. ...`, a table row
as `Column: cell; Column: cell`, else a paragraph. Inline markup is dropped, soft line breaks are joined, and offsets
count in the text so made.
"""

import hashlib
import re
from collections.abc import Sequence
from pathlib import PurePath

from pipelines.errors import InvalidInput
from pipelines.knowledge.ingest.formats import HEADING, reader_of
from pipelines.knowledge.records import Document, Language, Page
from pipelines.knowledge.search.text import language_of

ENGLISH = ("en", "eng", "english", "английский")
RUSSIAN = ("ru", "rus", "russian", "русский")

__all__ = ["document_key", "language_of", "name_key", "read_document", "remarks"]


def read_document(name: str, content: bytes) -> Document:
    """Read a Markdown, plain text, HTML, Word or PDF file.

    Raises:
        InvalidInput: Unknown type, content of another type, empty, encrypted or broken.
    """
    read = reader_of(name, content)
    sha256 = hashlib.sha256(content).hexdigest()
    try:
        found = read(name, content)
    except InvalidInput:
        raise
    except Exception:  # a parser of hostile files fails in every way there is
        raise InvalidInput("document.content", name, "must be readable as what it is named; it is broken") from None
    pages = tuple(Page(number, text, found.confidence.get(number)) for number, text in enumerate(found.texts, 1))
    whole = "\n".join(found.texts)
    if not whole.strip():
        raise InvalidInput("document.content", name, "must hold text; a scan needs text recognition first")
    return Document(
        document_id=document_key(name, sha256),
        title=(found.title or _first_heading(whole) or PurePath(name).stem)[:200],
        language=_language(found.language, whole),
        pages=pages,
        sha256=sha256,
        unread=found.unread,
    )


def remarks(document: Document) -> str:
    """Return what a document's owner should know of how it was read; empty where all is as it was written."""
    read = [page for page in document.pages if page.confidence is not None]
    said = [f"{_pages(document.unread)} show something and hold no text"] if document.unread else []
    if read:
        least = min(page.confidence or 0.0 for page in read)
        said.append(f"{_pages([page.number for page in read])} were read by machine, with a confidence of {least:.2f}")
    return "; ".join(said)


def _pages(numbers: Sequence[int]) -> str:
    """Name pages, neighbouring ones as a span."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and number == spans[-1][-1] + 1:
            spans[-1].append(number)
        else:
            spans.append([number])
    named = [f"{span[0]}-{span[-1]}" if len(span) > 1 else str(span[0]) for span in spans]
    return f"pages {', '.join(named)}"


def document_key(name: str, sha256: str) -> str:
    """Return a document's id: equal content under an equal name has an equal one."""
    return f"{_slug(name)}-{hashlib.sha256(name.encode()).hexdigest()[:8]}-{sha256[:12]}"


def name_key(document_id: str) -> str:
    """Return the part of a document id that stays when the content changes under one name."""
    return document_id.rpartition("-")[0]


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", PurePath(name).stem.lower()).strip("-")[:40] or "document"


def _language(given: str, text: str) -> Language:
    """Return a document's language as it says it, in any manner of writing; letters tell where it does not."""
    match given.strip().lower():
        case said if said in ENGLISH or said.startswith(("en-", "en_")):
            return "en"
        case said if said in RUSSIAN or said.startswith(("ru-", "ru_")):
            return "ru"
    return language_of(text)


def _first_heading(text: str) -> str:
    for line in text.split("\n"):
        if match := HEADING.match(line):
            return match[2]
    return ""
