"""Rules of the way from votes to a diagnosis."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from pipelines.detectors.base import Detail, FeatureTable
from pipelines.detectors.bundle import INSUFFICIENT, OUTSIDE, MemberVotes
from pipelines.diagnosis import ensemble
from pipelines.diagnosis.ensemble import decide, judge
from pipelines.diagnosis.findings import findings_of
from pipelines.diagnosis.records import Diagnosis, Inspection
from pipelines.diagnosis.situation import COMMISSIONING
from pipelines.errors import NoQuorum
from pipelines.machines.commissioning import TAUGHT_WITHIN
from pipelines.machines.family import Family, Severity
from pipelines.signals.quality import qualities, quality
from pipelines.signals.reading import make_feature_table
from pipelines.signals.windows import Window
from tests.contract.examples import baseline, family, normal, window

NAN = float("nan")
DETAILS: tuple[Detail, ...] = ("full", "score")
PUMP_WORN = {"pump": [0.1, 0.2, 0.7], "cooler": [0.9, 0.1]}
NOMINAL = {"pump": [0.9, 0.05, 0.05], "cooler": [0.95, 0.05]}


def member(
    name: str,
    *scores: float,
    weight: float = 1.0,
    heads: Mapping[str, list[float]] | None = None,
    contributions: dict[str, float] | None = None,
    reasons: tuple[str, ...] | None = None,
) -> MemberVotes:
    """Return votes with the same heads and contributions on every window."""
    columns = feature_table_of([]).columns
    shares = None
    if contributions is not None:
        shares = np.tile([contributions.get(column, 0.0) for column in columns], (len(scores), 1))
    return MemberVotes(
        detector=name,
        versions=("1",) * len(scores),
        weight=np.full(len(scores), weight),
        anomaly=np.array(scores),
        heads={head: np.tile(p, (len(scores), 1)) for head, p in (heads or {}).items()},
        contributions=shares,
        milliseconds=0.1,
        reasons=reasons or tuple(OUTSIDE if np.isnan(score) else "" for score in scores),
        base=np.zeros(len(scores)),
    )


def feature_table_of(windows: list[Window]) -> FeatureTable:
    return make_feature_table(windows, [normal()] * len(windows), family())


def answers(
    *members: MemberVotes,
    windows: list[Window] | None = None,
    kind: Family | None = None,
    absent: dict[str, str] | None = None,
    quorum: int = 1,
) -> list[Diagnosis]:
    rows = windows or [window(seed) for seed in range(len(members[0].anomaly))]
    inspections = [Inspection(one, "made-up", normal()) for one in rows]
    votes = {votes.detector: votes for votes in members}
    return judge(kind or family(), inspections, feature_table_of(rows), votes, absent or {}, quorum)


def one(*members: MemberVotes, kind: Family | None = None, windows: list[Window] | None = None) -> Diagnosis:
    return answers(*members, kind=kind, windows=windows)[0]


def test_agreement_is_kept() -> None:
    """Members that agree give the score that they agree on, whatever their weights."""
    assert one(member("a", 0.3, weight=0.9), member("b", 0.3, weight=0.1)).score == pytest.approx(0.3)


def test_skill_weighs() -> None:
    """The more skilled member pulls the score to its side; one no better than chance does not move it."""
    skilled = one(member("a", 0.9, weight=0.9), member("b", 0.1, weight=0.2))
    assert skilled.score > 0.5
    assert [vote.weight for vote in skilled.votes] == pytest.approx([0.9 / 1.1, 0.2 / 1.1])
    assert one(member("a", 0.9), member("b", 0.1, weight=0.0)).score == pytest.approx(0.9, abs=1e-4)


def test_a_member_of_no_skill_is_heard_alone() -> None:
    """Where nobody else votes, a member no better than chance still answers."""
    assert one(member("a", 0.7, weight=0.0)).score == pytest.approx(0.7)


def test_certainty_is_bounded() -> None:
    """A member that is wrong with full certainty does not outvote three that know better."""
    wrong = one(member("a", 1.0), member("b", 0.02), member("c", 0.02), member("d", 0.02))
    assert wrong.score < 0.5


@pytest.mark.parametrize(
    ("score", "severity", "is_anomaly"),
    [(0.49, "normal", False), (0.51, "warning", True), (0.79, "warning", True), (0.81, "critical", True)],
)
def test_severity_is_the_familys(score: float, severity: str, is_anomaly: bool) -> None:
    """Bands and threshold come from the family, and an alarm begins with a warning."""
    found = one(member("a", score, heads=PUMP_WORN))
    assert (found.severity, found.is_anomaly, found.threshold) == (severity, is_anomaly, 0.5)
    strict = family().model_copy(update={"severity": Severity(warning=0.2, critical=0.4, release=0.16, source="test")})
    assert one(member("a", score), kind=strict).severity == "critical"


def test_a_threshold_itself_counts() -> None:
    """A score that stands on a threshold has reached it: it warns, is critical, begins an alarm and keeps one on."""
    score = one(member("a", 0.6)).score
    for warning, critical, severity in ((score, 0.9, "warning"), (0.5, score, "critical")):
        bands = Severity(warning=warning, critical=critical, release=0.4, source="test")
        found = one(member("a", 0.6), kind=family().model_copy(update={"severity": bands}))
        assert (found.severity, found.is_anomaly) == (severity, True)
    bands = Severity(warning=score, critical=0.9, release=one(member("a", 0.3)).score, source="test")
    kind = family().model_copy(update={"severity": bands})
    rows = [window(seed) for seed in range(4)]
    inspections = [Inspection(row, "made-up", normal()) for row in rows]
    votes = {"a": member("a", 0.6, 0.3, 0.3, 0.29)}
    found_all = judge(kind, inspections, feature_table_of(rows), votes, {}, 1, consecutive=True)
    assert [found.is_anomaly for found in found_all] == [True, True, True, False]


def test_windows_in_a_row_begin_in_the_systems_state() -> None:
    """The first of consecutive windows meets the alarm that its system stands in; the others what the last one left."""
    rows = [window(seed) for seed in range(2)]
    inspections = [Inspection(row, "made-up", normal(), alarm=seed == 0) for seed, row in enumerate(rows)]
    table = feature_table_of(rows)
    held = judge(family(), inspections, table, {"a": member("a", 0.45, 0.45)}, {}, 1, consecutive=True)
    assert [found.is_anomaly for found in held] == [True, True]
    calm = [Inspection(row, "made-up", normal(), alarm=seed == 1) for seed, row in enumerate(rows)]
    found = judge(family(), calm, table, {"a": member("a", 0.45, 0.45)}, {}, 1, consecutive=True)
    assert [each.is_anomaly for each in found] == [False, False]
    assert judge(family(), [], feature_table_of([]), {"a": member("a")}, {}, 1, consecutive=True) == []


def test_quorum() -> None:
    """Fewer members than the quorum give no answer at all, and the error names who is missing and why."""
    with pytest.raises(NoQuorum, match="b: its replica failed"):
        answers(member("a", 0.2), absent={"b": "its replica failed"}, quorum=2)
    assert len(answers(member("a", 0.2), member("b", 0.2), quorum=2)) == 1


def test_an_abstention_is_answered_by_the_rest() -> None:
    """A window on which a member abstains has the others' score, full weight among them, and the reason."""
    first, second = answers(member("a", NAN, 0.9), member("b", 0.2, 0.9))
    assert first.score == pytest.approx(0.2)
    silent, heard = first.votes
    assert (silent.score, silent.weight, silent.confidence, silent.reason) == (None, 0.0, 0.0, OUTSIDE)
    assert heard.weight == pytest.approx(1)
    assert second.votes[0].reason == ""
    assert (heard.version, heard.milliseconds) == ("1", 0.1)
    assert heard.confidence == pytest.approx(0.8 * first.quality.score)
    assert second.votes[0].confidence == pytest.approx(0.9 * second.quality.score)


