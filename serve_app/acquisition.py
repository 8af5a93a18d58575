"""Reads what machines send into readings, and sets aside, with a reason, whatever is none.

Knows no HTTP and no store: JSON by row in, values by channel and moment out; `reading_files` reads files.
"""

import gzip
import io
import json
import math
import zlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import numpy as np

from pipelines.errors import InvalidInput, MalformedBody, OverLimit, TooLarge
from pipelines.machines.family import Channel, Family
from pipelines.signals.tabular.validity import GOOD, OPC_GOOD
from pipelines.signals.units import range_rule
from serve_app.shared.json_once import read_once
from serve_app.store.columns import ReadingColumns, micros_of
from serve_app.store.records import Quarantined, Reading, Series, Suspect

# Moments of one request. Source: the contract.
ROWS_MAX = 10_000
# Clocks of machines go wrong, but by no more than a day, whatever their zone. Source: own choice.
AHEAD = timedelta(days=1)
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
NAME_MAX, VALUE_MAX = 100, 200
AT, QUALITY = "at", "quality"
# What a value may be that people accept: summaries hold sums, which must not leave the range of a double. Source: own
# choice; no channel's limits go beyond 1e12 (`definition.Number`).
ACCEPTED_MAX = 1e100
# What a body packed by gzip begins with, and each stream of it; how many of these there may be. Source: RFC 1952, and
# own choice: rotated logs are joined by the dozen, and an empty stream costs some microseconds.
GZIP, GZIP_STREAM, STREAMS_MAX = b"\x1f\x8b", b"\x1f\x8b\x08", 1_000
ZONED = "must be a moment that names its zone, as 2026-11-02T06:00:00Z"


class Acquired(NamedTuple):
    """What was sent: every value is a reading, a suspect, or counted as empty.

    Attributes:
        notes: How a file was read, in words.
        left_out: Suspects beyond those that are set aside.
    """

    readings: Sequence[Reading]
    suspects: list[Suspect]
    empty: int
    notes: tuple[str, ...] = ()
    left_out: int = 0


def unpacked(body: bytes, limit: int) -> bytes:
    """Return a body without its packing by gzip.

    Raises:
        TooLarge: It unpacks to more than `limit` bytes.
        MalformedBody: It is not whole, or packed twice.
    """
    if body.count(GZIP_STREAM) > STREAMS_MAX:
        raise MalformedBody(f"must be of at most {STREAMS_MAX} streams of gzip one after the other")
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(body)) as file:
            data = file.read(limit + 1)
    except (OSError, EOFError, zlib.error):
        raise MalformedBody("must be packed by gzip, and whole, as content-encoding says") from None
    if len(data) > limit:
        raise TooLarge("body", limit)
    if data[:2] == GZIP:
        raise MalformedBody("must be packed once")
    return data


# --- JSON


