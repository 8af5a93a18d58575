"""A kind of machine, read from `configs/families/*.yaml`: its channels, heads, components and thresholds."""

from functools import cache, cached_property, lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

import configs
from pipelines.errors import UnknownFamily

FOLDER = Path(configs.__file__).parent / "families"

# What is derived from a family is kept for so many of them. Source: own choice; a hundred tenants with ten each.
FAMILIES_KEPT = 1024
# Between the name of a family and what people said of it: the digest of its definition, or units, and between these.
OWN_MARK, UNIT_MARK = "@", ";"

Grade = int | str
Reading = Literal["raw", "relative", "both", "changes"]


by_family = lru_cache(maxsize=FAMILIES_KEPT)  # for functions of one family


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Channel(_Part):
    """One measured quantity.

    Attributes:
        unit: Written as in the field names of the contract (`bar`, `degC`, `l/min`, `mm/s`, `g`).
        low: Lowest plausible value; below it the input is refused.
        high: Highest plausible value.
        rate_hz: Sampling rate assumed when a request names none.
        column: The column that holds it in the family's recordings.
        typical: Level of a healthy machine of this family, used until a system has a baseline of its own.
        spread: Standard deviation of that level between windows of a healthy machine.
        relation: How a value is compared with its baseline: `ratio` to it or `difference` from it.
        reading: How trained detectors read it, where that is not as the family says.
        extra: True for a channel that a request may leave out without loss of quality.
        source: Where `low` and `high` come from.
    """

    unit: str
    low: float
    high: float
    rate_hz: float = Field(1.0, gt=0)
    column: str
    typical: float
    spread: float = Field(gt=0)
    relation: Literal["ratio", "difference"] = "difference"
    reading: Reading | None = None
    extra: bool = False
    source: str


class Head(_Part):
    """One question a trained detector answers, as classes of a column of the recordings.

    Attributes:
        column: The label column.
        classes: Its values; the first is the nominal one.
    """

    column: str
    classes: tuple[Grade, ...] = Field(min_length=2)

    @property
    def nominal(self) -> Grade:
        """The class of a healthy machine."""
        return self.classes[0]


class Component(_Part):
    """A part of the machine that a diagnosis can name.

    Attributes:
        head: The head that judges it.
        faulty: Those classes of the head that mean this component is off nominal.
        title: What a technician calls it, by language.
        kinds: Anomaly type by class; classes not named have the component's `kind`.
        kind: Anomaly type in the vocabulary of the contract.
    """

    head: str
    faulty: tuple[Grade, ...] = Field(min_length=1)
    title: dict[Literal["en", "ru"], str]
    kind: str
    kinds: dict[Grade, str] = {}


class Cycle(_Part):
    """The load cycle that a machine repeats.

    Attributes:
        profile: By channel, what it does over one cycle, in equal steps.
        phases: First step of each stretch in which the load is alike; the first is 0.
        channels: Those that are read phase by phase.
        source: Where the profile comes from.
    """

    seconds: float = Field(gt=0)
    profile: dict[str, tuple[float, ...]] = Field(min_length=1)
    phases: tuple[int, ...] = Field(min_length=2)
    channels: tuple[str, ...]
    source: str

    @property
    def load_steps(self) -> tuple[tuple[int, int, int], ...]:
        """The phases of one step, in which the load changes, each with the nearest longer one before and after it."""
        (steps,) = {len(profile) for profile in self.profile.values()}
        lengths = [end - first for first, end in zip(self.phases, (*self.phases[1:], steps), strict=True)]
        steady = [phase for phase, length in enumerate(lengths) if length > 1]
        found = []
        for phase in sorted(set(range(len(lengths))) - set(steady)) if steady else ():
            before = max((other for other in steady if other < phase), default=steady[-1])
            after = min((other for other in steady if other > phase), default=steady[0])
            found.append((phase, before, after))
        return tuple(found)

    @model_validator(mode="after")
    def _fits_together(self) -> "Cycle":
        (steps,) = {len(profile) for profile in self.profile.values()}
        if self.phases[0] != 0 or sorted(set(self.phases)) != list(self.phases) or self.phases[-1] >= steps:
            raise ValueError(f"cycle: phases must rise from 0 and stay below {steps}")
        if not set(self.profile) <= set(self.channels):
            raise ValueError(f"cycle: channels must hold those of the profile, {', '.join(self.profile)}")
        return self


class Severity(_Part):
    """Bands of the calibrated anomaly score.

    Attributes:
        warning: From here on an alarm of low urgency; the threshold of `is_anomaly`.
        critical: From here on an alarm of high urgency.
        release: Below it an alarm that is on ends; between it and `warning` the state stays as it was.
        source: The measurement that the three come from.
    """

    warning: float = Field(gt=0, lt=1)
    critical: float = Field(gt=0, lt=1)
    release: float = Field(gt=0, lt=1)
    source: str

    @model_validator(mode="after")
    def _in_order(self) -> "Severity":
        if not self.release <= self.warning < self.critical:
            raise ValueError("severity: must be release <= warning < critical")
        return self


