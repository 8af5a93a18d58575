"""Machine kinds that people define: what a definition may say, and the family that detectors read of it."""

import re
import unicodedata
from collections.abc import Hashable, Iterable
from functools import lru_cache
from typing import Annotated, Any, Literal, Self

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from pipelines.errors import InvalidInput
from pipelines.machines.family import (
    FAMILIES_KEPT,
    OWN_MARK,
    UNIT_MARK,
    Channel,
    Family,
    Severity,
    name_of,
    read_family,
)
from pipelines.signals.units import convert, quantity_of, read_unit

# Source: the contract, 1 to 64 channels of any name and unit.
CHANNELS_MAX = 64
# Source: own choice; 64 channels with all that may be said of them are 20,000 characters.
TEXT_MAX = 100_000
# Standard deviation between windows of a healthy machine, as a share of the level, where nobody states one. Source:
# pressure and flow of the family `generic`.
SPREAD = 0.01
# The same as a share of what is plausible, for channels that are compared by difference. Source: own choice.
SPREAD_OF_RANGE = 0.005
# From so far below zero on, as a share of the range above it, values have a sign that says something; a gauge for 0 to
# 400 bar that may read -1 has none. Source: own choice; a vacuum line's gauge goes from -1 to some bar.
BELOW = 0.1
# Samples a second: the most that a window may be sent at, and one a month. Source: `channels.RATE_MAX_HZ`, own choice.
RATES = (1e-7, 1e5)
# Least spread, as a share of what is plausible: distances are squared, and set beside each other. Source: own choice,
# well within the sixteen digits of a number.
SPREAD_LEAST = 1e-9
# Longest window. Source: own choice; a day's work is told within the day.
WINDOW_MAX_S = 86_400.0
# Names of a row's own members, beside which no channel can be sent: the moment.
TAKEN = frozenset({"at"})
# Letters of any script first: what stands between name and statistic of a feature must not stand in a name.
ChannelName = Annotated[str, StringConstraints(pattern=r"^[^\W_][\w .,()/%+-]{0,63}$")]
NAME = re.compile(r"^[a-z][a-z0-9-]{0,62}$")
Name = Annotated[str, StringConstraints(pattern=NAME.pattern)]
Unit = Annotated[str, StringConstraints(min_length=1, max_length=20, pattern=r"^[^\x00-\x1f@~]+$")]
# Strict: neither true nor a text is a number.
Number = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=-1e12, le=1e12)]
Size = Annotated[float, Field(strict=True, allow_inf_nan=False, gt=0, le=1e12)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ChannelDefinition(_Part):
    """One measured quantity; `low` and `high` may be left out where HDX knows the unit."""

    unit: Unit
    low: Number | None = Field(None, description="Lowest plausible value; below it a window is refused")
    high: Number | None = Field(None, description="Highest plausible value")
    typical: Number | None = Field(None, description="Level of a healthy machine, until a system has its own normal")
    spread: Size | None = Field(None, description="Standard deviation of that level between healthy windows")
    relation: Literal["ratio", "difference"] | None = Field(None, description="How a level is compared with normal")
    rate_hz: float = Field(
        1.0,
        strict=True,
        allow_inf_nan=False,
        ge=RATES[0],
        le=RATES[1],
        description="Samples a second, where a request names none",
    )
    column: Annotated[str, StringConstraints(max_length=200)] = Field("", description="Its column in recordings")
    required: bool = Field(True, strict=True, description="Whether an answer without it is worth less")

    @field_validator("unit")
    @classmethod
    def _as_families_write_it(cls, unit: str) -> str:
        unit = unit.strip()
        if not unit or not unit.isprintable():
            raise ValueError("must be of printable characters")
        return read_unit(unit) or unit

    @model_validator(mode="after")
    def _bounds_in_order(self) -> Self:
        known = plausible(self.unit)
        low, high = self.bounds
        if low is None or high is None:
            raise ValueError(f"low and high must be given: nothing is known of what is plausible in {self.unit}")
        if low >= high:
            raise ValueError(f"low must be below high, got {low:g} and {high:g}")
        if self.spread is not None and self.spread < SPREAD_LEAST * (high - low):
            raise ValueError(f"spread must be at least {SPREAD_LEAST * (high - low):g}, got {self.spread:g}")
        if self.typical is not None and not low <= self.typical <= high:
            raise ValueError(f"typical must be between low and high, {low:g} and {high:g}, got {self.typical:g}")
        if self.relation == "ratio" and known is None and low < 0:
            raise ValueError(f"relation must be difference where values may be below zero, got low {low:g}")
        return self

    @property
    def bounds(self) -> tuple[float | None, float | None]:
        """Lowest and highest plausible value, those of the unit where none are given."""
        known = plausible(self.unit)
        low = known.low if self.low is None and known else self.low
        return low, known.high if self.high is None and known else self.high


class SeverityDefinition(_Part):
    """Bands of the anomaly score; those of `generic` where none are given."""

    warning: float = Field(strict=True, gt=0, lt=1)
    critical: float = Field(strict=True, gt=0, lt=1)
    release: float = Field(strict=True, gt=0, lt=1)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.release <= self.warning < self.critical:
            raise ValueError("must be release <= warning < critical")
        return self


class Definition(_Part):
    """A machine kind, as people define it."""

    title: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    channels: dict[ChannelName, ChannelDefinition] = Field(min_length=1, max_length=CHANNELS_MAX)
    window_s: float = Field(
        60.0, strict=True, gt=0, le=WINDOW_MAX_S, description="Length of a window that shows the machine's work"
    )
    missing: float = Field(
        0.2, strict=True, ge=0, lt=1, description="Share of a channel's samples that may be null in a window"
    )
    severity: SeverityDefinition | None = None

    @field_validator("title")
    @classmethod
    def _as_one_line(cls, title: str) -> str:
        if not title.strip() or not title.isprintable():
            raise ValueError("must be one line of printable characters")
        return title

    @model_validator(mode="after")
    def _names_apart(self) -> Self:
        seen: dict[str, str] = {}
        for name in self.channels:
            if name in TAKEN:
                raise ValueError(f"{name} names the moment of readings: name the channel otherwise")
            plain = " ".join(unicodedata.normalize("NFKC", name).split())
            if plain in seen:
                raise ValueError(f"{seen[plain]!r} and {name!r} look alike: name one otherwise")
            seen[plain] = name
        return self

    def spelled_out(self) -> Self:
        """Return it with what follows from its limits written down: what was kept before is read as it was."""
        return self.model_copy(update={"channels": {name: _spelled_out(each) for name, each in self.channels.items()}})

    def to_json(self) -> str:
        """Return it as it is kept: equal definitions give equal text."""
        return self.model_dump_json(exclude_defaults=True)


def are_other_channels(before: str, after: str) -> bool:
    """Tell whether what was learned under one definition says nothing under another: other names, units or order."""
    kinds = (Definition.model_validate_json(text).channels for text in (before, after))
    return len({tuple((name, channel.unit) for name, channel in each.items()) for each in kinds}) > 1


def spoken_otherwise(before: Iterable[str], after: str) -> dict[str, tuple[str, str]]:
    """Return of each channel whose unit is another one than it was last, over all definitions of before, both units."""
    last: dict[str, str] = {}
    for text in before:
        last |= {name: channel.unit for name, channel in Definition.model_validate_json(text).channels.items()}
    now = {name: channel.unit for name, channel in Definition.model_validate_json(after).channels.items()}
    return {name: (last[name], unit) for name, unit in now.items() if last.get(name, unit) != unit}


class _Plain(yaml.SafeLoader):
    """YAML without aliases, a few bytes of which are gigabytes of nodes, and without a name that stands there twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Refuse a name's second value, and read everything else."""
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.YAMLError(f"{key.value[:80]!r}, which stands there twice")
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Refuse an alias, and read everything else."""
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("an alias, which definitions do not need")
        return super().compose_node(parent, index)


def read_definition(text: str) -> Definition:
    """Read a definition that people wrote as YAML or JSON.

    Raises:
        InvalidInput: It is too large, or none of both.
        pydantic.ValidationError: It breaks a rule.
    """
    if len(text) > TEXT_MAX:
        raise InvalidInput("definition", len(text), f"must have at most {TEXT_MAX} characters")
    try:
        given = yaml.load(text, _Plain)  # noqa: S506 (a safe loader that refuses more)
    except (yaml.YAMLError, ValueError, ArithmeticError, LookupError, AttributeError, RecursionError) as error:
        # Of a tag that finds no value, or a number in sixties beyond all bounds.
        raise InvalidInput("definition", str(error).split("\n")[0], "must be YAML or JSON") from None
    return Definition.model_validate(given)


@lru_cache(maxsize=256)
def plausible(unit: str) -> Channel | None:
    """Return what is plausible in a unit: that of the shipped power unit, in whose unit it can be converted."""
    generic = read_family("generic").channels.values()
    like = next((each for each in generic if quantity_of(each.unit) == quantity_of(unit) is not None), None)
    if like is None or like.unit == unit:
        return like
    given = np.array([like.low, like.high, like.typical, like.typical + like.spread])
    low, high, typical, above = (float(f"{each:.4g}") for each in convert(given, like.unit, unit).tolist())
    return like.model_copy(
        update={"unit": unit, "low": low, "high": high, "typical": typical, "spread": above - typical}
    )


def family_of(name: str, definition: str) -> Family:
    """Return the family that people defined.

    Raises:
        pydantic.ValidationError: The definition breaks a rule.
    """
    given = Definition.model_validate_json(definition)
    generic = read_family("generic").severity
    severity = generic if given.severity is None else Severity(**given.severity.model_dump(), source="as defined")
    return Family(
        name=name,
        title=given.title,
        reading="relative",
        window_s=given.window_s,
        missing=given.missing,
        layout="sample",
        entity="machine",
        order="time",
        group="machine",
        label="anomaly",
        channels={channel: _channel(channel, each) for channel, each in given.channels.items()},
        severity=severity,
        # A fault that nobody has labelled is one that trained members have not seen. Source: four presses labelled with
        # two faults; of a third, slight one the adaptive member alone finds 0.47, all members 0.09, and with this 0.41.
        trust=read_family("generic").trust,
        definition=definition,
    )


def _spelled_out(given: ChannelDefinition) -> ChannelDefinition:
    low, high = (float(each) for each in given.bounds if each is not None)
    relation, is_ratio = given.relation, (given.relation or _usual(given.unit, low)) == "ratio"
    if relation is None and is_ratio and low < 0 and low <= -BELOW * high:
        relation, is_ratio = "difference", False
    written: dict[str, object] = {} if relation == given.relation else {"relation": relation}
    if relation == "difference" and given.spread is None and _usual(given.unit, low) == "ratio":
        written["spread"] = SPREAD_OF_RANGE * (high - low)  # that of the unit is a share of levels far from zero
    if given.typical == 0 and is_ratio:
        written["typical"] = None  # nothing is a share of zero: a machine that mostly stands has no level there
    return given.model_copy(update=written)


def _usual(unit: str, low: float) -> Literal["ratio", "difference"]:
    """Return how levels of a unit are compared where nobody says."""
    known = plausible(unit)
    return known.relation if known else "ratio" if low >= 0 else "difference"


def _channel(name: str, given: ChannelDefinition) -> Channel:
    known = plausible(given.unit)
    low, high = (float(each) for each in given.bounds if each is not None)
    relation = given.relation or _usual(given.unit, low)
    likely = known.typical if known and low <= known.typical <= high else 0.5 * (low + high)
    typical = likely if given.typical is None else given.typical
    share = known.spread / known.typical if known and known.relation == "ratio" else SPREAD
    absolute = known.spread if known else SPREAD_OF_RANGE * (high - low)
    spread = max(share * abs(typical), 1e-9) if relation == "ratio" else absolute
    return Channel(
        unit=given.unit,
        low=low,
        high=high,
        rate_hz=given.rate_hz,
        column=given.column or name,
        typical=typical,
        spread=given.spread or spread,
        relation=relation,
        extra=not given.required,
        source="as defined",
    )


@lru_cache(maxsize=FAMILIES_KEPT)
def _defined(name: str, definition: str) -> Family:
    return family_of(name, definition)


@lru_cache(maxsize=FAMILIES_KEPT)
def in_units(name: str, units: tuple[tuple[str, str], ...]) -> Family:
    """Return a shipped family as a system speaks it that measures in other units: levels, limits, answers.

    Its trained members judge as ever: what they read of a machine is relative to its own normal.

    Args:
        units: By channel, as people write them; those of the family itself change nothing.

    Raises:
        UnknownFamily: None is shipped under this name.
        InvalidInput: A channel is none of the family, a unit is not known or another quantity's, or the family is
            read in its own units.
    """
    family, spoken = read_family(name), {}
    for channel, written in sorted(units):
        if channel not in family.channels:
            raise InvalidInput(f"units.{channel}", written, f"must be by channel, {', '.join(family.channels)}")
        unit, own = read_unit(written), family.channels[channel].unit
        if unit is None or quantity_of(unit) != quantity_of(own):
            raise InvalidInput(f"units.{channel}", written, f"must be a unit that {own} can be converted to")
        if unit != own:
            spoken[channel] = unit
    if spoken and family.reading != "relative":
        rule = f"must be left out: family {name} is read in its own units"
        raise InvalidInput("units", ", ".join(spoken.values()), rule)
    channels = {
        channel: each if channel not in spoken else _spoken(each, spoken[channel])
        for channel, each in family.channels.items()
    }
    if not spoken:
        return family
    same = {field: getattr(family, field) for field in Family.model_fields}
    return Family(**same | {"channels": channels, "units": tuple(spoken.items())})


def _spoken(channel: Channel, unit: str) -> Channel:
    given = np.array([channel.low, channel.high, channel.typical, channel.typical + channel.spread])
    low, high, typical, above = convert(given, channel.unit, unit).tolist()
    # What lies on an end in one unit lies on it in the other, whatever the last digit of the conversion; zero is exact.
    margin = 1e-9 * (high - low)
    bounds = {"low": low - margin * (low != 0), "high": high + margin}
    return channel.model_copy(update=bounds | {"unit": unit, "typical": typical, "spread": above - typical})


def units_of(key: str) -> dict[str, str]:
    """Return the units in a `Family.key`, by channel; empty for those that the family has itself."""
    _, _, rest = key.partition(OWN_MARK)
    return dict(each.split("=", 1) for each in rest.split(UNIT_MARK)) if "=" in rest else {}


def find_family(key: str, definition: str = "") -> Family:
    """Return a shipped family by its name, in a system's units, or one that people defined, once read.

    Args:
        key: As `Family.key`.
        definition: As `Family.definition`.

    Raises:
        UnknownFamily: None is shipped under this name.
    """
    if definition:
        return _defined(name_of(key), definition)
    return in_units(name_of(key), tuple(units_of(key).items())) if OWN_MARK in key else read_family(key)
