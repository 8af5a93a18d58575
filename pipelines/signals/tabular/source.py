"""Opens files as they stand: text in any encoding and with any delimiter, workbooks and Parquet, all within bounds."""

import csv
import gzip
import io
import re
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd

from pipelines.errors import InvalidInput
from pipelines.signals.tabular.bounds import BYTES_MAX, CELLS_MAX, LINE_MAX, UNPACKED_MAX, check_size
from pipelines.signals.tabular.headings import STEMS
from pipelines.signals.tabular.layout import Grid, is_reading
from pipelines.signals.tabular.workbook import read_workbook

# Bytes and lines in which encoding and delimiter are sought. Source: own choice; header and some hundred rows.
PROBE_BYTES, PROBE_LINES = 2**18, 300
DELIMITERS = (";", "\t", ",", "|")
# Encodings without a mark, by how often files of machines have them. Source: Windows and DOS of Russia, Windows of the
# West and of Central Europe, Unix and Macintosh of Russia.
LEGACY = ("cp1251", "cp1252", "cp866", "koi8_r", "cp1250", "mac_cyrillic")
BOMS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
SHOWN = "°³²µ±№йыъьюяёäöüß"


def open_grid(source: Path | bytes, name: str, cells: int = CELLS_MAX) -> Grid:
    """Read a file's cells.

    Args:
        source: The file, or where it is.
        name: To tell it by.
        cells: Rows times columns, at most.

    Raises:
        InvalidInput: It is over a limit, or not a text, a workbook or Parquet.
    """
    data = _bytes_of(source, name)
    if data[:2] == b"\x1f\x8b":
        data = _gunzipped(data, name)
    if data[:4] == b"PAR1":
        return _parquet(data, name, cells)
    if data[:4] == b"PK\x03\x04" or data[:8] == b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1":
        return read_workbook(data, name, cells)
    if not data.strip():
        raise InvalidInput("file", name, "must not be empty")
    return _text(data, name, cells)


def _bytes_of(source: Path | bytes, name: str) -> bytes:
    size = len(source) if isinstance(source, bytes) else source.stat().st_size
    if size > BYTES_MAX:
        raise InvalidInput("file", name, f"must not exceed {BYTES_MAX} bytes; it has {size}: cut it into parts")
    return source if isinstance(source, bytes) else source.read_bytes()


def _read_within(file: IO[bytes] | gzip.GzipFile, name: str, limit: int) -> bytes:
    """Return what a compressed file unpacks to, as far as its limit goes."""
    data = file.read(limit + 1)
    if len(data) > limit:
        raise InvalidInput("file", name, f"must not unpack to more than {limit} bytes")
    return data


def _gunzipped(data: bytes, name: str) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            return _read_within(file, name, BYTES_MAX)
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidInput("file", name, f"must be a whole gzip file ({error})") from None


# --- text


def decode(data: bytes, name: str) -> tuple[str, str, str]:
    """Return a text, its encoding, and what was mended; empty where nothing was.

    Raises:
        InvalidInput: It is no text.
    """
    for mark, encoding in BOMS:
        if data.startswith(mark):
            text = data.decode(encoding, errors="replace")
            broken = text.count("\ufffd")
            return text.lstrip("\ufeff"), encoding, f"{broken} characters could not be decoded" * bool(broken)
    if b"\0" in data:
        return _wide_characters(data, name)
    try:
        return data.decode("utf-8"), "utf-8", ""
    except UnicodeDecodeError:
        pass
    text = data.decode("utf-8", errors="replace")
    broken, whole = text.count("\ufffd"), sum(map(len, re.findall("[^\0-\x7f\ufffd]+", text[:PROBE_BYTES])))
    if broken * 20 < whole:
        return text, "utf-8", f"{broken} characters could not be decoded"
    encoding = _legacy(data)
    return data.decode(encoding, errors="replace"), encoding, ""


def _wide_characters(data: bytes, name: str) -> tuple[str, str, str]:
    """Decode UTF-16 without its mark: every other byte of digits and delimiters is zero."""
    probe = np.frombuffer(data[: PROBE_BYTES - PROBE_BYTES % 2], dtype=np.uint8)
    even, odd = (float((probe[place::2] == 0).mean()) for place in (0, 1))
    for share, other, encoding in ((odd, even, "utf-16-le"), (even, odd, "utf-16-be")):
        if share > 0.3 and other < 0.05:
            return data.decode(encoding, errors="replace"), encoding, ""
    line = data[: data.index(b"\0")].count(b"\n") + 1
    raise InvalidInput("file", name, f"must be a text, a workbook or Parquet; line {line} holds a NUL byte")


