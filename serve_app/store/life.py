"""What one more window, a repair and a new beginning change of a system; PostgreSQL and memory keep it alike."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from pipelines.errors import InvalidInput
from pipelines.machines.alarm import ABSTAINED, LIMIT, Evidence
from pipelines.machines.commissioning import State
from serve_app.store.records import StoredDiagnosis, System
from serve_app.store.records_watching import EventKind, Happened

# What a system begins with, the first time and after its normal was forgotten.
ANEW: Mapping[str, Any] = {"state": "commissioning", "learned": 0, "alarm": False, "evidence": ()}


def evidence_of(system: System) -> Evidence:
    """Return the evidence on a system."""
    return Evidence.from_numbers(system.evidence) if system.evidence else Evidence.none()


def after(system: System, level: int, alarm: bool | None, at: datetime) -> System:
    """Return a system as one more stored window leaves it.

    While it is commissioned every window counts, and no evidence but what lies beyond a limit; in maintenance none
    does.

    Args:
        system: Before it.
        level: Of the window, as `pipelines/machines/alarm` counts them.
        alarm: Whether the window is one, where that has changed.
        at: When it came.
    """
    if alarm is not None:
        system = replace(system, alarm=alarm)
    if system.state == "maintenance":
        return system
    evidence = evidence_of(system)
    if system.state == "commissioning":
        system = replace(system, learned=system.learned + 1)
        if level != LIMIT and not evidence.height:
            return system
    if level == ABSTAINED:
        return system
    return replace(system, evidence=tuple(evidence.after(level, at.timestamp()).to_numbers()))


def happened(before: System, now: System, at: datetime | None = None, trace_id: UUID | None = None) -> list[Happened]:
    """Return what a change of a system is for people: another state, an alarm raised or cleared.

    Args:
        before: The change.
        now: After it.
        at: When, by the machine's own time; None for now.
        trace_id: Of the window that changed it.
    """
    found = []
    was, is_now = evidence_of(before), evidence_of(now)
    if now.state != before.state:
        found.append(Happened(now.system_id, at, "state.changed", f"{now.state}, after {before.state}", trace_id))
    if is_now.raised != was.raised:
        kind: EventKind = "alarm.raised" if is_now.raised else "alarm.cleared"
        found.append(Happened(now.system_id, at, kind, is_now.words(), trace_id))
    return found


def follow(system: System, diagnosis: StoredDiagnosis, level: int, alarm: bool | None) -> tuple[System, bool]:
    """Return a system as a diagnosis leaves it, and whether the diagnosis counts for it.

    Of what is cut from stored readings each window counts once. One of readings that came after later ones is no
    evidence, as windows follow one another in evidence, but may be the machine's normal while that is being learned.

    Args:
        system: Before it.
        diagnosis: Which says whether it is to count.
        level: As in `after`.
        alarm: As in `after`.
    """
    end, until = diagnosis.window_end, system.judged_until
    if not diagnosis.counted or (end is not None and not diagnosis.late and until is not None and end <= until):
        return system, False
    if diagnosis.late:
        return after(system, ABSTAINED, None, diagnosis.created_at), system.state == "commissioning"
    if end is not None:
        system = replace(system, judged_until=end)
    return after(system, level, alarm, end or diagnosis.created_at), True


def commissioned(system: System, windows: int) -> dict[str, Any]:
    """Return what changes of a system whose normal was learned from so many windows.

    What speaks against it while it is commissioned is a limit that it passes, which holds whatever is normal.
    """
    begun = {"state": "monitoring", "learned": windows}
    return begun if system.state == "commissioning" else {**ANEW, **begun}


def changes_to(system: System, state: State, has_normal: bool) -> dict[str, Any]:
    """Return what a system's new state changes of it; nothing where it is in that state already.

    Raises:
        InvalidInput: It shall be monitored, and nobody knows what is normal for it.
    """
    if state == system.state:
        return {}
    if state == "commissioning":
        return dict(ANEW)
    if state == "maintenance":
        return {"state": state}
    if not has_normal:
        raise InvalidInput("state", state, "must be commissioning, as nobody knows yet what is normal for the system")
    # What was said of the machine before its repair says nothing of it now.
    return {"state": state, "alarm": False, "evidence": tuple(evidence_of(system).cleared().to_numbers())}