def read_json(body: bytes, family: Family, now: datetime, most: int = ROWS_MAX) -> Acquired:
    """Read `{"readings": [{"at": .., channel: value, ..}, ..]}`, of `most` rows.

    Raises:
        MalformedBody: It is no JSON.
        OverLimit: It has more rows.
        InvalidInput: It has another shape, names a member twice, or a row has no moment that can be kept.
    """
    try:
        content = read_once(body.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise MalformedBody("must be JSON in UTF-8") from None
    rows = content.get("readings") if isinstance(content, dict) else None
    rule = f"must be an array of 1 to {most} rows"
    if not isinstance(rows, list) or not rows:
        raise InvalidInput("readings", _kind(rows), rule)
    if len(rows) > most:
        raise OverLimit("readings", len(rows), rule)
    if unknown := sorted(set(content) - {"readings"}):
        raise InvalidInput(unknown[0], "", "is not a known field")
    found, suspects, empty = _Rows({}, [], [], []), list[Suspect](), 0
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise InvalidInput(f"readings[{number}]", _kind(row), "must be an object")
        empty += _read_row(row, f"readings[{number}]", family, now, found, suspects)
    return Acquired(ReadingColumns.made(*found), suspects, empty)


def _kind(value: object) -> object:
    """Return a value that is not what it should be, of a large one what it is in the words of JSON."""
    if isinstance(value, list):
        return f"array of {len(value)}"
    return "object" if isinstance(value, dict) else value


class _Rows(NamedTuple):
    """Readings on their way into columns."""

    names: dict[str, int]
    places: list[int]
    micros: list[int]
    values: list[float]


def _read_row(
    row: Mapping[str, Any], place: str, family: Family, now: datetime, found: _Rows, suspects: list[Suspect]
) -> int:
    """Read one row into what is found; return how many of its values are empty."""
    at = moment_of(row.get(AT), f"{place}.{AT}", now)
    micros = micros_of(at)
    marked = QUALITY in row and QUALITY not in family.channels
    bad = _bad_quality(row[QUALITY], f"{place}.{QUALITY}") if marked else ""
    empty = 0
    for name, value in row.items():
        if name == AT or (marked and name == QUALITY):
            continue
        if value is None:
            empty += 1
        elif reason := _reason(name, value, family) or bad:
            if not name.isprintable() or not 1 <= len(name) <= NAME_MAX:
                raise InvalidInput(place, name, f"must name channels by 1 to {NAME_MAX} printable characters")
            suspects.append(Suspect(name, at, as_text(value), reason))
        else:
            found.places.append(found.names.setdefault(name, len(found.names)))
            found.micros.append(micros)
            found.values.append(float(value))
    return empty


def moment_of(text: object, field: str, now: datetime) -> datetime:
    """Read a moment that can be kept.

    Raises:
        InvalidInput: It is none, names no zone, or lies before 2000 or more than a day ahead.
    """
    try:
        at = datetime.fromisoformat(text.upper()) if isinstance(text, str) else None  # RFC 3339 allows t and z, too
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise InvalidInput(field, text, ZONED)
    check_moment(at, field, text, now)
    return at.astimezone(UTC)


def check_moment(at: datetime, field: str, shown: object, now: datetime) -> None:
    """Check that a moment can be kept.

    Raises:
        InvalidInput: It cannot.
    """
    if at > now + AHEAD:
        raise InvalidInput(field, shown, "must not be more than a day ahead of the service's clock")
    if at < EARLIEST:
        raise InvalidInput(field, shown, "must be in 2000 or later")


def _bad_quality(mark: object, field: str) -> str:
    """Return why readings under a mark of quality are set aside, empty where it is good.

    Raises:
        InvalidInput: It is no mark.
    """
    if isinstance(mark, str):
        good = not mark.strip() or bool(GOOD.match(mark.strip()))
    elif isinstance(mark, bool) or mark is None:
        good = mark is not False
    elif isinstance(mark, int):
        good = mark & OPC_GOOD == OPC_GOOD
    else:
        raise InvalidInput(field, mark, "must be a word, as good, true or false, or a number of OPC, as 192")
    return "" if good else f"quality {as_text(mark)!r}"


def _reason(name: str, value: object, family: Family) -> str:
    """Return why a value is no reading of a channel, empty where it is one."""
    if name not in family.channels:
        return f"must be of a channel of the family {family.name}"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "must be a number"
    return implausible(value, family.channels[name])


def implausible(value: float, channel: Channel) -> str:
    """Return why a number is no reading of a channel, empty where it is one."""
    if isinstance(value, float) and not math.isfinite(value):
        return "must be finite"
    if not channel.low <= value <= channel.high:
        return range_rule(min(max(value, -1e300), 1e300), channel)
    return ""


def as_text(value: object) -> str:
    """Return a value as text that the database can hold."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**VALUE_MAX:
        return "an integer of more than 200 digits"
    text = value if isinstance(value, str) else json.dumps(value)
    return text.encode("utf-8", "replace").decode().replace("\x00", "?")[:VALUE_MAX]


def accepted(found: Sequence[Quarantined], family: Family) -> dict[int, Reading]:
    """Return by number the readings that values are which people accept, whatever is plausible.

    Raises:
        InvalidInput: One is of no channel of the family, is no number that can be summed up, or is another one's of its
            moment.
    """
    rows: dict[int, Reading] = {}
    moments: set[tuple[str, datetime]] = set()
    for each in found:
        if each.channel not in family.channels:
            raise InvalidInput("accept", each.quarantine_id, f"must be of a channel of the family {family.name}")
        try:
            value = float(each.value)
        except ValueError:
            value = math.nan
        if not abs(value) <= ACCEPTED_MAX:
            rule = f"must be a number within {ACCEPTED_MAX:g}, not {each.value[:40]!r}: dismiss it"
            raise InvalidInput("accept", each.quarantine_id, rule)
        if (each.channel, each.at) in moments:
            raise InvalidInput("accept", each.quarantine_id, "must be the only one of its channel and moment")
        moments.add((each.channel, each.at))
        rows[each.quarantine_id] = Reading(each.channel, each.at, value)
    return rows


class LatestWindow(NamedTuple):
    """A window that readings show.

    Attributes:
        samples: By channel; None where there is none.
        rate_hz: The family's, or the readings' where they are slower.
        end: Moment of the last sample.
        length_s: From its first sample to its last; None where no two readings tell their rate.
    """

    samples: dict[str, list[float | None]]
    rate_hz: float
    end: datetime
    length_s: float | None


def latest_window(series: Sequence[Series], family: Family, most: int) -> LatestWindow:
    """Return the newest window that readings show: at each step of its rate the last value, None where there is none.

    A value holds for a step and a half, of a channel that is read more slowly for three of its own steps. What people
    accepted beyond what is plausible is missing here: no window may hold it.

    Args:
        series: The readings.
        family: Whose length and rate it has.
        most: Samples of a channel at most.

    Raises:
        InvalidInput: They are of no channel of the family, or it would have more samples.
    """
    ends = [each.points[-1][0] for each in series if each.channel in family.channels and each.points]
    if not ends:
        raise InvalidInput("sensor_data", None, "must be sent: no readings of this system's channels are stored")
    return window_to(series, family, max(ends), most)


def window_to(series: Sequence[Series], family: Family, end: datetime, most: int) -> LatestWindow:
    """Return the window that ends at a moment, as `latest_window` does; empty where none of its channels was read.

    Args:
        series: Of the window and of the time before it, in which slow channels were read last.
        family: Its length and rate.
        end: The moment of its last sample.
        most: Samples of a channel at most.

    Raises:
        InvalidInput: It would have more samples.
    """
    known = {each.channel: each.points for each in series if each.channel in family.channels and each.points}
    moments = {name: np.array([at.timestamp() for at, _ in points]) for name, points in known.items()}
    steps = {name: float(np.median(np.diff(at))) if len(at) > 1 else 0.0 for name, at in moments.items()}
    family_hz = next(iter(family.channels.values())).rate_hz
    step_s = max(1 / family_hz, min(filter(None, steps.values()), default=0.0))
    count = max(1, round(family.window_s * family_hz))
    if count > most:
        rule = f"must be sent: {family.window_s:g} s at {family_hz:g} Hz are more than {most} samples of a channel"
        raise InvalidInput("sensor_data", count, rule)
    grid = end.timestamp() - step_s * np.arange(count - 1, -1, -1)
    found: dict[str, list[float | None]] = {}
    for name, points in known.items():
        places = np.searchsorted(moments[name], grid + 1e-6, side="right") - 1
        held = places >= 0
        held &= grid - moments[name][np.maximum(places, 0)] <= max(1.5 * step_s, 3 * steps[name])
        values = np.array([value for _, value in points])[places]
        held &= (values >= family.channels[name].low) & (values <= family.channels[name].high)
        if held.any():
            found[name] = [value if there else None for value, there in zip(values.tolist(), held, strict=True)]
    return LatestWindow(found, 1 / step_s, end, step_s * (count - 1) if any(steps.values()) else None)