def _legacy(data: bytes) -> str:
    """Return the encoding in which the beginning of a text has the most words that are known."""
    lines = [line for line in data[:PROBE_BYTES].splitlines() if any(byte > 127 for byte in line)]
    probe = b"\n".join(lines[:50]) or data[:PROBE_BYTES]
    stems = re.compile("|".join(f"{stems}" for stems in STEMS.values()) + "|время|дата|насос|zeit|maschine|°c|°f")

    def known(encoding: str) -> tuple[int, int]:
        text = probe.decode(encoding, errors="replace").casefold()
        return len(stems.findall(text)), sum(text.count(c) for c in SHOWN) - 5 * text.count("\ufffd")

    scores = {encoding: known(encoding) for encoding in LEGACY}
    best = max(scores, key=lambda encoding: scores[encoding])
    if scores[best][0]:
        return best
    from charset_normalizer import from_bytes

    found = from_bytes(probe, cp_isolation=list(LEGACY)).best()
    return found.encoding if found is not None else best


def _text(data: bytes, name: str, cells: int) -> Grid:
    text, encoding, mended = decode(data, name)
    del data
    if "\0" in text:
        raise InvalidInput(
            "file", name, f"must be a text; line {text[: text.index(chr(0))].count(chr(10)) + 1} holds a NUL"
        )
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    lines = text.split("\n")
    if (longest := max(map(len, lines))) > LINE_MAX:
        raise InvalidInput("file", name, f"must have lines of at most {LINE_MAX} characters; one has {longest}")
    if '="' in text:  # as spreadsheets are told that a cell is text
        text = text.replace('="', '"')
    notes = [mended] if mended else []
    if match := re.match(r'^"?sep=(.)"?\s*$', lines[0], re.IGNORECASE):
        delimiter = match[1]
        text = "\n" + text.partition("\n")[2]
    else:
        delimiter = delimiter_of([line for line in lines if line.strip()][: 2 * PROBE_LINES])
    width = max(_width(lines, delimiter), 1)
    check_size(len(lines), width, name, cells)
    del lines
    frame, quoted = _frame(text, delimiter, width, name)
    notes += [] if quoted else ["a quotation mark is not closed: they are read as they stand"]
    while len(frame.columns) > 1 and (frame.iloc[:, -1] == "").all():
        frame = frame.iloc[:, :-1]
    return Grid(_series(frame), "text", encoding, " " if delimiter == r"\s+" else delimiter, None, tuple(notes))


def _series(frame: pd.DataFrame) -> tuple["pd.Series[Any]", ...]:
    return tuple(frame.iloc[:, place] for place in range(frame.shape[1]))


def _width(lines: Sequence[str], delimiter: str) -> int:
    """Return the most cells that a line may have."""
    if delimiter == r"\s+":
        return max(len(line.split()) for line in lines)
    return max(line.count(delimiter) for line in lines) + 1


def _frame(text: str, delimiter: str, width: int, name: str) -> tuple[pd.DataFrame, bool]:
    """Cut a text into cells; say whether quotation marks were taken as such."""
    for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_NONE):
        try:
            frame = pd.read_csv(
                io.StringIO(text),
                sep=delimiter,
                header=None,
                names=list(range(width)),
                index_col=False,
                dtype=str,
                na_filter=False,
                skip_blank_lines=False,
                quoting=quoting,
                skipinitialspace=True,
            )
        except (pd.errors.ParserError, pd.errors.EmptyDataError):
            continue
        return frame.fillna(""), quoting == csv.QUOTE_MINIMAL
    raise InvalidInput("file", name, f"cannot be cut into cells at {delimiter!r}")