def test_silence_of_all_spoils_no_other_window() -> None:
    """A window that nobody can judge has no score but the reason, and its neighbours have their answers."""
    first, second = answers(member("a", NAN, 0.2), member("b", NAN, 0.2))
    assert np.isnan(first.score)
    assert (first.is_anomaly, first.severity, first.confidence) == (False, "unknown", 0.0)
    assert first.abstained == f"{OUTSIDE} (a, b)"
    assert (second.abstained, second.severity) == ("", "normal")


def test_an_abstention_leaves_the_state() -> None:
    """A window that nobody can judge neither begins nor ends an alarm of the windows after it."""
    rows = [window(seed) for seed in range(3)]
    inspections = [Inspection(row, "made-up", normal()) for row in rows]
    found = judge(
        family(), inspections, feature_table_of(rows), {"a": member("a", 0.55, NAN, 0.45)}, {}, 1, consecutive=True
    )
    assert [one.is_anomaly for one in found] == [True, False, True]


def test_an_alarm_ends_below_the_release() -> None:
    """Between release and warning an alarm that is on stays on, and one that is off stays off."""
    votes = {"a": member("a", 0.45, 0.55, 0.45, 0.35, 0.45)}
    rows = [window(seed) for seed in range(5)]
    inspections = [Inspection(row, "made-up", normal()) for row in rows]
    found = judge(family(), inspections, feature_table_of(rows), votes, {}, 1, consecutive=True)
    assert [one.is_anomaly for one in found] == [False, True, True, False, False]
    assert [one.threshold for one in found] == [0.5, 0.5, 0.4, 0.4, 0.5]
    apart = judge(family(), [i._replace(alarm=True) for i in inspections], feature_table_of(rows), votes, {}, 1)
    assert [one.is_anomaly for one in apart] == [True, True, True, False, True]
    alone = decide(family(), feature_table_of(rows), np.full(5, 30.0), np.zeros(5, dtype=np.bool_), votes)
    assert alone.is_anomaly.tolist() == [False, True, False, False, False]


