"""Reads moments: ISO, day or month first, 12-hour clocks, epochs in any unit, zones, and clocks that are changed."""

import re
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Nanos = NDArray[np.int64]
NEVER = np.iinfo(np.int64).min
SECOND, DAY = 1_000_000_000, 86_400_000_000_000
HOUR = 3600 * SECOND


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """A column read as time.

    Attributes:
        nanos: Since 1970, `NEVER` where a cell holds no moment.
        kind: `moment`, `date` alone, `clock` alone, or `elapsed`.
        text: The format in words.
        zoned: The cells say their zone themselves.
        assumed: What was decided without evidence; empty where nothing was.
        own: Which cells say their zone, where only some do; else None.
        unknown: A word where most cells would have a zone, and that is none that is known; empty where none is.
    """

    nanos: Nanos
    kind: str
    text: str
    zoned: bool = False
    assumed: str = ""
    own: NDArray[np.bool_] | None = None
    unknown: str = ""

    @property
    def share(self) -> float:
        """Share of cells that hold a moment."""
        return float((self.nanos != NEVER).mean()) if len(self.nanos) else 0.0


# Numbers that are moments between the years 2000 and 2060: name, least, greatest, nanoseconds of one, 1970 in it.
# Source: Unix; FILETIME (100 ns since 1601); .NET ticks (since year 1); Excel's serial days (since 1899-12-30); LabVIEW
# (seconds since 1904); MATLAB's datenum.
EPOCHS = (
    ("days of a spreadsheet", 36_526, 58_500, DAY, 25_569),
    ("days of MATLAB", 730_486, 752_700, DAY, 719_529),
    ("epoch, seconds", 946_684_800, 2_840_140_800, SECOND, 0),
    ("seconds since 1904", 3_029_529_600, 4_922_985_600, SECOND, 2_082_844_800),
    ("epoch, milliseconds", 946_684_800_000, 2_840_140_800_000, 1_000_000, 0),
    ("epoch, microseconds", 946_684_800_000_000, 2_840_140_800_000_000, 1000, 0),
    ("FILETIME", 125_911_584_000_000_000, 144_846_144_000_000_000, 100, 116_444_736_000_000_000),
    (".NET ticks", 630_822_816_000_000_000, 649_757_376_000_000_000, 100, 621_355_968_000_000_000),
    ("epoch, nanoseconds", 946_684_800_000_000_000, 2_840_140_800_000_000_000, 1, 0),
)
ELAPSED = {"s": SECOND, "ms": 1_000_000, "min": 60 * SECOND, "h": HOUR}
# Minutes east of Greenwich. Source: RFC 5322 for the American ones, and usual names elsewhere; a name that several
# countries give to different hours is not among them.
ZONES = {
    "z": 0, "utc": 0, "gmt": 0, "wet": 0, "west": 60, "cet": 60, "mez": 60, "cest": 120, "mesz": 120, "eet": 120,
    "eest": 180, "msk": 180, "мск": 180, "samt": 240, "yekt": 300, "est": -300, "edt": -240, "cst": -360, "cdt": -300,
    "mst": -420, "mdt": -360, "pst": -480, "pdt": -420, "jst": 540,
}  # fmt: skip
MONTHS = {
    "jan": 1, "feb": 2, "mar": 3, "mär": 3, "apr": 4, "may": 5, "mai": 5, "jun": 6, "jul": 7, "aug": 8, "sep": 9,
    "oct": 10, "okt": 10, "nov": 11, "dec": 12, "dez": 12, "янв": 1, "фев": 2, "мар": 3, "апр": 4, "ма": 5, "июн": 6,
    "июл": 7, "авг": 8, "сен": 9, "окт": 10, "ноя": 11, "дек": 12,
}  # fmt: skip
ZONE = r"(?:\s*\(?((?:UTC|GMT|MSK|МСК)?\s?[+-]\d{1,2}(?::?\d{2})?|[A-Za-zМСК]{1,5})\)?)?"
# Words behind a clock that name no zone: what clocks are called, and weekdays. Source: own choice.
NO_ZONE = re.compile(
    r"uhr|hrs?|hours?|h|s|local|lt|(?:mon|tue|tues|wed|thu|thur|fri|sat|sun|mo|di|mi|do|fr|sa|so)", re.IGNORECASE
)
CLOCK = r"(\d{1,2})[:.h](\d{2})(?:[:.m](\d{2})(?:[.,:](\d{1,9}))?)?s?\s*([AaPp]\.?\s?[Mm]\.?)?"
CALENDAR = re.compile(rf"^(?:(\d{{1,4}})([./-])(\d{{1,2}})[./-](\d{{1,4}})\.?)?(?:[T ,;:_-]*{CLOCK})?{ZONE}$")
DIGITS = re.compile(r"^(\d{4})(\d{2})(\d{2})(?:[T _-]?(\d{2})(\d{2})(\d{2})(?:[.,](\d{1,9}))?)?(Z|[+-]\d{2}:?\d{2})?$")
STAMP = re.compile(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?Z?")
SIX = ((0, 4), (4, 6), (6, 8), (8, 10), (10, 12), (12, 14))
YEAR_LEAST = 1970
# A moment has a colon, two marks within a date, or eight digits, which no plain number has.
MARKED = r":|\d[./-]\d{1,2}[./-]\d|^\d{8}"
WEEKDAY = r"^(?:mon|tue|wed|thu|fri|sat|sun|mo|di|mi|do|fr|sa|so|пн|вт|ср|чт|пт|сб|вс)[a-zа-я]{0,7}[.,]?\s+"
# Cells that a format is looked for in, and the share of them that must be moments. Source: own choice; a summary at the
# end and a page's repeated header are far fewer.
PROBED, ENOUGH = 400, 0.6
# Of so many cells from all over a column one at least has what moments have, or none is looked at more closely.
GLANCED, LIKELY = 40, re.compile(MARKED + r"|[^\W\d_]{3}")
LONGEST = 48
# Share of a time's numbers that are moments of one kind; a stray 0 is none. Source: own choice.
MOST = 0.9


def read_moments(column: "pd.Series[str]", us: bool = False) -> Moments | None:
    """Read a column of text as moments; None where it does not hold any.

    Args:
        us: Other columns have American units, which speak for the month first where nothing else decides.
    """
    if (found := _stamps(column)) is not None:
        return found
    glanced = [cell.strip() for cell in column.iloc[:: max(1, len(column) // GLANCED)].tolist()]
    if any(glanced) and not any(LIKELY.search(cell[:LONGEST]) for cell in glanced):
        return None
    text = column.str.strip().str.slice(0, LONGEST)
    probe = text[text != ""].iloc[: max(1, len(text))]
    probe = probe.iloc[:: max(1, len(probe) // PROBED)]
    if not len(probe):
        return None
    if (
        probe.str.contains(r"[A-Za-zА-Яа-яäЯ]{3}", regex=True).mean() > ENOUGH
        and _spelled(probe).ne(probe).mean() > 0.5
    ):
        text, probe = _spelled(text), _spelled(probe)
    for pattern, reader in ((DIGITS, _digits), (CALENDAR, _calendar)):
        if probe.str.match(pattern).mean() >= ENOUGH and probe.str.contains(MARKED).mean() >= ENOUGH:
            found = reader(text.str.extract(pattern), us)
            if found is not None:
                return found
    return None


def _spelled(text: "pd.Series[str]") -> "pd.Series[str]":
    """Return dates with the month in words as year-month-day."""
    small = text.str.replace(WEEKDAY, "", regex=True, flags=re.IGNORECASE)

    def dated(day: str, month: str, year: str, whole: str) -> str:
        number = next((MONTHS[month.casefold()[:n]] for n in (3, 2) if month.casefold()[:n] in MONTHS), 0)
        return f"{int(year) + 2000 * (len(year) == 2):04d}-{number:02d}-{int(day):02d} " if number else whole

    word = r"([^\W\d_]{3,9})\.?"
    small = small.str.replace(
        rf"^(\d{{1,2}})\.?[ \-/]+{word}[ ,\-/]+(\d{{4}}|\d{{2}})(?:\s?г\.?)?[ ,:T]*",
        lambda m: dated(m[1], m[2], m[3], m[0]), regex=True,
    )  # fmt: skip
    small = small.str.replace(
        rf"^{word}\s+(\d{{1,2}}),?\s+(\d{{4}})[ ,]*", lambda m: dated(m[2], m[1], m[3], m[0]), regex=True
    )
    ctime = rf"^{word}\s+(\d{{1,2}})\s+(\d{{2}}:\d{{2}}:\d{{2}})\s+(\d{{4}})$"
    return small.str.replace(ctime, lambda m: dated(m[2], m[1], m[4], m[0]) + m[3], regex=True).str.strip()


def _stamps(column: "pd.Series[str]") -> Moments | None:
    """Read moments that all have the form of ISO 8601, as `2026-03-02T06:00:00.5Z`; None where one has another."""
    if not len(column) or not STAMP.fullmatch(str(column.iloc[0])):
        return None
    length = len(str(column.iloc[0]))
    if (column.str.len() != length).any() or not column.str.isascii().all():
        return None
    letters = np.asarray(column, dtype=f"S{length}").view(np.uint8).reshape(len(column), length)
    digits = letters - np.uint8(ord("0"))  # below `0` is far above 9
    marks = np.flatnonzero(digits[0] > 9)
    plain = np.delete(digits, marks, axis=1)
    if (letters[:, marks] != letters[0, marks]).any() or (plain > 9).any():
        return None
    year, month, day, hour, minute, second = (
        plain[:, first:end] @ 10 ** np.arange(end - first - 1, -1, -1) for first, end in SIX
    )
    if year.min() < YEAR_LEAST:
        return None
    share = plain[:, 14:]
    nanos = share @ 10 ** np.arange(8, 8 - share.shape[1], -1)
    days, exists = _days(*(part.astype(np.float64) for part in (year, month, day)))
    clock = (hour * 3600 + minute * 60 + second) * SECOND + nanos
    right = exists & _is_clock(*(part.astype(np.float64) for part in (hour, minute, second)))
    found = np.where(right, days * DAY + clock, NEVER)
    return Moments(found, "moment" if clock.any() else "date", "year-month-day", bool(letters[0, -1] == ord("Z")))


def _number(column: "pd.Series[str]") -> NDArray[np.float64]:
    return np.array(pd.to_numeric(column, errors="coerce"), dtype=np.float64)


def _whole(values: NDArray[np.float64], otherwise: int = 0) -> Nanos:
    return np.where(np.isnan(values), otherwise, values).astype(np.int64)


def _digits(parts: pd.DataFrame, us: bool) -> Moments | None:
    """Read `20260302T060000`."""
    year, month, day, hour, minute, second = (_number(parts[place]) for place in range(6))
    days, right = _days(year, month, day)
    clock = _clock(hour, minute, second, parts[6])
    right &= np.isnan(hour) | _is_clock(hour, minute, second)
    nanos = np.where(right & ~np.isnan(year), days * DAY + clock, NEVER)
    kind = "date" if np.isnan(hour).all() else "moment"
    return _offsets(parts[7]).of(Moments(nanos, kind, "YYYYMMDD" + " hhmmss" * (kind == "moment")))


def _calendar(parts: pd.DataFrame, us: bool) -> Moments | None:
    """Read dates whose parts have marks between them, and clocks."""
    one, two, three = (_number(parts[place]) for place in (0, 2, 3))
    dated = ~np.isnan(one)
    hour, minute, second = (_number(parts[place]) for place in (4, 5, 6))
    clock = _clock(hour, minute, second, parts[7])
    half = parts[8].str.casefold().str.slice(0, 1)
    morning, evening = (half == "a").to_numpy(dtype=np.bool_), (half == "p").to_numpy(dtype=np.bool_)
    clock += 12 * HOUR * ((evening & (hour < 12)).astype(np.int64) - (morning & (hour == 12)).astype(np.int64))
    # `13:05 PM` is told by its hour; time that has passed may have more hours than a day.
    right = np.isnan(hour) | (_is_clock(np.where(dated, hour, 0), minute, second) & ~(morning & (hour > 12)))
    zones = _offsets(parts[9])
    twelve = " AM/PM" if (morning | evening).any() else ""
    timed = ~np.isnan(hour)
    if not dated.any():
        nanos = np.where(right & timed, clock, NEVER)
        return zones.of(Moments(nanos, "clock", "hh:mm:ss" + twelve)) if timed.any() else None
    # A year of four digits in front tells the order of its own row: spreadsheets hold texts beside their own dates.
    first = (parts[0].str.len() == 4).to_numpy(dtype=np.bool_)
    rest = dated & ~first
    order, assumed = _order(one[rest], two[rest], three[rest], parts[1][rest], us or bool(twelve))
    year, month, day = (
        np.where(first, own, part) for own, part in zip((one, two, three), _by(order, one, two, three), strict=True)
    )
    # A year of four digits is itself: programs of Windows write the first where they have no moment.
    digits = parts[0 if order == "ymd" else 3].where(~first, parts[0]).str.len().to_numpy(dtype=np.float64)
    days, exists = _days(np.where((year < 100) & (digits <= 2), year + 2000, year), month, day)
    nanos = np.where(dated & right & exists, days * DAY + clock, NEVER)
    words = {"ymd": "year-month-day", "dmy": "day.month.year", "mdy": "month/day/year"}[order]
    # Spreadsheets write a date without a clock as its midnight.
    kind = "moment" if clock[dated].any() else "date"
    return zones.of(Moments(nanos, kind, words + twelve, assumed=assumed))


def _by(order: str, *parts: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    return tuple(parts[order.index(letter)] for letter in "ymd")


def _order(
    one: NDArray[np.float64], two: NDArray[np.float64], three: NDArray[np.float64], mark: "pd.Series[str]", us: bool
) -> tuple[str, str]:
    """Return the order of day, month and year, as most show it, and how it was assumed where none does."""
    if not len(one) or (one > 31).mean() > 0.5:
        return "ymd", ""
    # What is no day is a slip, and says nothing of the others.
    later_days, later_months = (int(((part > 12) & (one <= 31) & (two <= 31)).sum()) for part in (one, two))
    if later_days or later_months:
        return ("dmy" if later_days >= later_months else "mdy"), ""
    if (mark == ".").any():
        return "dmy", ""
    if (three <= 31).mean() > 0.5 and (mark == "-").any() and len(np.unique(one)) == 1:
        return "ymd", "two digits of the year are read as the first of the date"
    # Days run on from one to the next; read the wrong way, each is a month apart.
    runs = [len(np.unique(part[~np.isnan(part)])) for part in (one, two)]
    if max(runs) > 2 and runs[0] != runs[1]:
        return ("dmy" if runs[0] > runs[1] else "mdy"), ""
    order = "mdy" if us else "dmy"
    why = "the clock has AM/PM or units are American" if us else "nothing in the file says otherwise"
    first, other = ("month", "day") if us else ("day", "month")
    return order, f"dates could be read with the {first} or the {other} first: {first} first, as {why}"


def _days(
    year: NDArray[np.float64], month: NDArray[np.float64], day: NDArray[np.float64]
) -> tuple[Nanos, NDArray[np.bool_]]:
    """Return days since 1970, and whether there is such a date between 1970 and 2100."""
    y, m, d = _whole(year, 1970), _whole(month, 1), _whole(day, 1)
    right = (y >= 1970) & (y <= 2100) & (m >= 1) & (m <= 12) & (d >= 1) & (d <= 31)
    months = (np.where(right, (y - 1970) * 12 + m - 1, 0)).astype("datetime64[M]")
    days = months.astype("datetime64[D]") + np.where(right, d - 1, 0)
    right &= days.astype("datetime64[M]") == months
    return days.astype(np.int64), right


def _clock(
    hour: NDArray[np.float64], minute: NDArray[np.float64], second: NDArray[np.float64], share: "pd.Series[str]"
) -> Nanos:
    """Return nanoseconds since midnight."""
    digits = _whole(_number(share.str.pad(9, side="right", fillchar="0")))
    return (_whole(hour) * 3600 + _whole(minute) * 60 + _whole(second)) * SECOND + digits


def _is_clock(hour: NDArray[np.float64], minute: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which are times of a day: its end is 24:00:00, and a minute may have a leap second."""
    end = (hour == 24) & (minute == 0) & (np.isnan(second) | (second == 0))
    right: NDArray[np.bool_] = ((hour < 24) | end) & (minute < 60) & (np.isnan(second) | (second <= 60))
    return right


class _Zones(NamedTuple):
    """Zones of cells: nanoseconds east of Greenwich, which cells name one that is known, and which another word."""

    offset: Nanos
    named: NDArray[np.bool_]
    strange: NDArray[np.bool_]
    word: str

    def of(self, moments: Moments) -> Moments:
        """Return moments with what their cells say of their zone; without the few whose zone is not known."""
        held = moments.nanos != NEVER
        strange = held & self.strange
        if 2 * strange.sum() > held.sum():
            return replace(moments, unknown=self.word)
        named, held = held & self.named, held & ~strange
        own = named if named.any() and (named != held).any() else None
        nanos = np.where(held, moments.nanos - self.offset, NEVER)
        return replace(moments, nanos=nanos, zoned=bool(named.any()) and own is None, own=own)


def _offsets(column: "pd.Series[str]") -> _Zones:
    """Return the zones of cells by what stands behind their clocks."""
    words = column.dropna().unique()[:500]
    known = {word: minutes for word in words if (minutes := zone_minutes(str(word))) is not None}
    strange = [word for word in words if word not in known and not NO_ZONE.fullmatch(str(word).strip())]
    offset = (column.map(known).fillna(0).to_numpy(dtype=np.float64) * 60 * SECOND).astype(np.int64)
    named, other = (column.isin(part).to_numpy(dtype=np.bool_) for part in (list(known), strange))
    return _Zones(offset, named, other, str(strange[0]).strip() if strange else "")


def zone_minutes(text: str) -> float | None:
    """Return minutes east of Greenwich of `Z`, `+03:00`, `UTC+3`, `MSK`; None for what is no zone."""
    small = text.strip().casefold()
    match = re.fullmatch(r"(?:utc|gmt)?\s?([+-])(\d{1,2}):?(\d{2})?", small)
    if match:
        minutes = int(match[2]) * 60 + int(match[3] or 0)
        return float(minutes if match[1] == "+" else -minutes) if minutes <= 15 * 60 else None
    return float(ZONES[small]) if small in ZONES else None


def read_epoch(values: NDArray[np.float64], header_unit: str | None, named: bool) -> Moments | None:
    """Read a column of numbers as moments or as time that has passed; None where it is neither.

    Args:
        header_unit: Unit in the header.
        named: The header says that it is a time.
    """
    known = values[~np.isnan(values)]
    if not len(known):
        return None
    low, high = float(known.min()), float(known.max())
    rising = float((np.diff(known) >= 0).mean()) if len(known) > 1 else 1.0
    if not (named or (rising > 0.9 and high > low)):
        return None
    for name, least, greatest, nanos, zero in EPOCHS:
        within = (values >= least) & (values <= greatest)
        if within.sum() >= MOST * len(known) and (named or least > 1e8):
            held = np.where(within, values, np.nan)
            return Moments(_scaled(held, nanos, zero), "moment", name, zoned="spreadsheet" not in name)
    scale = ELAPSED.get(header_unit or "s")
    if named and scale and rising > 0.9 and 0 < high - low < 1e10:
        return Moments(_scaled(values, scale, 0), "elapsed", f"{header_unit or 's'} since the beginning")
    return None


def _scaled(values: NDArray[np.float64], nanos: int, zero: int) -> Nanos:
    missing = np.isnan(values)
    whole = np.floor(np.where(missing, 0, values))
    rest = np.round((np.where(missing, 0, values) - whole) * nanos, -3 if nanos >= 1_000_000 else 0)
    return np.where(missing, NEVER, (whole.astype(np.int64) - zero) * nanos + rest.astype(np.int64))
