"""Finds a family's channels in a file as people have it: by name, else by quantity and unit, or as people say.

`exports` makes recordings and windows of what is found; a machine kind that is to be takes all columns.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from pipelines.errors import InvalidInput
from pipelines.machines.family import Channel, Family, read_family
from pipelines.machines.proposal import Reading
from pipelines.signals.tabular import Column, Table
from pipelines.signals.tabular.headings import alike, quantity_by_words
from pipelines.signals.units import convert, quantity_of, range_rule, read_unit
from pipelines.signals.windows import Floats

# Values outside the plausible range that may be sensors' faults; with more of them the unit is doubted.
# Source: own choice; of healthy exports none lies outside.
STRAY = 0.01
# Quantities whose units say too little: a valve's position and an efficiency are both in percent.
BARE = {"ratio", "current", "voltage", "length", "time"}
PRIMARY = re.compile(
    r"pump|system|main|supply|oil\b|hydr|насос|систем|масл|главн|напор|haupt|pumpe|öl|förder", re.IGNORECASE
)
GIVEN = re.compile(r"^(.*?)\s*(?:\[([^\[\]]*)\])?$")
UNIT = re.compile(r"\s*[\[(][^\[\]()]*[\])]$")
# Oil that comes back tells its temperature as well as any, where no other does.
RETURNED = re.compile(r"(?:return|rücklauf|слив).*temp|temp.*(?:return|rücklauf|слив)|темп.*слив", re.IGNORECASE)


class Mapped(NamedTuple):
    """What a family's channels are read from.

    Attributes:
        values: By channel, in the family's unit.
        columns: By channel.
        lines: How each channel was found, or why it was not, in words.
    """

    values: dict[str, Floats]
    columns: dict[str, Column]
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What people say of a file.

    Attributes:
        columns: By channel, the header of its column, with a unit in brackets behind it where the file has none.
        zone: Of moments that name none.
        machine: Whose readings count, where the file holds those of several; all when empty.
    """

    columns: Mapping[str, str]
    zone: str | None = None
    machine: str = ""

    @classmethod
    def of(cls, words: Sequence[str], zone: str = "", machine: str = "") -> "Wanted":
        """Read `pressure=HPU2.PT101.PV [bar]`.

        Raises:
            InvalidInput: There is no `=`.
        """
        pairs = [word.partition("=") for word in words]
        if wrong := [word for word, (_, mark, header) in zip(words, pairs, strict=True) if not mark or not header]:
            raise InvalidInput("channel", wrong[0], "must be a channel and a column, as pressure='PT101 [bar]'")
        return cls({name.strip(): header.strip() for name, _, header in pairs}, zone or None, machine)


def of_machine(table: Table, name: str) -> Table:
    """Return what a file holds of one machine; all of it where no name is given.

    Raises:
        InvalidInput: It holds several and none is named, or none of this name.
    """
    there = table.report.machines
    if not name and len(there) < 2:
        return table
    if table.machines is None or name not in there:
        held = f"the file holds {', '.join(there[:20])}" if there else "the file names no machine"
        raise InvalidInput("machine", name or len(there), f"must be one: {held}")
    keep = table.machines == name
    return replace(
        table,
        times=None if table.times is None else table.times[keep],
        machines=table.machines[keep],
        channels=tuple(replace(column, values=column.values[keep]) for column in table.channels),
        texts={header: words[keep] for header, words in table.texts.items()},
        rows=table.rows[keep],
        left=tuple(cells.of_machine(name) for cells in table.left),
    )


def map_channels(table: Table, family: Family, wanted: Wanted, any_value: bool = False) -> Mapped:
    """Find the columns of a family's channels, and bring them to its units.

    Args:
        any_value: Whether values that are not plausible stay, and are no error.

    Raises:
        InvalidInput: None is found, what people said is not there, or values are far outside what is plausible.
    """
    for name in wanted.columns:
        if name not in family.channels:
            raise InvalidInput("channel", name, f"must be one of {', '.join(family.channels)}")
    found: dict[str, tuple[Column, str, str]] = {}
    lines, values = [], {}
    for name, channel in family.channels.items():
        taken = [column for column, _, _ in found.values()]
        column, unit, why = _found(table, name, channel, wanted, taken)
        if column is None:
            lines.append(f"{name}: {why}")
            continue
        found[name] = (column, unit, why)
        lines.append(f"{name} <- {column.header!r}, {_change(unit, channel.unit)} ({why})")
        values[name] = convert(column.values, unit, channel.unit)
        if not any_value:
            values[name] = _plausible(table, column, values[name], channel, name, lines)
    if not values:
        raise InvalidInput("channels", table.report.name, _questions(table, family, lines))
    return Mapped(values, {name: column for name, (column, _, _) in found.items()}, tuple(lines))


