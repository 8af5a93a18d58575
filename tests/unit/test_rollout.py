"""Rules of a version's way into the fleet, step by step."""

from zlib import crc32

import numpy as np
import pytest

from configs.gates import read_gates
from pipelines.promotion.gates import Evidence
from pipelines.promotion.rollout import (
    Assignment,
    ModelState,
    Report,
    Rollout,
    Transition,
    apply_transition,
    assignment_of,
    canary_rows,
    next_transition,
)

GATES = read_gates()
NOW = 1000.0
NOTHING = Evidence("generic", "2")


def state(champion: str = "2", stage: str = "", **changes: object) -> ModelState:
    rollout = Rollout(champion, stage, NOW - 1) if stage else None  # type: ignore[arg-type]
    return ModelState("hdx-generic-catboost", champion, "1", "", True, rollout)._replace(**changes)  # type: ignore[arg-type]


def report(
    *ready: str, evidence: Evidence = NOTHING, rejected: dict[str, str] | None = None, stage: str = ""
) -> Report:
    pieces = [evidence._replace(stage=each) for each in ([stage] if stage else ["shadow", "canary", "urgent"])]
    return Report("r", "catboost", [], {"generic": ready}, {"generic": rejected or {}}, pieces)


def kind(where: ModelState, *reports: Report, backtest: Evidence | None = NOTHING, now: float = NOW) -> str:
    return next_transition(where, reports, "generic", backtest, GATES, now).kind


def test_nothing_moves_by_itself() -> None:
    """With the champion live nothing happens, nor when the alias is removed."""
    assert kind(state("1"), report("1")) == "wait"
    assert kind(state(""), report("1")) == "wait"


def test_the_first_champion_is_live_at_once() -> None:
    """Before anything was live there is nothing to compare with."""
    assert kind(state("1", adopted=False)) == "adopt"


def test_a_moved_alias_begins_a_shadow() -> None:
    """A champion that is not live is tried first; one that moves again meanwhile begins anew."""
    assert kind(state("2")) == "begin"
    elsewhere = Rollout("2", "canary", NOW)
    transition = next_transition(state("3", rollout=elsewhere), [], "generic", None, GATES, NOW)
    assert (transition.kind, transition.rollout) == ("begin", Rollout("3", "shadow", NOW))


def test_the_previous_version_is_back_at_once() -> None:
    """It has been live and is still in memory: no gate is asked."""
    back = next_transition(state("0", previous="0"), [], "generic", None, GATES, NOW)
    assert back == Transition("finish", None, "back to the previous version")


def test_an_alias_moved_back_ends_the_rollout() -> None:
    """A rollout that nobody wants any more is forgotten."""
    assert kind(state("1", rollout=Rollout("2", "canary", NOW))) == "drop"


def test_everybody_holds_it_before_anybody_answers() -> None:
    """One replica that has not loaded the candidate holds up every stage, the urgent one too."""
    seen = NOTHING._replace(windows=1000, served=1000)
    for stage in ("shadow", "canary", "urgent"):
        assert kind(state(stage=stage), report("1", "2", evidence=seen), report("1")) == "wait"
        assert kind(state(stage=stage)) == "wait"


def test_stage_follows_stage() -> None:
    """Shadow, canary, live, each when it has seen enough."""
    timed = (1.0,) * GATES.batches
    seen = report("1", "2", evidence=NOTHING._replace(windows=GATES.shadow.windows, ratios=timed))
    assert kind(state(stage="shadow"), report("1", "2")) == "wait"
    assert kind(state(stage="shadow"), seen) == "stage"
    assert kind(state(stage="canary"), report("1", "2")) == "wait"
    late = report("1", "2", evidence=NOTHING._replace(windows=1000, ratios=timed), stage="shadow")
    assert kind(state(stage="canary"), late) == "wait"  # what was seen in the shadow says nothing of the canary
    served = report("1", "2", evidence=NOTHING._replace(windows=10, served=GATES.canary.windows))
    assert kind(state(stage="canary"), served) == "finish"


def test_each_step_says_of_what_and_why() -> None:
    """The canary keeps who asked and begins now; what ends a rollout names it and the reason, for log and audit."""
    timed = (1.0,) * GATES.batches
    seen = report("1", "2", evidence=NOTHING._replace(windows=GATES.shadow.windows, ratios=timed))
    shadow = Rollout("2", "shadow", NOW - 1, "ann", "a reason")
    canary = Rollout("2", "canary", NOW, "ann", "a reason")

    def step(rollout: Rollout, *reports: Report, backtest: Evidence = NOTHING) -> Transition:
        return next_transition(state(rollout=rollout), reports, "generic", backtest, GATES, NOW)

    assert step(shadow, seen) == Transition("stage", canary)
    assert step(canary, seen) == Transition("finish", canary, "every gate held")
    urgent = Rollout("2", "urgent", NOW, "ann", "line 4 stands")
    assert step(urgent, seen) == Transition("finish", urgent, "urgent, gates skipped: line 4 stands")
    torn = step(canary, report("1", rejected={"2": "torn"}), seen)
    assert torn == Transition("back", canary, "cannot be loaded: torn")
    failed = step(shadow, seen, backtest=NOTHING._replace(errors=1))
    assert failed == Transition("back", shadow, "errors: failed on 1 windows, 0 allowed")