def test_a_new_machine_is_learned_before_it_is_judged() -> None:
    """While nobody can judge a machine its windows teach its baseline; not in an alarm, nor once that has settled."""
    row = [window(1)]
    votes = {"a": member("a", NAN)}
    table = make_feature_table(row, [None], family())
    fresh = judge(family(), [Inspection(row[0], "made-up")], table, votes, {}, 1)[0]
    assert fresh.learned is not None
    alarmed = judge(family(), [Inspection(row[0], "made-up", alarm=True)], table, votes, {}, 1)[0]
    assert alarmed.learned is None
    assert one(member("a", NAN)).learned is None


def test_absent_members_are_named() -> None:
    """Who did not vote stands in the answer, with the reason."""
    (found,) = answers(member("a", 0.2), absent={"b": "no version loaded"})
    assert found.absent == {"b": "no version loaded"}


def test_a_window_is_judged_alike_alone_and_in_company() -> None:
    """What is said of a window does not depend on those judged with it: not its score, doubt, shares or components."""
    columns = feature_table_of([]).columns
    rows = [window(seed) for seed in range(3)]
    heads = {"pump": np.array([[0.1, 0.2, 0.7], [0.8, 0.1, 0.1], [NAN] * 3]), "cooler": np.array([[0.3, 0.7]] * 3)}
    shares = np.random.default_rng(1).normal(size=(3, len(columns)))
    first = replace(member("a", 0.9, 0.4, 0.2), heads=heads, contributions=shares, base=np.array([0.5, -1.0, 2.0]))
    second = member("b", 0.3, NAN, 0.1, weight=0.5)

    def stripped(found: Diagnosis) -> Diagnosis:
        return found._replace(learned=None, attribution=(), base=0.0)

    def alone(votes: MemberVotes, row: int) -> MemberVotes:
        only = slice(row, row + 1)
        return replace(
            votes,
            versions=votes.versions[only],
            weight=votes.weight[only],
            anomaly=votes.anomaly[only],
            reasons=votes.reasons[only],
            base=votes.base[only],
            heads={head: table[only] for head, table in votes.heads.items()},
            contributions=None if votes.contributions is None else votes.contributions[only],
        )

    together = answers(first, second, windows=rows)
    for row, found in enumerate(together):
        (by_itself,) = answers(alone(first, row), alone(second, row), windows=[rows[row]])
        # A product of matrices may differ in its last bit.
        assert stripped(found) == stripped(by_itself)
        assert found.base == pytest.approx(by_itself.base)
        assert [share.channel for share in found.attribution] == [share.channel for share in by_itself.attribution]
        assert [share.contribution for share in found.attribution] == pytest.approx(
            [share.contribution for share in by_itself.attribution]
        )
    assert [component.component for component in together[2].components] == ["cooler"]