def _change(unit: str, to: str) -> str:
    return unit if unit == to else f"{unit} to {to}"


def _questions(table: Table, family: Family, lines: Sequence[str]) -> str:
    """Return what people have to say where no channel is found."""
    asked = [f"{c.name!r}: {c.guess or 'which quantity'}?" for c in table.channels if c.unit is None][:8]
    example = next(
        (
            f"{c.guess}='{c.name} [{family.channels[c.guess].unit}]'"
            for c in table.channels
            if c.guess in family.channels
        ),
        "",
    )
    hint = (
        f"; say which column is what, as --channel {example or next(iter(family.channels)) + chr(61) + 'HEADER [UNIT]'}"
    )
    return f"must hold a channel of {family.name}: {'; '.join([*asked, *lines])}{hint}"


def _found(
    table: Table, name: str, channel: Channel, wanted: Wanted, taken: Sequence[Column]
) -> tuple[Column | None, str, str]:
    """Return a channel's column, the unit to read it in, and how it was found, or why it was not."""
    if name in wanted.columns:
        return _said(table, wanted.columns[name], channel)
    free = [column for column in table.channels if not any(column is other for other in taken)]
    for known in (channel.column, name):
        for column in free:
            if (
                known in (column.header, column.name)
                and _convertible(column.unit, channel)
                and not _doubt(column, known)
            ):
                return column, column.unit or channel.unit, "by name"
    fits = [column for column in free if _fits(column, name, channel)]
    main = [column for column in fits if not column.secondary] or [c for c in fits if RETURNED.search(c.header)]
    if len(main) > 1:
        main = [column for column in main if PRIMARY.search(column.header)] or main
    if len(main) == 1:
        (column,) = main
        others = [other.header for other in fits if other is not column]
        why = "by quantity and unit" if column.unit else f"by quantity; no unit is given, {channel.unit} is assumed"
        why += f", and not {', '.join(map(repr, others))}" if others else ""
        doubt = _doubt(column, channel.unit)
        asked = f"{doubt}; say which, as --channel {name}='{column.header} [UNIT]'"
        return (None, "", asked) if doubt else (column, column.unit or channel.unit, why)
    if len(fits) > 0:
        return (
            None,
            "",
            f"several columns or none of the main circuit: {', '.join(repr(c.header) for c in fits)}; say --channel",
        )
    other = [c for c in free if quantity_by_words(c.header) == quantity_by_words(name) is not None and c.unit]
    if other:
        return None, "", f"{other[0].header!r} is in {other[0].unit}, which cannot be converted to {channel.unit}"
    return None, "", "no column"


def _doubt(column: Column, known: str) -> str:
    """Return what is wrong with the unit of a column, unless it is known, or said by a name or a unit of the family."""
    doubted = column.unit is None and column.unknown and column.unknown not in known
    return f"{column.header!r}: unit {column.unknown!r} is not known" if doubted else ""


def _convertible(unit: str | None, channel: Channel) -> bool:
    return unit is None or quantity_of(unit) == quantity_of(channel.unit)


def _fits(column: Column, name: str, channel: Channel) -> bool:
    """Return whether a column measures what a channel does."""
    words, quantity = quantity_by_words(column.header), quantity_of(channel.unit)
    meant = quantity_by_words(name.replace("_", " "))
    if column.unit is None:
        return words is not None and words == meant
    if quantity_of(column.unit) != quantity or (words is not None and not alike(words, quantity)):
        return False
    return words == meant or (words is None and quantity not in BARE)


