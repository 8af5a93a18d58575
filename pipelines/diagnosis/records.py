"""What is asked of the ensemble and what it answers, the same for HTTP, offline scoring and the store.

An `Inspection` goes down; a `Diagnosis` is made of it, and goes back as a `Judgement`. Tuples, because many are made
for each window: a frozen dataclass costs five times that to make, and ten times to send.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple
from zlib import crc32

from pipelines.detectors.base import Detail
from pipelines.diagnosis.hypotheses import Hypothesis
from pipelines.diagnosis.rules import Limits, RuleFinding
from pipelines.machines.alarm import ABSTAINED
from pipelines.machines.commissioning import Learned, Normal
from pipelines.machines.family import Grade
from pipelines.signals.windows import Window

SeverityName = Literal["normal", "warning", "critical", "unknown"]
Direction = Literal["high", "low", "unsteady"]
Versions = tuple[tuple[str, str], ...]


class Inspection(NamedTuple):
    """One window to be judged.

    Attributes:
        baseline: The system's own normal, or None while it has none.
        alarm: Whether the system's last window was an alarm.
        detail: What is wanted beside the score.
        versions: By detector those that shall judge, and no other one; empty for those that are live.
        owner: The tenant, as the credential says; 0 for nobody.
        own: By detector the owner's own version that judges in place of the live one.
        system_id: 0 for none.
        use_cache: Whether an answer will do that was given to the same window before.
        commissioning: Whether the system's own normal is being learned, or what was learned says nothing any more.
        limits: What people stated for the system, by channel `{low, high}` in the channel's unit.
        definition: Of the family, where people defined it; `family` then is its key.
    """

    window: Window
    family: str
    baseline: Normal | None = None
    alarm: bool = False
    detail: Detail = "full"
    versions: Versions = ()
    owner: int = 0
    own: Versions = ()
    system_id: int = 0
    use_cache: bool = True
    commissioning: bool = False
    limits: Limits | None = None
    definition: str = ""

    @property
    def hash_bucket(self) -> float:
        """0..1, the system's own and always the same: who answers it while a new version is tried."""
        return crc32(b"%d/%d" % (self.owner, self.system_id)) / 2**32 if self.system_id else 1.0


class Vote(NamedTuple):
    """One detector's part in a diagnosis.

    Attributes:
        score: Calibrated probability of an anomaly; None when it abstained.
        confidence: `max(score, 1 - score)` times the quality of the data.
        weight: Its share in the ensemble's score, from held-out skill; 0 when it abstained.
        reason: Why it abstained, else empty.
    """

    detector: str
    version: str
    score: float | None
    confidence: float
    weight: float
    milliseconds: float
    reason: str = ""


class Deviation(NamedTuple):
    """How far a channel's mean lies from what is normal for its system.

    Attributes:
        normal: Of the system's own baseline, or typical of its family where it has none.
        own: Whether `normal` is the system's own.
    """

    value: float
    normal: float
    unit: str
    own: bool


class Attribution(NamedTuple):
    """One channel's share in the score.

    Attributes:
        contribution: Signed share; positive speaks for an anomaly.
        direction: Where the channel stands against the system's normal.
        deviation: The same in physical units.
    """

    channel: str
    contribution: float
    direction: Direction
    deviation: Deviation


class ComponentFinding(NamedTuple):
    """One component's state.

    Attributes:
        probability: That it is off nominal.
        grade: The most probable grade, in the family's own values.
    """

    component: str
    probability: float
    grade: Grade


class PointFinding(NamedTuple):
    """Which of a system's operating points a window was set against.

    Attributes:
        number: From 1, in the order of how often commissioning saw them.
        of: How many there are.
        seen: Whether the window lies at it; False at rest and under a load that commissioning did not show.
        text: The same for people.
    """

    number: int
    of: int
    seen: bool
    text: str


class Quality(NamedTuple):
    """How much the data allow to be said.

    Attributes:
        score: 0..1; 1 for a full window of every required channel.
        missing: Required channels that were not sent.
        notes: In words, what lowers the score.
    """

    score: float
    missing: tuple[str, ...]
    notes: tuple[str, ...]


class Diagnosis(NamedTuple):
    """The answer to one inspection.

    Attributes:
        score: NaN where nobody could judge the window.
        abstained: Why there is no judgement, else empty.
        base: Log-odds that the attribution's contributions add to.
        learned: What this window adds to the system's normal; None unless it was judged normal.
        features: Number of features that could be computed.
        absent: Detectors that did not vote, with the reason.
        operating_point: Where the window was set, of a system that was commissioned.
        rules: What is wrong on any machine.
        hypotheses: What may be wrong, where it is told from physics.
        level: How far outside the window lies, as `machines/alarm` counts.
        normal: What it was judged by, as `Normal.to_bytes` writes it; None where there was none.
    """

    family: str
    is_anomaly: bool
    score: float
    severity: SeverityName
    confidence: float
    threshold: float
    anomaly_type: str | None
    components: tuple[ComponentFinding, ...]
    affected: tuple[str, ...]
    attribution: tuple[Attribution, ...]
    votes: tuple[Vote, ...]
    absent: Mapping[str, str]
    quality: Quality
    features: int
    learned: Learned | None
    base: float = 0.0
    abstained: str = ""
    operating_point: PointFinding | None = None
    rules: tuple[RuleFinding, ...] = ()
    hypotheses: tuple[Hypothesis, ...] = ()
    level: int = ABSTAINED
    normal: bytes | None = None


class Judgement(NamedTuple):
    """A diagnosis on its way to the caller.

    Attributes:
        findings: The part of the answer that follows from the window alone, a JSON object.
        score: None where nobody could judge the window.
        versions: By detector, the version that judged.
        learned: As in `Diagnosis`; None where the window was judged before.
        baseline: What it was judged against, as `Normal.to_bytes` writes it; None where there was none.
        cache_hit: Whether it was kept from an earlier call.
        level: As in `Diagnosis`.
    """

    findings: bytes
    is_anomaly: bool
    score: float | None
    versions: Mapping[str, str]
    learned: Learned | None
    baseline: bytes | None = None
    cache_hit: bool = False
    level: int = ABSTAINED


class MemberStatus(NamedTuple):
    """One detector's trained version of one family, as its replica reports it.

    Attributes:
        scored_probe: True once this very version has judged a probe window in this replica.
        reason: Why it is not usable, else empty.
    """

    detector: str
    family: str
    version: str
    sha256: str
    scored_probe: bool
    reason: str = ""
