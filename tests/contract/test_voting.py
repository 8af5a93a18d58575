"""Rules of the ensemble over its detectors' replicas: whatever one of them does is its own abstention."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from ray.exceptions import ActorDiedError, RayTaskError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from deployments.ensemble import Ensemble
from pipelines.datasets.simulator import simulate
from pipelines.detectors.base import FeatureTable
from pipelines.detectors.bundle import MemberVotes
from pipelines.detectors.untrained import BUILT_IN
from pipelines.diagnosis.records import Inspection, Judgement, MemberStatus
from pipelines.errors import NoQuorum, NotFound, Unavailable, UnknownFamily
from pipelines.machines.commissioning import commission
from pipelines.machines.definition import ChannelDefinition, Definition, find_family
from pipelines.machines.labelling import OTHER_READING, Label, reading_digest
from pipelines.signals.reading import make_feature_table
from pipelines.signals.windows import Window

INSIDE = "password=hunter2 in /srv/inside.py"
OURS = NotFound("model version", "hdx-generic-xgboost/7")
HELD = MemberStatus("catboost", "generic", "1", "ab" * 32, True)

Vote = Callable[[FeatureTable], Awaitable[Any]]


def over_actors(cause: Exception) -> Exception:
    """Wrap an error as Ray does between actors; by gRPC it comes as it is."""
    wrapped: Exception = RayTaskError("vote", INSIDE, cause, "ray", 1, "127.0.0.1").as_instanceof_cause()
    return wrapped


def votes_on(table: FeatureTable, detector: str = "catboost", count: int | None = None) -> MemberVotes:
    rows = len(table.raw) if count is None else count
    score, shares = np.full(rows, 0.2), np.zeros((rows, len(table.columns)))
    return MemberVotes(detector, ("1",) * rows, np.ones(rows), score, {}, shares, 0.1, ("",) * rows, np.zeros(rows))


class Replica:
    """Stands in for the handle of a detector, and counts how often it is asked."""

    def __init__(self, vote: Vote, held: Exception | list[MemberStatus]) -> None:
        self.asked = 0
        self._vote, self._held = vote, held
        self.vote, self.members = SimpleNamespace(remote=self._voted), SimpleNamespace(remote=self._holds)

    async def _voted(self, family: str, table: FeatureTable, *_: object) -> Any:
        self.asked += 1
        return await self._vote(table)

    async def _holds(self) -> list[MemberStatus]:
        if isinstance(self._held, Exception):
            raise self._held
        return self._held


def ensemble(vote: Vote, held: Exception | None = None) -> tuple[Ensemble, Replica]:
    """Return an ensemble of one detector that is well, and one that does as told."""

    async def well(table: FeatureTable) -> MemberVotes:
        return votes_on(table)

    other = Replica(vote, held or [])
    handles = {"catboost": Replica(well, [HELD]), "xgboost": other}
    return Ensemble(cast(dict[str, DeploymentHandle[object]], handles), 1, 0.2), other


def raising(error: BaseException) -> Vote:
    async def vote(_: FeatureTable) -> Any:
        raise error

    return vote


def inspection(family: str = "generic") -> Inspection:
    return Inspection(simulate("healthy", 0, 5, 1), family)


@pytest.mark.parametrize(
    ("error", "reason", "asked"),
    [
        (ValueError(INSIDE), "failed: ValueError", 1),
        (over_actors(ValueError(INSIDE)), "failed: ValueError", 1),
        (over_actors(over_actors(MemoryError(INSIDE))), "failed: MemoryError", 1),
        (OURS, "no model version hdx-generic-xgboost/7", 1),
        (over_actors(OURS), "no model version hdx-generic-xgboost/7", 1),
        (over_actors(TimeoutError(INSIDE)), "failed: TimeoutError", 1),
        (ActorDiedError(), "xgboost: its replica failed", 2),
        (RayServeException(INSIDE), "xgboost: its replica failed", 2),
        (asyncio.CancelledError(), "xgboost: its replica failed", 2),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
async def test_whatever_a_detector_raises_is_its_abstention(error: BaseException, reason: str, asked: int) -> None:
    """By either transport the others answer, the reason names the kind alone, and only a death is tried again."""
    graph, other = ensemble(raising(error))
    for answer in await graph.diagnose([inspection(), inspection()]):
        assert isinstance(answer, Judgement)
        votes = {vote["ml_model"]: vote for vote in json.loads(answer.findings)["ml_predictions"]}
        assert votes["catboost"]["prediction_score"] == pytest.approx(0.2)
        assert (votes["xgboost"]["prediction_score"], votes["xgboost"]["reason"]) == (None, reason)
        assert "hunter2" not in str(answer)
    assert other.asked == asked


async def test_what_a_window_teaches_travels_to_whoever_has_a_system() -> None:
    """Of a window that is nobody's, nothing is learned."""

    async def well(table: FeatureTable) -> MemberVotes:
        return replace(votes_on(table), anomaly=np.full(len(table.raw), 0.001))

    graph, _ = ensemble(well)
    nobodys, someones = await graph.diagnose([inspection(), inspection()._replace(owner=7, system_id=1)])
    assert isinstance(nobodys, Judgement)
    assert isinstance(someones, Judgement)
    assert nobodys.learned is None
    assert someones == nobodys._replace(learned=someones.learned)
    assert someones.learned is not None