def _said(table: Table, text: str, channel: Channel) -> tuple[Column, str, str]:
    """Return the column that people name.

    Raises:
        InvalidInput: It is not there, or its unit is not known, or another quantity's.
    """
    match = GIVEN.match(text)
    header, unit = (match[1], match[2]) if match else (text, None)
    for name, given in ((text, None), (header, unit)):
        column = next((c for c in table.channels if name.casefold() in _names(c)), None)
        if column is not None:
            known = read_unit(given) if given else column.unit or channel.unit
            if known is None or (not given and _doubt(column, channel.unit)):
                raise InvalidInput("channel", text, f"must have a unit that is known, as {header} [{channel.unit}]")
            if not _convertible(known, channel):
                convert(np.zeros(1), known, channel.unit)
            return column, known, "as said"
    there = ", ".join(repr(column.header) for column in table.channels)
    raise InvalidInput("channel", text, f"must be a column of numbers; there are {there}")


def _names(column: Column) -> set[str]:
    """Return what people may call a column: its header, with and without path and unit."""
    names = {column.header, column.name, UNIT.sub("", column.header), UNIT.sub("", column.name)}
    return {name.casefold() for name in names}


def _plausible(table: Table, column: Column, values: Floats, channel: Channel, name: str, lines: list[str]) -> Floats:
    """Return values without the few that are not plausible.

    Raises:
        InvalidInput: They are many.
    """
    wrong = np.flatnonzero((values < channel.low) | (values > channel.high))
    if not len(wrong):
        return values
    value, line = float(values[wrong[0]]), int(table.rows[wrong[0]]) + 1
    rule = range_rule(value, channel)
    if len(wrong) > STRAY * max(1, int((~np.isnan(values)).sum())):
        raise InvalidInput(f"line {line}, {column.header!r}, read as {name}", value, rule)
    lines.append(f"  left out: {len(wrong)} values of {name}: {rule} (first: line {line}: {value:g})")
    values = values.copy()
    values[wrong] = np.nan
    return values


def readings_of(table: Table, wanted: Wanted) -> tuple[list[Reading], list[str]]:
    """Return the columns of a file as channels of a machine kind that is to be: the main ones by their usual names.

    Returns:
        The channels, and what was found how, in words.

    Raises:
        InvalidInput: What people said of a column is not so.
    """
    generic, lines = read_family("generic"), list[str]()
    names: dict[str, tuple[Column, str]] = {}
    for name, channel in generic.channels.items():
        taken = [column for column, _ in names.values()]
        column, unit, why = _found(table, name, channel, wanted, taken)
        if column is not None and (column.unit or name in wanted.columns):
            names[name] = column, unit
            lines.append(f"{name} <- {column.header!r}, {unit} ({why})")
    for name in wanted.columns:
        if name not in generic.channels:
            column, unit = _asked(table, wanted.columns[name])
            names[name] = column, unit
            lines.append(f"{name} <- {column.header!r}, {unit} (as said)")
    found = [Reading(name, column.header, unit, None, column.values) for name, (column, unit) in names.items()]
    used = {id(column) for column, _ in names.values()}
    for column in table.channels:
        if id(column) not in used:
            name = _channel_name(column, [each.name for each in found])
            found.append(Reading(name, column.header, column.unit, column.guess, column.values))
            lines += [f"{name} <- {column.header!r}, {column.unit}"] if column.unit else []
    return found, lines


def _asked(table: Table, text: str) -> tuple[Column, str]:
    """Return a column that people name for a channel of their own, with its unit.

    Raises:
        InvalidInput: It is not there, or nobody says its unit.
    """
    match = GIVEN.match(text)
    header, unit = (match[1], match[2]) if match else (text, None)
    column = next((each for each in table.channels if header.casefold() in _names(each)), None)
    known = None if column is None else (read_unit(unit) or unit if unit else column.unit)
    if column is None or known is None:
        there = ", ".join(repr(each.header) for each in table.channels)
        raise InvalidInput("channel", text, f"must be a column with a unit, as 'HEADER [bar]'; there are {there}")
    return column, known


def _channel_name(column: Column, taken: Sequence[str]) -> str:
    """Return a name that a definition takes, and that no other channel has."""
    plain = re.sub(r"[^\w .,()/%+-]+", " ", UNIT.sub("", column.name)).strip(" ._-") or "channel"
    plain = re.sub(r"^[\W_]+", "", plain)[:60] or "channel"
    numbers = (f"{plain} {number}" for number in range(2, len(taken) + 3))
    return next(name for name in (plain, *numbers) if name not in taken)