def test_shares_are_of_those_who_explain_themselves() -> None:
    """Contributions and base are means over the members that have any, by their weights; the others add nothing."""
    first = replace(member("a", 0.9, contributions={"flow_mean": 4.0}), base=np.array([1.0]))
    second = replace(member("b", 0.9, weight=3.0, contributions={"flow_mean": 8.0}), base=np.array([2.0]))
    found = one(first, second, member("c", 0.9, weight=5.0))
    (flow,) = (share for share in found.attribution if share.channel == "flow")
    assert flow.contribution == pytest.approx(7.0)
    assert found.base == pytest.approx(1.75)


def test_certainty_of_health_is_bounded_too() -> None:
    """A member that is sure of health does not outvote three that see an anomaly."""
    assert one(member("a", 0.0), member("b", 0.98), member("c", 0.98), member("d", 0.98)).score > 0.5


def test_an_answer_says_whose_and_on_what() -> None:
    """It carries the family, what limits the data, and only in full detail the channels' shares."""
    rows = [window(1, samples=3)]
    inspections, table = [Inspection(rows[0], "made-up", normal())], feature_table_of(rows)
    votes = {"a": member("a", 0.9, contributions={"flow_mean": 2.0})}
    full, brief = (judge(family(), inspections, table, votes, {}, 1, detail=detail)[0] for detail in DETAILS)
    assert full.family == "made-up"
    assert full.quality == quality(inspections[0], family(), float(qualities(table, np.array([3.0]), family())[0]), ())
    assert (len(full.attribution), brief.attribution) == (5, ())
    assert (brief.anomaly_type, brief.base) == (None, 2.0)
    assert (brief.score, brief.quality, brief.votes) == (full.score, full.quality, full.votes)


def test_confidence() -> None:
    """Confidence falls with doubt, with poor data and with disagreement."""
    sure = one(member("a", 0.02), member("b", 0.02)).confidence
    assert sure == pytest.approx(0.98)
    assert one(member("a", 0.4), member("b", 0.4)).confidence < sure
    short = one(member("a", 0.02), member("b", 0.02), windows=[window(1, samples=3)])
    assert short.confidence < 0.7 * sure
    assert short.votes[0].confidence == pytest.approx(0.98 * short.quality.score)
    assert one(member("a", 0.001), member("b", 0.6)).confidence < one(member("a", 0.05), member("b", 0.05)).confidence


def test_attribution_adds_up() -> None:
    """Channels' shares add up to the features', largest first; a cross feature counts half for each channel."""
    shares = {"flow_mean": 2.0, "pressure_std": 0.5, "temperature_mean": -0.25, "pressure_per_flow": 1.0}
    found = {share.channel: share for share in one(member("a", 0.9, contributions=shares)).attribution}
    assert list(found)[:3] == ["flow", "pressure", "temperature"]
    assert found["flow"].contribution == pytest.approx(2.5)
    assert found["pressure"].contribution == pytest.approx(1.0)
    assert sum(share.contribution for share in found.values()) == pytest.approx(3.25)


