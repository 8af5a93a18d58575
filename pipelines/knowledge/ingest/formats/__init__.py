"""One reader a file type, each turning a file into pages of plain blocks; works for `documents`."""

import re
from collections.abc import Callable, Mapping
from pathlib import PurePath

from pipelines.errors import InvalidInput
from pipelines.knowledge.ingest.formats.blocks import HEADING, ITEM, Read
from pipelines.knowledge.ingest.formats.html import read_html
from pipelines.knowledge.ingest.formats.pdf.reading import read_pdf
from pipelines.knowledge.ingest.formats.plain import read_markdown, read_text
from pipelines.knowledge.ingest.formats.word import read_docx

__all__ = ["HEADING", "ITEM", "READERS", "Read", "Reader", "reader_of"]

Reader = Callable[[str, bytes], Read]

READERS: Mapping[str, Reader] = {
    ".md": read_markdown,
    ".markdown": read_markdown,
    ".txt": read_text,
    ".text": read_text,
    ".html": read_html,
    ".htm": read_html,
    ".docx": read_docx,
    ".pdf": read_pdf,
}

BINARY = re.compile(rb"\x00|\A(%PDF-|PK\x03\x04|\x89PNG|\xff\xd8\xff|GIF8|\x1f\x8b|\xd0\xcf\x11\xe0)")
UTF_16 = (b"\xff\xfe", b"\xfe\xff")  # byte order marks; only a page of HTML may be so

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