def delimiter_of(lines: Sequence[str]) -> str:
    r"""Return what stands between cells; `\s+` for spaces.

    The one that cuts most lines into alike numbers of cells, most of which are numbers, moments or short words.
    """
    step = max(1, len(lines) // PROBE_LINES)
    probe = [line[:10_000] for line in lines[::step]]
    scores = {delimiter: _regularity(probe, delimiter) for delimiter in DELIMITERS}
    best = max(scores, key=lambda delimiter: scores[delimiter])
    if scores[best] > 0:
        return best
    return r"\s+" if _regularity([" ".join(line.split()) for line in probe], " ") > 0 else ","


def _regularity(lines: Sequence[str], delimiter: str) -> float:
    """Return how well a delimiter cuts lines: share of readings among cells of lines of the usual width."""
    try:
        rows = list(csv.reader(lines, delimiter=delimiter))
    except csv.Error:
        rows = [line.split(delimiter) for line in lines]
    widths = Counter(len(row) for row in rows if len(row) > 1)
    if not widths:
        return 0.0
    width, count = max(widths.items(), key=lambda item: (item[1], item[0]))
    cells = [cell.strip() for row in rows if len(row) == width for cell in row if cell.strip()]
    clean = sum(is_reading(cell) or (len(cell) <= 40 and not any(c in cell for c in ";\t|")) for cell in cells)
    readings = sum(map(is_reading, cells))
    return (count / len(rows)) * (readings + 0.1 * clean) / max(1, len(cells))


# --- Parquet


def _parquet(data: bytes, name: str, cells: int) -> Grid:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(io.BytesIO(data))
        if not schema.names:
            raise InvalidInput("file", name, "must have columns; it has none")
        if wrong := [field.name for field in schema if pa.types.is_nested(field.type)]:
            raise InvalidInput("file", name, f"must have one value a cell; {wrong[0][:80]!r} holds lists")
        # A text that stands in many rows is written once: it is kept so until it is known how long all are.
        texts = [each.name for each in schema if _is_text(each.type)]
        file = pq.ParquetFile(io.BytesIO(data), read_dictionary=texts)
        check_size(file.metadata.num_rows, file.metadata.num_columns, name, cells)
        unpacked = sum(file.metadata.row_group(n).total_byte_size for n in range(file.metadata.num_row_groups))
        if unpacked > UNPACKED_MAX:
            raise InvalidInput("file", name, f"must not unpack to more than {UNPACKED_MAX} bytes")
        table = _in_utc(file.read())
    except (pa.ArrowException, OSError) as error:
        raise InvalidInput("file", name, f"must be a whole Parquet file ({str(error)[:80]})") from None
    if sum(map(_characters, table.columns)) > UNPACKED_MAX:
        raise InvalidInput("file", name, f"must not unpack to more than {UNPACKED_MAX} bytes")
    frame = table.to_pandas(ignore_metadata=True)
    return Grid(
        tuple(_cells(frame.iloc[:, n]) for n in range(frame.shape[1])),
        "parquet",
        headers=tuple(map(str, frame.columns)),
    )


def _in_utc(table: Any) -> Any:
    """Return a table whose moments with a zone name UTC: they are of UTC already, and a zone's name may be any text."""
    import pyarrow as pa

    schema = table.schema
    for place, each in enumerate(schema):
        if pa.types.is_timestamp(each.type) and each.type.tz is not None:
            schema = schema.set(place, pa.field(each.name, pa.timestamp(each.type.unit, "UTC")))
    return table.cast(schema)


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    kinds = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)
    return any(is_a(kind) for is_a in kinds)


def _characters(column: Any) -> int:
    """Return how long the texts of a column are in all."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_dictionary(column.type) or not _is_text(column.type.value_type):
        return 0
    lengths = (pc.binary_length(chunk.dictionary).take(chunk.indices) for chunk in column.chunks)
    return sum(pc.sum(each).as_py() or 0 for each in lengths)


def _cells(column: "pd.Series[Any]") -> "pd.Series[Any]":
    """Return a typed column as numbers, or as text: moments by ISO 8601."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(object)
    if pd.api.types.is_bool_dtype(column):
        return column.astype(float).astype(object)
    if pd.api.types.is_numeric_dtype(column):
        exact = pd.api.types.is_integer_dtype(column) and bool((column.abs() > 2**53).any())
        return column.astype(str) if exact else column.astype(float)
    if pd.api.types.is_datetime64_any_dtype(column):
        stamps = pd.DatetimeIndex(column)
        moments = stamps if stamps.tz is None else stamps.tz_convert("UTC")
        text = pd.Series(np.datetime_as_string(moments.to_numpy("datetime64[us]"), unit="us"), dtype="str")
        text = text.where(text != "NaT", "")
        return text if stamps.tz is None else text.where(text == "", text + "Z")
    return column.astype(object).map(lambda cell: "" if pd.isna(cell) else str(cell))