async def test_a_detector_that_is_silent_or_answers_something_else_abstains() -> None:
    """Neither a late answer, nor votes on other windows than were asked, nor no votes at all hold up the others."""

    async def late(_: FeatureTable) -> None:
        await asyncio.sleep(60)

    async def short(table: FeatureTable) -> MemberVotes:
        return votes_on(table, "xgboost", 1)

    async def nothing(_: FeatureTable) -> None:
        return None

    for vote, reason in ((late, "no vote within"), (short, "failed: ValueError"), (nothing, "failed: AttributeError")):
        (answer, _) = await ensemble(vote)[0].diagnose([inspection(), inspection()])
        assert isinstance(answer, Judgement)
        assert reason in answer.findings.decode()


async def test_a_group_that_cannot_be_judged_fails_alone() -> None:
    """An error in judging one family's windows is theirs, one of ours, and the neighbours have their answers."""

    async def wide(table: FeatureTable) -> MemberVotes:
        votes = votes_on(table, "xgboost")
        is_rig = "efficiency_mean" in table.names
        return replace(votes, contributions=np.zeros((len(table.raw), 3))) if is_rig else votes

    graph, _ = ensemble(wide)
    families = ["generic", "rig", "removed", "generic"]
    answers = await graph.diagnose([inspection(family) for family in families])
    assert [type(answer) for answer in answers] == [Judgement, Unavailable, UnknownFamily, Judgement]
    assert str(answers[1]) == "ensemble: failed: ValueError"


async def test_who_cannot_say_what_it_holds_holds_nothing() -> None:
    """The others' versions are told, whatever one raises."""
    for error in (ValueError(INSIDE), ActorDiedError()):
        graph, _ = ensemble(raising(error), error)
        assert await graph.members() == [HELD]