def test_direction() -> None:
    """A channel stands high or low against its system's normal, and is unsteady where its spread speaks."""
    values = dict(window(1).values)
    values["temperature"] = values["temperature"] + 9
    values["flow"] = values["flow"] - 4
    shares = {"temperature_mean": 1.0, "flow_mean": 1.0, "vibration_std": 1.0}
    found = one(member("a", 0.9, contributions=shares), windows=[Window(values, 1.0)])
    direction = {share.channel: share.direction for share in found.attribution}
    assert (direction["temperature"], direction["flow"], direction["vibration"]) == ("high", "low", "unsteady")


def test_deviation_is_in_physical_units() -> None:
    """Each channel says how far its mean lies from the system's own normal, or from the typical one without any."""
    low = window(1)
    rows = [Window(dict(low.values) | {"flow": low.values["flow"] - 5}, 1.0)]
    share = next(s for s in one(member("a", 0.9), windows=rows).attribution if s.channel == "flow")
    own = baseline()
    place = feature_table_of([]).names.index("flow_mean")
    assert share.deviation.own
    assert share.deviation.unit == family().channels["flow"].unit
    assert share.deviation.normal == pytest.approx(own.total[place] / own.count[place])
    assert share.deviation.value == pytest.approx(rows[0].values["flow"].mean())
    votes = {"a": member("a", 0.9)}
    stranger = judge(
        family(), [Inspection(rows[0], "made-up")], make_feature_table(rows, [None], family()), votes, {}, 1
    )[0]
    typical = next(s for s in stranger.attribution if s.channel == "flow").deviation
    assert (typical.own, typical.normal) == (False, family().channels["flow"].typical)


def test_a_deviation_of_rounding_is_none_in_words() -> None:
    """What only the last digits of a sum say is zero, in the number and in the text."""
    found = one(member("a", 0.9, contributions={"flow_mean": 1.0}))
    share = next(share for share in found.attribution if share.channel == "flow")
    alike = share._replace(deviation=share.deviation._replace(value=61.0 + 7e-15, normal=61.0))
    (told,) = findings_of(found._replace(attribution=(alike,)))["attribution"]
    assert told["deviation"]["difference"] == 0
    assert told["deviation"]["text"].startswith("flow 0 ")


def test_a_missing_channel_has_no_share() -> None:
    """A channel that was not measured is not in the attribution; what its lack says is in the base."""
    values = {name: samples for name, samples in window(1).values.items() if name != "flow"}
    shares = {"flow_mean": 1.0, "pressure_mean": 0.5}
    found = one(member("a", 0.9, contributions=shares), windows=[Window(values, 1.0)])
    assert "flow" not in {share.channel for share in found.attribution}
    assert found.base + sum(share.contribution for share in found.attribution) == pytest.approx(1.5)


def test_only_clearly_normal_windows_teach() -> None:
    """What is normal for a new machine is learned from no alarm and no window near one, whoever else abstains."""
    rows = [window(1)]
    fresh = make_feature_table(rows, [None], family())

    def teaches(*members: MemberVotes, alarm: bool = False) -> bool:
        inspections = [Inspection(rows[0], "made-up", alarm=alarm)]
        return (
            judge(family(), inspections, fresh, {each.detector: each for each in members}, {}, 1)[0].learned is not None
        )

    assert teaches(member("a", 0.1))
    assert not teaches(member("a", 0.35))  # seven tenths of the threshold, to the bit
    assert not teaches(member("a", 0.4))
    assert not teaches(member("a", 0.9))
    assert teaches(member("a", 0.1), member("b", NAN))
    assert not teaches(member("a", 0.4), member("b", NAN, reasons=(INSUFFICIENT,)))
    assert not teaches(member("a", 0.45), alarm=True)
    assert teaches(member("a", 0.1), alarm=True)


def test_a_window_near_its_machines_normal_teaches() -> None:
    """Whatever members say that know other machines, unless they call it critical; what nobody judges, never."""
    critical = family().severity.critical
    assert [one(member("a", score)).learned is None for score in (0.1, 0.6, 0.79)] == [False] * 3
    assert one(member("a", critical)).learned is None
    assert one(member("a", NAN)).learned is None


