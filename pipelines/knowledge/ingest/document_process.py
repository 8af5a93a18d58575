"""Reads one document within bounds of time and memory: `document_reader` starts this file as a process of its own.

Standard input is a line of JSON, the name of the file with its bounds, and then the file itself. Standard output is one
JSON value: the document with its passages, or an object that says what is amiss.
"""

import contextlib
import errno
import json
import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[3]


def limit(seconds: int, memory_bytes: int, text_bytes: int, nice: int) -> None:
    """Let the system hold this process to its bounds; nothing that is read can lift them again."""
    bounds = {
        resource.RLIMIT_CPU: (seconds, seconds + 1),
        resource.RLIMIT_DATA: (memory_bytes, memory_bytes),
        resource.RLIMIT_FSIZE: (text_bytes, text_bytes),
        resource.RLIMIT_CORE: (0, 0),
    }
    for kind, most in bounds.items():
        resource.setrlimit(kind, most)
    os.nice(nice)
    with contextlib.suppress(OSError):  # where the system lets it be said: without memory it is the first to go
        Path("/proc/self/oom_score_adj").write_text("1000")


def read(name: str, content: bytes, unpacked_bytes: int) -> bytes:
    """Return a document and its passages, their own texts left out, as JSON."""
    from dataclasses import replace

    import orjson

    from pipelines.knowledge.ingest.ingest import prepare
    from pipelines.knowledge.ingest.unpacking import check_bounds

    check_bounds(name, content, unpacked_bytes)
    document, passages = prepare(name, content)
    return orjson.dumps([document, [replace(passage, title="", text="") for passage in passages]])


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and all that it came of, told or not."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def in_words(error: BaseException) -> dict[str, str]:
    """Return what is told of an error: a bound that it came of, wherever it was caught on the way, or its rule."""
    if any(isinstance(cause, MemoryError) for cause in causes(error)):
        return {"beyond": "memory"}
    if isinstance(error, OverflowError):
        return {"beyond": "size"}
    if isinstance(error, OSError) and error.errno == errno.EFBIG:
        return {"beyond": "text"}
    return {"rule": getattr(error, "rule", "must be readable as what it is named; it is broken")}


def main() -> None:
    """Read what standard input holds; whatever is raised on the way is told."""
    name, seconds, memory_bytes, unpacked_bytes, text_bytes, nice = json.loads(sys.stdin.buffer.readline())
    sys.path.insert(0, str(ROOT))
    limit(seconds, memory_bytes, text_bytes, nice)
    try:
        told = read(name, sys.stdin.buffer.read(), unpacked_bytes)
        sys.stdout.buffer.write(told)
        sys.stdout.flush()
    except BaseException as error:  # panics of Rust are no Exception
        os.ftruncate(1, 0)
        os.lseek(1, 0, os.SEEK_SET)
        os.write(1, json.dumps(in_words(error)).encode())
    os._exit(0)  # what a library left behind holds up no end


if __name__ == "__main__":
    main()