async def test_a_family_that_people_defined_is_judged_by_its_own_normal() -> None:
    """Without a replica being asked: who needs no training votes here, and the others say why they do not."""
    graph, other = ensemble(raising(ValueError(INSIDE)))
    graph = Ensemble({"catboost": cast(Any, other), "adaptive": cast(Any, other)}, 2, 0.2)
    definition = Definition(title="Unit", channels={"pressure": ChannelDefinition(unit="bar")}).to_json()
    family = find_family("unit", definition)
    windows = [Window({"pressure": np.random.default_rng(n).normal(180, 1, 30)}, 1.0) for n in range(21)]
    normal = commission(make_feature_table(windows[:20], [None] * 20, family).raw, family)
    lost = Window({"pressure": windows[20].values["pressure"] * 0.8}, 1.0)
    asked = [Inspection(window, family.key, normal, definition=definition) for window in (windows[20], lost)]
    first = Inspection(windows[0], family.key, commissioning=True, definition=definition)
    well, ill, early = await graph.diagnose([*asked, first])
    assert isinstance(well, Judgement)
    assert isinstance(ill, Judgement)
    assert isinstance(early, Judgement)
    assert (well.is_anomaly, ill.is_anomaly, early.score) == (False, True, None)
    votes = {vote["ml_model"]: vote for vote in json.loads(ill.findings)["ml_predictions"]}
    assert (votes["adaptive"]["version"], votes["catboost"]["prediction_score"]) == (BUILT_IN, None)
    assert votes["catboost"]["reason"] == "no version is trained for family unit yet"
    assert other.asked == 0
    (again,) = await graph.diagnose([asked[1]._replace(versions=(("adaptive", BUILT_IN),))])
    assert isinstance(again, Judgement)
    assert again.score == ill.score


def trained_on(table: FeatureTable, detector: str, reading: str, grades: tuple[int | str, ...]) -> MemberVotes:
    """Votes of a version that a tenant has trained: it names the pump, surely off in its last grade."""
    head = np.tile(np.eye(len(grades))[-1], (len(table.raw), 1))
    votes = replace(votes_on(table, detector), versions=("t7/1",) * len(table.raw), heads={"pump": head})
    return replace(votes, labels=(Label("pump", "pump", grades),), reading=reading)


@pytest.mark.parametrize("fails", [False, True])
async def test_what_a_tenant_has_trained_votes_on_its_family(fails: bool) -> None:
    """One that reads windows as the family does, and of two that grade a part otherwise the first in answers is heard.

    Live the built-in member votes for an adaptive version that cannot be had; in a replay nobody votes for another.
    """
    definition = Definition(title="Unit", channels={"pressure": ChannelDefinition(unit="bar")}).to_json()
    family, reading = find_family("unit", definition), reading_digest(find_family("unit", definition))

    def replica(detector: str, reading: str, grades: tuple[int | str, ...], lost: bool = False) -> Any:
        async def vote(table: FeatureTable) -> MemberVotes:
            if lost:
                raise Unavailable(detector, "its file is gone")
            return trained_on(table, detector, reading, grades)

        found = Replica(vote, [])
        found.vote.options = lambda **_: found.vote
        return found

    members = {
        "catboost": replica("catboost", reading, (0, 1)),
        "xgboost": replica("xgboost", reading, ("ok", "worn")),
        "random_forest": replica("random_forest", "of other units", (0, 1)),
        "adaptive": replica("adaptive", reading, (0, 1), fails),
    }
    own = tuple((name, "t7/1") for name in members)
    window = Window({"pressure": np.random.default_rng(1).normal(180, 1, 30)}, 1.0)
    normal = commission(make_feature_table([window] * 20, [None] * 20, family).raw, family)
    asked = Inspection(window, family.key, normal, owner=7, own=own, definition=definition)
    graph = Ensemble(members, 2, 0.2)
    (answer,) = await graph.diagnose([asked])
    assert isinstance(answer, Judgement)
    found = json.loads(answer.findings)
    adaptive = BUILT_IN if fails else "t7/1"
    assert answer.versions == {"catboost": "t7/1", "xgboost": "t7/1", "adaptive": adaptive}
    assert found["prediction"]["components"] == [{"component": "pump", "probability": 1.0, "grade": 1}]
    reasons = {vote["ml_model"]: vote.get("reason") for vote in found["ml_predictions"]}
    assert (reasons["random_forest"], reasons["adaptive"]) == (OTHER_READING, None)
    versions = tuple(answer.versions.items())
    (again,) = await graph.diagnose([asked._replace(own=(), versions=versions)])
    assert isinstance(again, Judgement)
    assert (again.score, again.versions) == (answer.score, answer.versions)
    (lost,) = await graph.diagnose([asked._replace(own=(), versions=own)])
    assert isinstance(lost, NoQuorum)