def test_a_window_far_from_its_machines_normal_teaches_nothing() -> None:
    """However sure the members are that it is well: they know other machines."""
    far = window(1)
    far = Window({name: samples * 1.2 for name, samples in far.values.items()}, far.rate_hz)
    assert one(member("a", 0.01)).learned is not None
    assert one(member("a", 0.01), windows=[far]).learned is None


@pytest.mark.parametrize(("share", "teaches"), [(-1.0, True), (1.0, True), (1.01, False), (-1.01, False)])
def test_what_has_left_its_leash_teaches_nothing(share: float, teaches: bool) -> None:
    """A number may stray from where it was commissioned as far as it may, to either side, and no further."""
    table = feature_table_of([window(1)])
    strayed = np.zeros_like(table.strayed)
    strayed[0, 0] = share
    assert teaching(replace(table, strayed=strayed)) is teaches


def test_a_window_at_the_border_of_its_normal_teaches() -> None:
    """One that lies just as far as may be does, one beyond it does not."""
    table = feature_table_of([window(1)])
    distances = (TAUGHT_WITHIN, np.nextafter(TAUGHT_WITHIN, 99))
    assert [teaching(replace(table, distance=np.array([each]))) for each in distances] == [True, False]


def teaching(table: FeatureTable) -> bool:
    """Whether a window of a commissioned system teaches that members call normal."""
    inspections = [Inspection(window(1), "made-up", normal())]
    return judge(family(), inspections, table, {"a": member("a", 0.1)}, {}, 1)[0].learned is not None


def test_what_a_window_teaches(monkeypatch: pytest.MonkeyPatch) -> None:
    """From half the length on a window teaches all its features; a shorter one its levels, which need no length."""
    # The made-up normal was learned from longer windows, which spread otherwise.
    monkeypatch.setattr(ensemble, "TAUGHT_WITHIN", float("inf"))
    whole = one(member("a", 0.1)).learned
    half = one(member("a", 0.1), windows=[window(1, samples=15)]).learned
    short = one(member("a", 0.1), windows=[window(1, samples=14)]).learned
    assert whole is not None
    assert half is not None
    assert short is not None
    assert whole.sums.count.sum() == half.sums.count.sum() == len(feature_table_of([]).names)
    assert short.sums.count.sum() == len(family().channels)


def test_features_are_counted() -> None:
    """The number of features is that of those that could be computed."""
    assert one(member("a", 0.1)).features == len(feature_table_of([]).names)
    pressure = Window({"pressure": window(1).values["pressure"]}, 1.0)
    assert one(member("a", 0.1), windows=[pressure]).features == 9


def test_trust_multiplies_skill() -> None:
    """A member that its family trusts more counts so many times its skill, one that is not named once."""
    trusted = family().model_copy(update={"trust": {"a": 4.0}})
    assert [vote.weight for vote in one(member("a", 0.9), member("b", 0.1), kind=trusted).votes] == [0.8, 0.2]
    unheard = family().model_copy(update={"trust": {"a": 0.0}})
    assert one(member("a", 0.9), member("b", 0.1), kind=unheard).score == pytest.approx(0.1, abs=1e-4)
    assert one(member("a", 0.9), member("b", NAN), kind=unheard).score == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("name", "reading", "is_heard"),
    [
        ("catboost", "raw", True),
        ("catboost", "relative", False),
        ("adaptive", "raw", False),
        ("adaptive", "both", False),
    ],
)
def test_who_needs_a_normal_is_not_heard_while_it_is_learned(name: str, reading: str, is_heard: bool) -> None:
    """Trained members that read no distance from it vote from the first window on; with a normal everybody does."""
    kind, votes = family().model_copy(update={"reading": reading}), member(name, 0.7)
    assert ensemble.silenced(votes, kind, np.array([False])) is votes
    found = ensemble.silenced(votes, kind, np.array([True]))
    assert bool(found.anomaly[0] == 0.7) is is_heard
    assert found.reasons == (("",) if is_heard else (COMMISSIONING,))