def test_what_a_replica_says_of_others_counts_for_them_alone() -> None:
    """A rejected other version, and a replica that knows nothing of the family, neither break nor finish a rollout."""
    other = report("1", "2", rejected={"3": "torn"})
    assert kind(state(stage="urgent"), other) == "finish"
    stranger = Report("s", "catboost", [], {}, {}, [])
    assert kind(state(stage="urgent"), other, stranger) == "wait"


def test_no_stage_ends_before_stored_windows_are_tried() -> None:
    """Patience does not replace the windows of yesterday."""
    assert kind(state(stage="shadow"), report("1", "2"), backtest=None, now=NOW + 1e4) == "wait"
    assert kind(state(stage="shadow"), report("1", "2"), now=NOW + 1e4) == "stage"


@pytest.mark.parametrize("stage", ["shadow", "canary"])
def test_a_broken_gate_sends_it_back(stage: str) -> None:
    """Live, on stored windows, or because a replica cannot load it: it goes back, whatever the stage."""
    bad = NOTHING._replace(windows=100, flips=60)
    assert kind(state(stage=stage), report("1", "2", evidence=bad)) == "back"
    assert kind(state(stage=stage), report("1", "2"), backtest=bad) == "back"
    assert kind(state(stage=stage), report("1", rejected={"2": "its SHA-256 is not the registered one"})) == "back"


def test_an_urgent_one_asks_no_gate() -> None:
    """It goes live as soon as every replica holds it, and the reason says that it was urgent."""
    bad = NOTHING._replace(windows=100, flips=60)
    rollout = Rollout("2", "urgent", NOW, "ann", "line 4 stands")
    transition = next_transition(state(rollout=rollout), [report("1", "2", evidence=bad)], "generic", None, GATES, NOW)
    assert (transition.kind, transition.reason) == ("finish", "urgent, gates skipped: line 4 stands")


def test_what_replicas_do_follows_from_the_registry_alone() -> None:
    """Every state of the registry gives one assignment, also those between two writes."""
    assert assignment_of(state("1"), GATES) == Assignment("1")
    assert assignment_of(state("2", "shadow"), GATES) == Assignment("1", "", "2", "shadow", 0.0)
    assert assignment_of(state("2", "canary"), GATES).share == GATES.canary.share
    live = state("2", live="2", previous="1", rollout=Rollout("2", "canary", NOW))
    assert assignment_of(live, GATES) == Assignment("2", "1")


def test_a_rollout_survives_its_tag() -> None:
    """It reads back as written; a tag of somebody else's is no rollout."""
    rollout = Rollout("2", "urgent", NOW, "ann", "line 4 stands")
    assert Rollout.from_json(rollout.to_json()) == rollout
    assert Rollout.from_json("") is None
    assert Rollout.from_json('{"version": 1}') is None
    assert Rollout.from_json('{"version": "2", "stage": "shadow", "since": "noon"}') is None
    assert Rollout.from_json('{"version": "2", "stage": [], "since": 1}') is None


def test_a_step_leads_to_where_it_says() -> None:
    """What is known after a step is what the registry says of it: the next look finds nothing more to do."""
    rollout = Rollout("2", "canary", NOW)
    way = state("2", "canary")
    assert apply_transition(way, Transition("finish")) == state("2", live="2", previous="1")
    assert apply_transition(way, Transition("back")) == state("1")
    assert apply_transition(state("2"), Transition("begin", rollout)).rollout == rollout
    assert apply_transition(state("2", "shadow"), Transition("stage", rollout)).rollout == rollout
    assert apply_transition(way, Transition("wait")) == way
    assert apply_transition(state("1", live="", adopted=False), Transition("adopt")) == state("1")
    assert apply_transition(state("1", rollout=rollout), Transition("drop")) == state("1")
    assert apply_transition(state("1", adopted=False), Transition("adopt")) == state("1")
    for kind_ in ("finish", "back"):
        assert kind(apply_transition(way, Transition(kind_))) == "wait"


@pytest.mark.parametrize(("version", "first"), [("2", 691), ("3", 781)])
def test_a_canary_answers_the_same_systems_always(version: str, first: int) -> None:
    """A tenth of the systems meets a version, always the same ones, and others than met the version before."""
    buckets = np.arange(1000) / 1000
    rows = canary_rows("hdx-generic-catboost", version, 0.1, buckets)
    assert rows.tolist() == list(range(first, first + 100))


def test_a_share_ends_before_its_bound() -> None:
    """A system that lies at the very end of the share is not in it, so that a share of nothing answers nobody."""
    turn = crc32(b"hdx-generic-catboost/2") / 2**32
    assert not len(canary_rows("hdx-generic-catboost", "2", turn, np.zeros(1)))
    assert len(canary_rows("hdx-generic-catboost", "2", np.nextafter(turn, 1), np.zeros(1)))
    assert not len(canary_rows("hdx-generic-catboost", "2", 0.0, np.array([1 - turn])))
