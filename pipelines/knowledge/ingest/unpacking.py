"""What a file may unpack to, and of how many parts it may be, looked at before a parser makes anything of them."""

import io
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import PurePath
from xml.parsers import expat

from pipelines.errors import InvalidInput

BLOCK = 2**18
# Elements of one part of a Word document. Source: own choice; a page of running text has some 150, of tables some 600.
ELEMENTS_MAX = 1_000_000
# Parts of an archive. Source: own choice; one a picture, and a manual has hundreds.
PARTS_MAX = 20_000
# Of any document. Source: own choice; the longest manuals have some thousands of pages, and 50 MB of text are some
# 70,000 passages.
PAGES_MAX, PASSAGES_MAX = 20_000, 100_000
BROKEN = (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, NotImplementedError, ValueError)


def check_bounds(name: str, content: bytes, unpacked_bytes: int) -> None:
    """Check a Word document: each part is unpacked once, and its elements are counted; nothing of it is kept.

    Raises:
        InvalidInput: It is no archive, declares a document type (whose entities multiply), or has too many parts.
        OverflowError: It unpacks to more than it may.
    """
    if PurePath(name).suffix.lower() != ".docx" or not content.startswith(b"PK\x03\x04"):
        return
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            _check_archive(name, archive, unpacked_bytes)
    except BROKEN:
        raise InvalidInput("document.content", name, "must be a readable Word document; this one is broken") from None


def check_count(name: str, pages: int, passages: int) -> None:
    """Check how much a document was read to: each page and each passage costs whoever keeps it.

    Raises:
        InvalidInput: It is too much.
    """
    for count, most, what in ((pages, PAGES_MAX, "pages"), (passages, PASSAGES_MAX, "passages")):
        if count > most:
            raise InvalidInput("document.content", name, f"must not have more than {most} {what}: cut it into parts")


def _check_archive(name: str, archive: zipfile.ZipFile, unpacked_bytes: int) -> None:
    if len(archive.infolist()) > PARTS_MAX:
        raise InvalidInput("document.content", name, f"must not have more than {PARTS_MAX} parts")
    left = unpacked_bytes
    for part in archive.infolist():
        counter = _Elements(name)  # which parts are read others of them say, and not their names
        for block in _blocks(archive, part):
            left -= len(block)
            if left < 0:
                raise OverflowError
            counter.take(block)


def _blocks(archive: zipfile.ZipFile, part: zipfile.ZipInfo) -> Iterator[bytes]:
    with archive.open(part) as file:
        while block := file.read(BLOCK):
            yield block


class _Elements:
    """Counts the elements of a part, and refuses declarations of a document type, in whatever encoding."""

    def __init__(self, name: str) -> None:
        self._name, self._left = name, ELEMENTS_MAX
        self._broken = False
        self._parser = expat.ParserCreate()
        self._parser.StartDoctypeDeclHandler = self._refuse_type
        self._parser.StartElementHandler = self._count

    def take(self, block: bytes) -> None:
        """Look at the next block; what is no XML is the parser's to refuse."""
        if not self._broken:
            try:
                self._parser.Parse(block, False)
            except expat.ExpatError:
                self._broken = True

    def _refuse_type(self, *_: object) -> None:
        raise InvalidInput("document.content", self._name, "must not declare a document type (DTD)")

    def _count(self, *_: object) -> None:
        self._left -= 1
        if self._left < 0:
            raise InvalidInput("document.content", self._name, f"must not have more than {ELEMENTS_MAX} elements")
