"""Joins a fitted detector with its card: files with their hashes, calibration, and the range in which it votes.

Training packs it; replicas and offline scoring unpack it, verified, and let it judge.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.detectors.base import Detail, Detector, Examples, FeatureTable
from pipelines.detectors.members import registry
from pipelines.detectors.ranges import known_range, outside_range
from pipelines.diagnosis.calibration import Platt, auc, fit_platt
from pipelines.errors import ArtefactRejected, HdxError, Unavailable, UnknownFamily
from pipelines.machines.baseline import SETTLED
from pipelines.machines.commissioning import LEAST
from pipelines.machines.definition import find_family
from pipelines.machines.family import Family, family_names
from pipelines.machines.labelling import Label, reading_digest
from pipelines.signals.reading import make_feature_table, read_names
from pipelines.signals.windows import Floats, Window

CARD = "card.json"
# What a version may consist of: formats that hold numbers and no code.
NATIVE = (".cbm", ".ubj", ".onnx", ".json")
OWN = ("definition", "labels")  # on cards of families that people defined alone
OUTSIDE = "outside the range the models know"
INSUFFICIENT = "insufficient data"


@dataclass(frozen=True, slots=True)
class Card:
    """What a trained version is, in plain values.

    Attributes:
        features: The columns it was fitted on, in order.
        files: SHA-256 by file name; filled by `pack`.
        slope: Of the calibration, from scores on windows held out.
        intercept: Likewise.
        skill: Area under the ROC curve on the same windows.
        low: By column, where the known range begins; None for one never seen.
        high: By column, where it ends.
        fingerprint: SHA-256 of the data.
        rows: Windows it was fitted on.
        settings: Of the fit, where a search has found better ones than the shipped.
        definition: Of the family as it was then, where people defined it.
        labels: What the heads of such a version tell apart.

    The time of the fit is the registry's to tell: the same data, seed and settings give the same card, byte for byte.
    """

    family: str
    detector: str
    features: tuple[str, ...]
    slope: float
    intercept: float
    skill: float
    low: tuple[float | None, ...]
    high: tuple[float | None, ...]
    fingerprint: str
    seed: int
    rows: int
    settings: Mapping[str, float] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    definition: str = ""
    labels: tuple[Label, ...] = ()

    @property
    def weight(self) -> float:
        """Weight in the ensemble: 0 for chance, 1 for perfect ranking."""
        return max(0.0, 2 * self.skill - 1) ** 2

    def to_json(self) -> str:
        """Return the card as JSON; equal cards give equal text."""
        values = asdict(self)
        for name in OWN:
            if not values[name]:
                del values[name]
        return json.dumps(values, indent=1, sort_keys=True, allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> "Card":
        """Rebuild from `to_json`.

        Raises:
            ArtefactRejected: It is no card.
        """
        try:
            values: dict[str, Any] = json.loads(text)
            sequences = ("features", "low", "high", "notes")
            values |= {name: tuple(values[name]) for name in sequences}
            values["labels"] = tuple(Label(head, part, tuple(all_)) for head, part, all_ in values.get("labels", ()))
            values.pop("created_at", None)  # on cards of earlier versions
            return cls(**values)
        except (TypeError, ValueError, KeyError, RecursionError) as error:
            raise ArtefactRejected(CARD, "is not a model card") from error


@dataclass(frozen=True, slots=True, eq=False)
class MemberVotes:
    """One member's calibrated votes on N windows.

    Attributes:
        versions: Per window the trained version that judged it.
        weight: `float64[N]` from its skill; the ensemble renormalises over those who vote.
        anomaly: `float64[N]` probability; NaN where it abstains.
        heads: By head `float64[N, K]`; rows of NaN where it abstains.
        contributions: `float64[N, R]` exact additive shares of each column in the calibrated log-odds, or None.
        base: `float64[N]` what the shares add to; both together are the calibrated log-odds.
        reasons: Per window why it abstains, empty where it votes.
        labels: Of a version of a family that people defined: what its heads tell apart, each called by its component.
        reading: Of such a version: how it reads windows, as `reading_digest` tells.
    """

    detector: str
    versions: tuple[str, ...]
    weight: Floats
    anomaly: Floats
    heads: Mapping[str, Floats]
    contributions: Floats | None
    milliseconds: float
    reasons: tuple[str, ...]
    base: Floats
    labels: tuple[Label, ...] = ()
    reading: str = ""

    def silent(self, rows: NDArray[np.bool_], reasons: Sequence[str]) -> "MemberVotes":
        """Return these votes with an abstention on some of the windows.

        Args:
            rows: `bool[N]`.
            reasons: By window why, in words.
        """
        shares = self.contributions
        return replace(
            self,
            anomaly=np.where(rows, np.nan, self.anomaly),
            heads={name: np.where(rows[:, None], np.nan, head) for name, head in self.heads.items()},
            contributions=None if shares is None else np.where(rows[:, None], 0.0, shares),
            reasons=tuple(
                why if row else kept for row, why, kept in zip(rows.tolist(), reasons, self.reasons, strict=True)
            ),
        )

    def overlaid(self, other: "MemberVotes", rows: NDArray[np.int64]) -> "MemberVotes":
        """Return these votes with those of another version of the member on some of the windows.

        Args:
            other: Votes on these windows alone, with the same heads and contributions.
            rows: `int64[M]` places of its windows.
        """

        def laid(mine: Floats, theirs: Floats) -> Floats:
            whole = mine.copy()
            whole[rows] = theirs
            return whole

        def placed(mine: tuple[str, ...], theirs: tuple[str, ...]) -> tuple[str, ...]:
            whole = dict(enumerate(mine)) | dict(zip(rows.tolist(), theirs, strict=True))
            return tuple(whole.values())

        shares, theirs = self.contributions, other.contributions
        return MemberVotes(
            detector=self.detector,
            versions=placed(self.versions, other.versions),
            weight=laid(self.weight, other.weight),
            anomaly=laid(self.anomaly, other.anomaly),
            heads={name: laid(head, other.heads[name]) for name, head in self.heads.items()},
            contributions=None if shares is None or theirs is None else laid(shares, theirs),
            milliseconds=self.milliseconds + other.milliseconds,
            reasons=placed(self.reasons, other.reasons),
            base=laid(self.base, other.base),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Bundle:
    """A fitted detector and its card."""

    card: Card
    detector: Detector

    @property
    def family(self) -> Family:
        """The family that it judges: as it is shipped, or as its tenant had defined it."""
        return find_family(self.card.family, self.card.definition)

    def _read(self, table: FeatureTable) -> FeatureTable:
        """Return the table as this version reads it: columns that came later stand at the end.

        Raises:
            Unavailable: Its columns are other ones.
        """
        columns = self.card.features
        if table.columns == columns:
            return table
        if table.columns[: len(columns)] != columns:
            raise Unavailable(self.card.detector, "was fitted on other features")
        return replace(table, columns=columns, read=np.ascontiguousarray(table.read[:, : len(columns)]))

    def votes(self, table: FeatureTable, version: str = "", detail: Detail = "full") -> MemberVotes:
        """Judge windows, abstaining where this version does not know enough.

        Raises:
            Unavailable: The table has other features than this version was fitted on.
        """
        begun = time.perf_counter()
        read = self._read(table)
        ballot = self.detector.vote(read, detail)
        empty = np.isnan(ballot.anomaly) | np.isnan(table.raw).all(axis=1)
        outside = outside_range(read, self.card.low, self.card.high)
        # With a baseline of the system itself, no range of other machines matters to a member that reads it. People
        # vouch for what was commissioned: a load of a few windows is known, too.
        known = np.where(table.commissioned, LEAST, SETTLED)
        unknown = outside if self.detector.supervised else np.logical_and(outside, table.evidence < known)
        silent = empty | unknown
        reasons = tuple(INSUFFICIENT if e else OUTSIDE if o else "" for e, o in zip(empty, unknown, strict=True))
        shares, count = _widened(ballot.contributions, len(table.columns)), len(ballot.anomaly)
        called = {each.head: each.component for each in self.card.labels}
        return MemberVotes(
            detector=self.card.detector,
            versions=(version,) * count,
            weight=np.full(count, self.card.weight),
            anomaly=np.where(silent, np.nan, Platt(self.card.slope, self.card.intercept).apply(ballot.anomaly)),
            heads={
                called.get(name, name): np.where(silent[:, None], np.nan, head) for name, head in ballot.heads.items()
            },
            contributions=None if shares is None else np.where(silent[:, None], 0.0, shares * self.card.slope),
            milliseconds=1e3 * (time.perf_counter() - begun),
            reasons=reasons,
            base=np.full(count, self.card.slope * ballot.base + self.card.intercept),
            labels=tuple(each._replace(head=each.component) for each in self.card.labels),
            reading=reading_digest(self.family) if self.card.definition else "",
        )


def _widened(shares: Floats | None, columns: int) -> Floats | None:
    """Return shares with zeros for the columns that a version does not read: `float64[N, R]`."""
    return None if shares is None else np.pad(shares, ((0, 0), (0, columns - shares.shape[1])))


def assemble(
    detector: Detector,
    family: Family,
    examples: Examples,
    held_out: tuple[Floats, NDArray[np.bool_]],
    *,
    fingerprint: str,
    seed: int,
    settings: Mapping[str, float] | None = None,
    metrics: Mapping[str, float] | None = None,
    notes: tuple[str, ...] = (),
) -> Bundle:
    """Make a bundle of a detector fitted on `examples`.

    Args:
        held_out: Raw scores (`Ballot.anomaly`) and truth on windows whose groups the scoring detector had not seen.
    """
    raw, truth = held_out
    platt = fit_platt(raw, truth)
    low, high = known_range(examples)
    heads = family.heads.items() if family.definition and detector.supervised else ()
    card = Card(
        family=family.name,
        detector=detector.name,
        features=examples.table.columns,
        slope=platt.slope,
        intercept=platt.intercept,
        skill=auc(raw, truth),
        low=low,
        high=high,
        fingerprint=fingerprint,
        seed=seed,
        rows=len(examples.anomaly),
        settings=dict(settings or {}),
        metrics=dict(metrics or {}),
        notes=notes,
        definition=family.definition,
        labels=tuple(Label(name, each.column, each.classes) for name, each in heads),
    )
    return Bundle(card, detector)


def pack(bundle: Bundle) -> dict[str, bytes]:
    """Return every file of a bundle by name; the card carries the SHA-256 of the others."""
    files = bundle.detector.save()
    card = replace(bundle.card, files={name: sha256(content).hexdigest() for name, content in files.items()})
    return {**files, CARD: card.to_json().encode()}


def unpack(files: Mapping[str, bytes], family: Family | None = None) -> Bundle:
    """Rebuild a bundle from `pack`; without `family` the shipped one of the card's name counts.

    Raises:
        ArtefactRejected: A file is missing, added, changed or unreadable, or the features are no longer the same.
    """
    try:
        return _rebuilt(files, family)
    except HdxError:
        raise
    except Exception as error:  # what a hash cannot tell, a library or a field of the card does
        raise ArtefactRejected("model", f"cannot be read: {type(error).__name__}") from error


def _rebuilt(files: Mapping[str, bytes], family: Family | None) -> Bundle:
    if CARD not in files:
        raise ArtefactRejected(CARD, "is missing")
    card = Card.from_json(files[CARD])
    given = {name: content for name, content in files.items() if name != CARD}
    for name in sorted(set(given) ^ set(card.files)):
        raise ArtefactRejected(name, "is missing" if name in card.files else "is not on the card")
    for name, content in given.items():
        if not name.endswith(NATIVE):
            raise ArtefactRejected(name, f"is none of {', '.join(NATIVE)}")
        if sha256(content).hexdigest() != card.files[name]:
            raise ArtefactRejected(name, "its SHA-256 is not the registered one")
    member = registry().get(card.detector)
    if member is None:
        raise ArtefactRejected(card.detector, "no such detector")
    if card.definition and card.family in family_names():
        raise ArtefactRejected(card.family, "is shipped, and nobody's to define")
    try:
        kind = family or find_family(card.family, card.definition)
    except UnknownFamily as error:
        raise ArtefactRejected(card.family, "no such family") from error
    if card.features != read_names(kind):
        raise ArtefactRejected(card.detector, f"was fitted on other features than family {card.family} has now")
    return Bundle(card, member.load(given))


def probe_window(family: Family) -> Window:
    """Return a full window that swings gently round the family's typical levels."""
    rate_hz = min(channel.rate_hz for channel in family.channels.values())
    samples = max(3, round(family.window_s * rate_hz))
    swing = np.sin(2 * np.pi * np.arange(samples) / 7)  # 7 samples: no statistic of the wave is a round number
    values = {
        name: np.clip(channel.typical + 0.5 * channel.spread * swing, channel.low, channel.high)
        for name, channel in family.channels.items()
    }
    return Window(values, rate_hz)


def probe(bundle: Bundle, family: Family | None = None) -> None:
    """Let a bundle score the probe window.

    Raises:
        ArtefactRejected: It fails, or gives no probability.
    """
    kind = family or bundle.family
    table = make_feature_table([probe_window(kind)], [None], kind)
    try:
        raw = bundle.detector.vote(table, "score").anomaly
        calibrated = Platt(bundle.card.slope, bundle.card.intercept).apply(raw)
        is_scored = np.isfinite(calibrated).all() and (raw >= 0).all() and (raw <= 1).all()
    except Exception as error:
        raise ArtefactRejected(bundle.card.detector, f"fails on the probe window: {type(error).__name__}") from error
    if not is_scored:
        raise ArtefactRejected(bundle.card.detector, "does not score the probe window")
