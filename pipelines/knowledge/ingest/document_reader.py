"""Has a document read in a process of its own, so that no file costs more than its bounds; `document_process` is it.

What comes back from there is data and no more, and is checked: whoever takes that process over has gained a text.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, NamedTuple

from configs.settings import Documents
from pipelines.errors import InvalidInput
from pipelines.knowledge.records import Document, Passage

if TYPE_CHECKING:
    from pydantic import TypeAdapter

PROCESS = Path(__file__).with_name("document_process.py")
# Without the secrets that this process knows; one arena and one thread, as each reserves memory.
ENVIRONMENT = {
    "PATH": os.defpath,
    "LANG": "C.UTF-8",
    "MALLOC_ARENA_MAX": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
}
# A process that waits costs no time of the processor, but its place. Source: own choice; on a machine with three times
# as much to do as it has cores a reader still ends by its own time.
PATIENCE = 3
RULE_MAX = 500  # characters of a reason; source: own choice
POLL_S = 0.05  # between looks whether somebody wants it to stop; source: own choice


class Bounds(NamedTuple):
    """What reading one document may take.

    Attributes:
        seconds: Of a processor.
        memory_bytes: Of the process, its libraries' 70 MB included.
        unpacked_bytes: Of an archive's parts together.
        text_bytes: Of what is read from it.
        nice: How far all else goes before it, 0 to 19.
    """

    seconds: int
    memory_bytes: int
    unpacked_bytes: int
    text_bytes: int
    nice: int = 10

    @classmethod
    def of(cls, known: Documents) -> "Bounds":
        """Return those of the settings."""
        return cls(known.read_s, known.memory_bytes, known.unpacked_bytes, known.unpacked_bytes)


class Beyond(Exception):
    """A document needs more than its bounds; says which one."""


class Killed(Exception):
    """The process was ended by somebody else, as by a system without memory: the next one may do better."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A document that was read and cut.

    Attributes:
        cuts: Its passages, without the texts that stand in its pages.
        size: Bytes of all that.
    """

    document: Document
    cuts: list[Passage]
    size: int

    def passages(self, start: int, stop: int) -> list[Passage]:
        """Return some of the passages whole."""
        title, pages = self.document.title, self.document.pages
        return [
            replace(cut, title=title, text=pages[cut.page - 1].text[cut.start : cut.end])
            for cut in self.cuts[start:stop]
        ]


def read_apart(name: str, content: bytes, bounds: Bounds, stopped: Callable[[], bool] = lambda: False) -> Prepared:
    """Read a file and cut it, in a process of its own; blocks until that has ended.

    Args:
        name: Of the file; its end says what it is.
        content: The file.
        bounds: Of the process, which is killed when it passes one.
        stopped: Asked on the way; once it is true the process is killed.

    Raises:
        InvalidInput: It cannot be read, or holds no sentence.
        Beyond: Not within its bounds.
        Killed: Nobody knows: it was stopped, or killed by somebody else.
        OSError: No process can be started, or the disk for temporary files is full.
    """
    with TemporaryFile() as given, TemporaryFile() as told:
        given.write(json.dumps([name, *bounds]).encode() + b"\n")
        given.write(content)
        given.seek(0)
        _check_end(_run(given, told, PATIENCE * bounds.seconds, stopped), name, bounds)
        told.seek(0)
        return _prepared(told.read(), name, bounds)


def prepare_apart(name: str, content: bytes, bounds: Bounds) -> tuple[Document, list[Passage]]:
    """Do what `prepare` does in a process of its own.

    Raises:
        InvalidInput: The file cannot be read, or not within its bounds.
        OSError: As `read_apart`.
    """
    try:
        read = read_apart(name, content, bounds)
    except (Beyond, Killed) as error:
        raise InvalidInput("document.content", name, str(error) or "its reader was killed: try again") from None
    return read.document, read.passages(0, len(read.cuts))


def _run(given: IO[bytes], told: IO[bytes], limit_s: float, stopped: Callable[[], bool]) -> int:
    """Run the process to its end; return its exit status, a signal's number below zero."""
    words = [sys.executable, "-I", str(PROCESS)]
    end = time.monotonic() + limit_s
    with subprocess.Popen(  # noqa: S603 (our own file, no shell)
        words, stdin=given, stdout=told, stderr=subprocess.DEVNULL, env=ENVIRONMENT, cwd="/"
    ) as process:
        while True:
            try:
                return process.wait(POLL_S)
            except subprocess.TimeoutExpired:
                if stopped() or time.monotonic() > end:
                    process.kill()
                    return -(signal.SIGTERM if stopped() else signal.SIGXCPU)


def _check_end(status: int, name: str, bounds: Bounds) -> None:
    """Raise what the end of a process means that did not come to its own."""
    if status == -signal.SIGXCPU:
        raise Beyond(_in_words("time", bounds))
    if status in (-signal.SIGKILL, -signal.SIGTERM):
        raise Killed
    if status < 0:  # a library of C, C++ or Rust that fell, or could not go on without memory
        ended = signal.Signals(-status).name
        most = f"{bounds.seconds} s and {bounds.memory_bytes >> 20} MB of memory"
        raise InvalidInput("document.content", name, f"must be readable within {most}; its reader fell by {ended}")


def _prepared(told: bytes, name: str, bounds: Bounds) -> Prepared:
    """Return what a process told.

    Raises:
        InvalidInput: The file is at fault, or the process told nothing that could be.
        Beyond: As `read_apart`.
    """
    broken = InvalidInput("document.content", name, "must be readable as what it is named; it is broken")
    try:
        found = _form().validate_json(told)
    except ValueError:
        raise broken from None
    if isinstance(found, dict):
        if "beyond" in found:
            raise Beyond(_in_words(found["beyond"], bounds))
        rule = found.get("rule", broken.rule)[:RULE_MAX]
        raise InvalidInput("document.content", name, "".join(filter(str.isprintable, rule)))
    document, cuts = found
    if not all(cut.document_id == document.document_id and 1 <= cut.page <= len(document.pages) for cut in cuts):
        raise broken
    return Prepared(document, cuts, len(told))


def _in_words(limit: str, bounds: Bounds) -> str:
    told = {
        "time": f"must be read within {bounds.seconds} s of a processor: cut it into parts, or leave pictures out",
        "memory": f"must be read within {bounds.memory_bytes >> 20} MB of memory: cut it into parts",
        "size": f"must not unpack to more than {bounds.unpacked_bytes} bytes: cut it into parts",
        "text": f"must not hold more than {bounds.text_bytes} bytes of text: cut it into parts",
    }
    return told.get(limit, told["time"])


@cache
def _form() -> "TypeAdapter[tuple[Document, list[Passage]] | dict[str, str]]":
    from pydantic import TypeAdapter

    return TypeAdapter(tuple[Document, list[Passage]] | dict[str, str])
