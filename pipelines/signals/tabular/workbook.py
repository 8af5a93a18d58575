"""Opens workbooks of Excel: what they unpack to is checked here, and they are read in a process of their own."""

import io
import json
import re
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pandas as pd

from pipelines.errors import InvalidInput
from pipelines.signals.tabular.bounds import CELLS_MAX, UNPACKED_MAX, check_size
from pipelines.signals.tabular.layout import Grid

BLOCK = 2**20
# What a reader of zip archives raises where one is broken.
BROKEN = (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, NotImplementedError, ValueError)
REFERENCE = re.compile(rb'<c r="([A-Z]{1,3})(\d{1,7})"')
# Parts of other formats, which would be read in place of the one that was checked.
OTHER_FORMATS = {"xl/workbook.bin", "content.xml", "mimetype"}
PROCESS = Path(__file__).with_name("workbook_process.py")
# Memory and time of the process that reads: for itself, and for each cell that is allowed. Source: own measurement,
# half a million numbers take 83 MB and 1.3 s of the processor; a workbook of long texts has some reserve.
MEMORY, MEMORY_A_CELL = 2**30, 200
SECONDS, CELLS_A_SECOND = 20, 200_000


def read_workbook(data: bytes, name: str, cells: int = CELLS_MAX) -> Grid:
    """Read the largest sheet of a workbook.

    Args:
        data: `.xlsx` or `.xls`.
        name: To tell it by.
        cells: Rows times columns, at most.

    Raises:
        InvalidInput: It is broken or empty, or over a limit.
    """
    if data[:2] == b"PK":
        _check_archive(data, name, cells)
    head, rows = _read(data, name, cells)
    if not head["rows"]:
        raise InvalidInput("file", name, "must not be empty")
    check_size(head["rows"], head["columns"], name, cells)
    others = ", ".join(map(repr, head["others"]))
    notes = [f"sheet {head['name']!r} is read, and not {others}"] if others else []
    frame = pd.DataFrame(rows, dtype=object)
    return Grid(tuple(frame.iloc[:, place] for place in range(frame.shape[1])), "workbook", notes=tuple(notes))


def _read(data: bytes, name: str, cells: int) -> tuple[dict[str, Any], list[list[Any]]]:
    """Return what a workbook's largest sheet is, and its rows."""
    memory, seconds = MEMORY + MEMORY_A_CELL * cells, SECONDS + cells // CELLS_A_SECOND
    words = [sys.executable, "-I", str(PROCESS), *map(str, (memory, seconds, cells, UNPACKED_MAX))]
    beyond = InvalidInput("file", name, f"must be a workbook that can be read in {memory} bytes and {seconds} s")
    try:
        done = subprocess.run(words, input=data, capture_output=True, timeout=3 * seconds, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        raise beyond from None
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        raise beyond
    for each in (json.loads(lines[0]), json.loads(lines[-1])):
        if isinstance(each, dict) and "error" in each:
            if each["error"] == "bounds":
                raise beyond
            raise InvalidInput("file", name, f"must be a workbook that can be read ({each['error']})")
    return json.loads(lines[0]), [json.loads(line) for line in lines[1:]]


def _check_archive(data: bytes, name: str, cells: int) -> None:
    """Check what a workbook unpacks to, and how far its cells reach: a reader makes room for all of that rectangle."""
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
        names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, OSError) as error:
        raise InvalidInput("file", name, f"must be a whole workbook ({error})") from None
    if "xl/workbook.xml" not in names or OTHER_FORMATS & set(names):
        raise InvalidInput("file", name, "must be a workbook of Excel (.xlsx or .xls), a text or Parquet")
    total = 0
    for member in archive.infolist():
        rows = columns = 0
        rest = b""
        try:
            with archive.open(member) as file:
                while block := file.read(BLOCK):
                    total += len(block)
                    if total > UNPACKED_MAX:
                        raise InvalidInput("file", name, f"must not unpack to more than {UNPACKED_MAX} bytes")
                    if member.filename.startswith("xl/worksheets/"):
                        for column, row in REFERENCE.findall(rest + block):
                            rows, columns = max(rows, int(row)), max(columns, _place(column))
                        rest = block[-32:]
        except BROKEN as error:
            raise InvalidInput("file", name, f"must be a whole workbook ({error})") from None
        check_size(rows, columns, name, cells)


def _place(letters: bytes) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + letter - 64
    return number
