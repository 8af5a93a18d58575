"""Keeps the drift of a family's systems together, judges the family by all of them, and puts drift into words."""

from collections import Counter, OrderedDict
from collections.abc import Sequence

from pipelines.drift.charts import BLOCK
from pipelines.drift.monitor import KINDS, Drift, DriftMonitor, DriftState, Kind, beside
from pipelines.machines.commissioning import Normal
from pipelines.machines.family import Family
from pipelines.signals.windows import Floats

# Share of a family's systems that drift before the family does. Source: own choice; of five systems one is not enough.
FAMILY_SHARE = 0.2
# Systems that a replica watches, the least lately seen leaving first. Source: own choice; 10,000 take 50 MB at most.
SYSTEMS_MAX = 10_000


class FleetMonitor:
    """The monitors of a family's systems in one replica, and one of the family for feedback."""

    def __init__(self, family: Family, systems_max: int = SYSTEMS_MAX) -> None:
        self.family = family
        self.systems_max = systems_max
        self.whole = DriftMonitor.new(family)
        self.monitors: OrderedDict[str, DriftMonitor] = OrderedDict()

    def observe(
        self, systems: Sequence[str], rows: Floats, scores: Floats, normals: Sequence[Normal | None] = ()
    ) -> None:
        """Take in a micro-batch; windows of one system in their order.

        Args:
            systems: N names.
            rows: `float64[N, K]` as `watched` gives them.
            scores: `float64[N]`; NaN where the ensemble abstained.
            normals: N, or none at all.
        """
        joined = beside(rows, scores)
        for place, system in enumerate(systems):
            monitor = self._monitor(system)
            monitor.take(joined[place : place + 1])
            # A baseline moves by a window at a time: a look at each block's end is enough.
            if normals and not monitor.windows % BLOCK:
                normal = normals[place]
                monitor.meet(None if normal is None else normal.points[0].baseline)

    def confirm(self, system: str, probability: float, truth: bool) -> None:
        """Take in feedback, for the system and for the family."""
        self._monitor(system).confirm(probability, truth)
        self.whole.confirm(probability, truth)

    def _monitor(self, system: str) -> DriftMonitor:
        monitor = self.monitors.get(system)
        if monitor is None:
            monitor = self.monitors[system] = DriftMonitor.new(self.family, system)
            if len(self.monitors) > self.systems_max:
                self.monitors.popitem(last=False)
        self.monitors.move_to_end(system)
        return monitor

    def states(self) -> list[DriftState]:
        """Return what is known of the family, then of each system."""
        systems = [monitor.state() for monitor in self.monitors.values()]
        return [family_state(systems, self.whole.state()), *systems]


def family_state(systems: Sequence[DriftState], whole: DriftState) -> DriftState:
    """Return a family's drift: it drifts in a kind when too large a share of its systems does.

    Args:
        whole: Whose calibration is over all systems.
    """
    drifts = [_shared([state.of(kind) for state in systems], kind) for kind in KINDS if kind != "calibration"]
    return DriftState(whole.family, "", len(systems), (*drifts, whole.of("calibration")))


def _shared(drifts: Sequence[Drift], kind: Kind) -> Drift:
    ready = [drift for drift in drifts if drift.ready]
    moved = [drift for drift in ready if drift.drifting]
    share = len(moved) / len(ready) if ready else 0.0
    drifting = share > FAMILY_SHARE
    ((what, _),) = Counter(drift.what for drift in moved).most_common(1) if drifting else (("", 0),)
    since = max((drift.since for drift in moved), default=0) if drifting else 0
    said = f"{len(moved)} of {len(ready)} systems, most often {what}" if drifting else ""
    return Drift(kind, share, FAMILY_SHARE, drifting, since, said, bool(ready))


def drifting(states: Sequence[DriftState]) -> list[str]:
    """Return in words what drifts, one line a system and kind; nothing where nothing does."""
    return [_sentence(state, drift) for state in states for drift in state.drifts if drift.drifting]


def _sentence(state: DriftState, drift: Drift) -> str:
    who = f"system {state.system}" if state.system else f"family {state.family}"
    unit = "judgements with feedback" if drift.kind == "calibration" else "windows"
    return (
        f"{drift.kind} drift of {who}: {drift.what}, for {drift.since} {unit} "
        f"({drift.statistic:.2g} against {drift.threshold:.2g})"
    )
