"""Reads pages that are pictures, where Tesseract is installed beside HDX; each page with how sure the machine was."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

from pipelines.knowledge.ingest.formats.pdf.glyphs import Glyph

# Dots an inch. Source: Tesseract's manual ("Improving the quality of the output"): it works best from 300 on.
RESOLUTION = 300
POINTS = 72
# Source: own choices; a page takes some 2 s, a document is given up after ten minutes, and a page of which less than
# half is sure is noise.
PAGE_S = 60
DOCUMENT_S = 240
LEAST_SURE = 0.5
LARGEST = 40_000_000  # dots; an A2 sheet at 300 dots an inch has some 35 million
LANGUAGES = ("eng", "rus")
WORD = "5"  # level of a word in Tesseract's table


class Recognised(NamedTuple):
    """What a machine read of a page: words, in points from the page's upper left, and how sure it was, 0..1."""

    glyphs: list[Glyph]
    confidence: float


@cache
def engine() -> tuple[str, str] | None:
    """Return Tesseract's path and those of our languages that it reads; None where there is none."""
    path = shutil.which("tesseract")
    if path is None:
        return None
    done = subprocess.run([path, "--list-langs"], capture_output=True, text=True, check=False, timeout=PAGE_S)  # noqa: S603
    found = [language for language in LANGUAGES if language in done.stdout.split()]
    return (path, "+".join(found)) if found else None


class Recogniser:
    """Reads the scans of one document, until its time is up."""

    def __init__(self) -> None:
        self._until = time.monotonic() + DOCUMENT_S

    def read(self, page: Any) -> Recognised | None:
        """Return what is on a page; None where no engine is, or it saw nothing that it was sure of."""
        found = engine()
        left = min(PAGE_S, self._until - time.monotonic())
        if found is None or left <= 0:
            return None
        width, height = page.get_size()
        scale = RESOLUTION / POINTS
        if width * height * scale**2 > LARGEST:
            return None
        picture = page.render(scale=scale, grayscale=True).to_numpy()
        rows, columns = picture.shape[:2]
        content = b"P5 %d %d 255\n" % (columns, rows) + picture.tobytes()
        command = [found[0], "stdin", "stdout", "-l", found[1], "--dpi", str(RESOLUTION), "tsv"]
        try:
            done = subprocess.run(  # noqa: S603 (a fixed command)
                command, input=content, capture_output=True, check=True, timeout=left,
                env={**os.environ, "OMP_THREAD_LIMIT": "1"},
            )  # fmt: skip
        except (subprocess.SubprocessError, OSError):
            return None
        return _recognised(done.stdout.decode("utf-8", "replace"))


def _recognised(table: str) -> Recognised | None:
    words = list(_words(table))
    signs = sum(len(glyph.text) for glyph, _ in words)
    sure = sum(len(glyph.text) * confidence for glyph, confidence in words) / max(1, signs)
    return Recognised([glyph for glyph, _ in words], sure) if signs and sure >= LEAST_SURE else None


def _words(table: str) -> Iterator[tuple[Glyph, float]]:
    """Yield each word with how sure it is; all words of a line stand on its base."""
    line = (0.0, 0.0)
    for row in table.splitlines()[1:]:
        fields = row.split("\t")
        if len(fields) < 12:
            continue
        left, top, width, height = (int(value) * POINTS / RESOLUTION for value in fields[6:10])
        if fields[0] == "4":
            line = (top + height * 0.8, height * 0.8)
        elif fields[0] == WORD and fields[11].strip():
            base, size = line
            glyph = Glyph(fields[11], left, top, left + width, top + height, base, max(size, 1.0), apart=2)
            yield glyph, max(0.0, float(fields[10])) / 100