class Family(_Part):
    """A kind of machine.

    Attributes:
        name: Its folder name and the middle of its models' names.
        title: One line for people.
        data: Columns of recordings and how to cut them.
        window_s: Length that the detectors were trained on; shorter windows are answered with less confidence.
        reading: `raw` levels (machines of one build), `relative` to each system's own baseline, `both`,
            or only its `changes` within a window.
        tails_s: The last so many seconds of a window are read apart, too.
        cycle: The load cycle, where the machine repeats one.
        heads: Questions of the trained detectors beside `anomaly`.
        layout: One row of a recording is a `window` (list columns) or a `sample`.
        entity: Column that names the window, or the recording that a sample belongs to.
        order: Column of the sample's number in it.
        group: Column of the recording, system or condition block that no split may cut through.
        label: Column that says whether there is an anomaly; empty where `anomaly` says it.
        anomaly: Components whose being off nominal is an anomaly.
        trust: By member, how many times more its vote counts than its skill in training says: what it is worth on
            machines unlike those that the others were trained on. 1 for those not named; with 0 a member is heard
            where nobody else votes.
        missing: Share of a channel's samples that may be missing in a window.
        notes: What a reader of the model card must know.
        definition: What people wrote, as JSON, where they made it; empty for those that are shipped.
        units: By channel, the unit that a system speaks in place of its shipped family's.
    """

    name: str
    title: str
    reading: Reading
    tails_s: tuple[float, ...] = ()
    cycle: Cycle | None = None
    window_s: float = Field(gt=0)
    layout: Literal["window", "sample"]
    entity: str
    order: str = ""
    group: str
    label: str = ""
    channels: dict[str, Channel]
    heads: dict[str, Head] = {}
    components: dict[str, Component] = {}
    anomaly: tuple[str, ...] = ()
    severity: Severity
    trust: dict[str, Annotated[float, Field(ge=0)]] = {}
    # Source: own choice; on a line between neighbours a fifth of the samples moves no mean by more than noise does.
    missing: float = Field(0.2, ge=0, lt=1)
    notes: tuple[str, ...] = ()
    definition: str = Field("", repr=False)
    units: tuple[tuple[str, str], ...] = ()

    @model_validator(mode="after")
    def _references_exist(self) -> "Family":
        for name, component in self.components.items():
            head = self.heads.get(component.head)
            if head is None or not set(component.faulty) <= set(head.classes[1:]):
                raise ValueError(
                    f"family {self.name}, component {name}: head {component.head} lacks {component.faulty}"
                )
        if bool(self.label) == bool(self.anomaly):
            raise ValueError(f"family {self.name}: set one of label and anomaly")
        if unknown := set(self.anomaly) - set(self.components):
            raise ValueError(f"family {self.name}: anomaly names unknown components {sorted(unknown)}")
        return self

    @model_validator(mode="after")
    def _cycle_has_channels(self) -> "Family":
        if self.cycle and (unknown := {*self.cycle.profile, *self.cycle.channels} - set(self.channels)):
            raise ValueError(f"family {self.name}: cycle names unknown channels {sorted(unknown)}")
        return self

    def reading_of(self, channel: str) -> Reading:
        """Return how trained detectors read a channel."""
        return self.channels[channel].reading or self.reading

    @property
    def key(self) -> str:
        """The name, with its definition's digest or a system's units where it has such: equal keys, equal families.

        Tells all of a shipped family; a definition has to come beside it.
        """
        if self.definition:
            return f"{self.name}{OWN_MARK}{digest_of(self.definition)}"
        spoken = UNIT_MARK.join(f"{channel}={unit}" for channel, unit in self.units)
        return f"{self.name}{OWN_MARK}{spoken}" if spoken else self.name

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Family) and OWN_MARK in self.key + other.key:
            return self.key == other.key
        return self is other or super().__eq__(other)

    def __hash__(self) -> int:
        return hash(self.key)

    @cached_property
    def required(self) -> tuple[str, ...]:
        """Channels whose absence lowers the quality of an answer."""
        return tuple(name for name, channel in self.channels.items() if not channel.extra)


@lru_cache(maxsize=FAMILIES_KEPT)
def digest_of(definition: str) -> str:
    """Return what tells definitions apart."""
    return sha256(definition.encode()).hexdigest()[:16]


def name_of(key: str) -> str:
    """Return the name in a `Family.key`."""
    return key.partition(OWN_MARK)[0]


@cache
def family_names() -> tuple[str, ...]:
    """Return the families that are shipped."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))


@cache
def read_family(name: str) -> Family:
    """Read one family.

    Raises:
        UnknownFamily: There is none of that name.
        pydantic.ValidationError: Its YAML breaks a rule.
    """
    if name not in family_names():
        raise UnknownFamily(name, family_names())
    return Family.model_validate(yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8")))
