"""The rules that every detector of the registry keeps; a further one is held to them without a line of its own."""

import json
import pickle
from collections.abc import Mapping
from dataclasses import fields, replace
from hashlib import sha256
from typing import ClassVar, Self

import numpy as np
import psutil
import pytest

from pipelines.detectors import members as registered
from pipelines.detectors.base import Ballot, Detail, Examples, FeatureTable
from pipelines.detectors.bundle import (
    CARD,
    INSUFFICIENT,
    OUTSIDE,
    Bundle,
    Card,
    MemberVotes,
    assemble,
    pack,
    probe,
    unpack,
)
from pipelines.detectors.members import registry
from pipelines.diagnosis.calibration import auc
from pipelines.diagnosis.ensemble import judge
from pipelines.diagnosis.records import Inspection
from pipelines.errors import ArtefactRejected, InvalidInput, Unavailable
from pipelines.machines.baseline import Baseline, learn
from pipelines.machines.commissioning import Normal
from pipelines.signals.reading import make_feature_table
from pipelines.signals.windows import Floats, Window
from tests.contract.examples import SAMPLES, baseline, bundle, examples, family, fitted, window

NAMES = tuple(registry())
every = pytest.mark.parametrize("name", NAMES)
supervised = pytest.mark.parametrize("name", [name for name, kind in registry().items() if kind.supervised])


def feature_table_of(windows: list[Window], base: Baseline | None = None) -> FeatureTable:
    return make_feature_table(windows, [None if base is None else Normal.of(base)] * len(windows), family())


def mixed() -> list[Window]:
    """Whole, short, tiny, constant and incomplete windows side by side."""
    whole = [window(seed, pump=seed % 3, cooler=seed % 2) for seed in range(100, 120)]
    tiny = window(7, samples=3)
    still = Window({name: np.full(SAMPLES, values[0]) for name, values in window(8).values.items()}, 1.0)
    pressure = Window({"pressure": window(9).values["pressure"]}, 1.0)
    no_flow = Window({name: values for name, values in window(10).values.items() if name != "flow"}, 1.0)
    return [*whole, tiny, still, pressure, no_flow, window(11, pump=2, samples=400)]


def assert_same(one: Ballot, other: Ballot) -> None:
    np.testing.assert_array_equal(one.anomaly, other.anomaly)
    assert set(one.heads) == set(other.heads)
    for head, probability in one.heads.items():
        np.testing.assert_array_equal(probability, other.heads[head])
    assert (one.contributions is None) == (other.contributions is None)
    if one.contributions is not None and other.contributions is not None:
        np.testing.assert_array_equal(one.contributions, other.contributions)


def row_of(table: FeatureTable, row: int) -> FeatureTable:
    return table.rows(np.array([row]))


@every
def test_name_is_the_registry_key(name: str) -> None:
    """A detector is found under the name it gives itself."""
    assert registry()[name].name == name


@every
def test_shapes_and_ranges(name: str) -> None:
    """A vote is one number in 0..1 a window, and heads are distributions over all classes of the family's head."""
    table = feature_table_of(mixed())
    ballot = fitted(name).vote(table)
    assert ballot.anomaly.shape == (len(table.raw),)
    assert ballot.anomaly.dtype == np.float64
    assert ((ballot.anomaly >= 0) & (ballot.anomaly <= 1)).all()
    for head, probability in ballot.heads.items():
        assert probability.shape == (len(table.raw), len(family().heads[head].classes))
        np.testing.assert_allclose(probability.sum(axis=1), 1, atol=1e-5)
    if ballot.contributions is not None:
        assert ballot.contributions.shape == table.read.shape
        assert np.isfinite(ballot.contributions).all()


@every
@pytest.mark.parametrize("detail", ["score", "components"])
def test_less_detail_is_the_same_score(name: str, detail: Detail) -> None:
    """What is asked beside the score does not touch it, and what is not asked is not computed."""
    whole, less = fitted(name).vote(feature_table_of(mixed())), fitted(name).vote(feature_table_of(mixed()), detail)
    np.testing.assert_array_equal(less.anomaly, whole.anomaly)
    assert less.contributions is None
    assert set(less.heads) == (set(whole.heads) if detail == "components" else set())


@every
def test_skill(name: str) -> None:
    """A fitted detector ranks the windows of unseen seeds well: it has learned, and reads what it was fitted on."""
    assert bundle(name).card.skill > 0.9


@every
def test_input_is_not_changed(name: str) -> None:
    """Voting leaves the table as it is."""
    table = feature_table_of(mixed(), baseline())
    before = {part.name: np.copy(getattr(table, part.name)) for part in fields(FeatureTable)}
    fitted(name).vote(table)
    for part, values in before.items():
        np.testing.assert_array_equal(values, getattr(table, part))


@every
def test_order_of_channels_does_not_matter(name: str) -> None:
    """A window's channels may come in any order."""
    turned = [Window({channel: w.values[channel] for channel in sorted(w.values)}, w.rate_hz) for w in mixed()]
    assert_same(fitted(name).vote(feature_table_of(mixed())), fitted(name).vote(feature_table_of(turned)))


@every
def test_batch_equals_single(name: str) -> None:
    """A window gets bit for bit the same vote alone and beside longer, shorter and incomplete ones."""
    table = feature_table_of(mixed(), baseline())
    together = fitted(name).vote(table)
    for row, one in enumerate(mixed()):
        alone = fitted(name).vote(feature_table_of([one], baseline()))
        assert_same(alone, fitted(name).vote(row_of(table, row)))
        assert alone.anomaly[0] == together.anomaly[row]
        assert all((alone.heads[head][0] == together.heads[head][row]).all() for head in together.heads)
        if alone.contributions is not None and together.contributions is not None:
            np.testing.assert_array_equal(alone.contributions[0], together.contributions[row])


@every
def test_every_single_channel_is_enough(name: str) -> None:
    """Any one channel of three values gets a vote."""
    for channel in family().channels:
        one = Window({channel: window(3, samples=3).values[channel]}, 1.0)
        assert np.isfinite(fitted(name).vote(feature_table_of([one])).anomaly).all()


@every
def test_no_windows(name: str) -> None:
    """An empty batch gets an empty ballot."""
    assert fitted(name).vote(feature_table_of([])).anomaly.shape == (0,)


@every
def test_fit_is_deterministic(name: str) -> None:
    """The same examples and seed give the same votes; fitting leaves the examples as they are."""
    before = examples().table.read.copy()
    again = registry()[name].fit(examples(), seed=3)
    assert_same(fitted(name).vote(feature_table_of(mixed())), again.vote(feature_table_of(mixed())))
    np.testing.assert_array_equal(before, examples().table.read)


@every
def test_pack_and_unpack(name: str) -> None:
    """What was packed votes bit for bit as before, and packs to the same files again."""
    files = pack(bundle(name))
    rebuilt = unpack(files, family())
    table = feature_table_of(mixed(), baseline())
    assert_same(bundle(name).detector.vote(table), rebuilt.detector.vote(table))
    np.testing.assert_array_equal(bundle(name).votes(table).anomaly, rebuilt.votes(table).anomaly)
    assert pack(rebuilt) == files


@every
def test_no_pickle_in_the_files(name: str) -> None:
    """Files are of the detector's native format or JSON; none is a pickle or a zip of pickles."""
    for file, content in pack(bundle(name)).items():
        assert file.rpartition(".")[2] in {"cbm", "ubj", "onnx", "json"}
        assert not content.startswith((b"\x80", b"PK"))


@every
def test_changed_files_are_refused(name: str) -> None:
    """A file that is changed, missing or added is refused by name."""
    files = pack(bundle(name))
    model = next(file for file in files if file != CARD)
    changed = bytes([files[model][0] ^ 1]) + files[model][1:]
    without = {file: content for file, content in files.items() if file != model}
    for wrong in ({**files, model: changed}, without, {**files, "extra.bin": b""}):
        with pytest.raises(ArtefactRejected) as caught:
            unpack(wrong, family())
        assert caught.value.part in {model, "extra.bin"}


def test_a_card_of_a_family_that_is_not_shipped_is_refused() -> None:
    """It is a wrong version, and no error of the moment that would let its rollout wait for ever."""
    with pytest.raises(ArtefactRejected, match="made-up: no such family"):
        unpack(pack(bundle("adaptive")))


@every
def test_unreadable_files_are_refused(name: str) -> None:
    """A registered file that is empty, junk or cut off is refused as any other, whatever its library does with it."""
    files = pack(bundle(name))
    whole = {file: content for file, content in files.items() if file != CARD}
    junk = [dict.fromkeys(whole, content) for content in (b"", b"no model", b"{}", b"null")]
    cut = [{**whole, file: content[: len(content) // part]} for file, content in whole.items() for part in (2, 3, 50)]
    for given in (*junk, *cut):
        hashes = {file: sha256(content).hexdigest() for file, content in given.items()}
        card = replace(Card.from_json(files[CARD]), files=hashes)
        with pytest.raises(ArtefactRejected, match="cannot be read"):
            unpack({**given, CARD: card.to_json().encode()}, family())


@every
def test_other_features_are_refused(name: str) -> None:
    """A version fitted on other features than the family has now is not loaded, and does not vote."""
    kind = family()
    fewer = kind.model_copy(update={"channels": dict(list(kind.channels.items())[:3])})
    with pytest.raises(ArtefactRejected):
        unpack(pack(bundle(name)), fewer)
    with pytest.raises(Unavailable):
        bundle(name).votes(make_feature_table([window(1)], [None], fewer))


@every
def test_votes_are_picklable(name: str) -> None:
    """Votes survive the hop from one process to another."""
    votes = bundle(name).votes(feature_table_of(mixed()), "7")
    copy = pickle.loads(pickle.dumps(votes))  # noqa: S301 (our own bytes)
    assert isinstance(copy, MemberVotes)
    np.testing.assert_array_equal(votes.anomaly, copy.anomaly)
    assert (copy.detector, set(copy.versions), copy.reasons) == (name, {"7"}, votes.reasons)


@every
def test_canary(name: str) -> None:
    """A fitted version scores the probe window; one whose calibration is broken does not pass for ready."""
    probe(bundle(name), family())
    broken = Bundle(replace(bundle(name).card, slope=float("nan")), bundle(name).detector)
    with pytest.raises(ArtefactRejected):
        probe(broken, family())


@every
def test_memory_is_bounded(name: str) -> None:
    """Voting keeps nothing: after many batches the process has grown by less than a hundredth of what they held."""
    table = feature_table_of([window(seed) for seed in range(64)] * 8, baseline())
    process = psutil.Process()
    for _ in range(5):
        fitted(name).vote(table)
    before = process.memory_info().rss
    for _ in range(60):
        fitted(name).vote(table)
    held = 60 * (table.raw.nbytes + table.read.nbytes)
    assert process.memory_info().rss - before < max(0.01 * held, 8 * 2**20)


@every
def test_no_channel_is_an_abstention(name: str) -> None:
    """A window without any channel gets no vote and the reason, and spoils no other window's vote."""
    votes = bundle(name).votes(feature_table_of([Window({}, 1.0), window(4)]))
    assert votes.reasons == (INSUFFICIENT, "")
    assert np.isnan(votes.anomaly[0])
    assert np.isfinite(votes.anomaly[1])


@supervised
def test_unknown_range_is_an_abstention(name: str) -> None:
    """A supervised member abstains far outside its examples; within them it votes."""
    far = Window({channel: 5 * values for channel, values in window(5).values.items()}, 1.0)
    votes = bundle(name).votes(feature_table_of([far, window(5)]))
    assert votes.reasons == (OUTSIDE, "")
    assert np.isnan(votes.heads["pump"][0]).all()
    assert votes.contributions is None or not votes.contributions[0].any()


@supervised
def test_one_class_cannot_be_learned(name: str) -> None:
    """Examples without a single anomaly are refused, not fitted on."""
    healthy = replace(examples(), anomaly=np.zeros(len(examples().anomaly), dtype=np.bool_))
    with pytest.raises(InvalidInput):
        registry()[name].fit(healthy, seed=3)


@supervised
def test_unseen_grade(name: str) -> None:
    """A grade that no example has keeps its place in the head, with next to no probability."""
    short = replace(examples(), heads={"pump": np.minimum(examples().heads["pump"], 1)})
    ballot = registry()[name].fit(short, seed=3).vote(feature_table_of(mixed()))
    assert ballot.heads["pump"].shape[1] == 3
    assert ballot.heads["pump"][:, 2].max() < 0.05


@pytest.mark.parametrize("name", ["catboost", "xgboost", "adaptive"])
def test_contributions_are_additive(name: str) -> None:
    """Contributions and their base are the log-odds of the raw score and, calibrated, of the vote."""
    table = feature_table_of([window(seed, pump=seed % 3) for seed in range(40)], baseline())
    ballot, votes = fitted(name).vote(table), bundle(name).votes(table)
    assert ballot.contributions is not None
    assert votes.contributions is not None
    raw = np.log(ballot.anomaly / (1 - ballot.anomaly))
    np.testing.assert_allclose(ballot.contributions.sum(axis=1) + ballot.base, raw, atol=1e-4)
    known = np.isfinite(votes.anomaly)
    calibrated = np.log(votes.anomaly / (1 - votes.anomaly))
    np.testing.assert_allclose((votes.contributions.sum(axis=1) + votes.base)[known], calibrated[known], atol=1e-3)


@pytest.mark.parametrize("name", ["catboost", "xgboost"])
def test_contributions_are_shapley_values(name: str) -> None:
    """Two columns that the model treats alike get alike shares; one that it never reads gets none."""
    plain = examples()
    table = plain.table
    constant = table.columns.index("pressure_flat")
    read = table.read.copy()
    read[:, constant] = np.nan
    member = registry()[name].fit(replace(plain, table=replace(table, read=read), heads={}), seed=3)
    shares = member.vote(replace(table, read=read)).contributions
    assert shares is not None
    assert (shares[:, constant] == 0).all()
    # Efficiency over a coalition game: the mean share over the fitted windows' own distribution is near nought.
    assert abs(shares.sum(axis=1).mean()) < 0.5 * np.abs(shares.sum(axis=1)).mean()


def test_adaptive_follows_the_baseline() -> None:
    """A machine that stands elsewhere than its family is normal by its own baseline, and a change on it is not."""

    def other(seed: int, flow: float) -> Window:
        values = dict(window(seed).values)
        return Window(values | {"flow": values["flow"] + flow}, 1.0)

    teach = feature_table_of([other(seed, 3.0) for seed in range(200, 260)]).raw
    own = Baseline(np.full(teach.shape[1], 60.0), teach.sum(axis=0), (teach * teach).sum(axis=0))
    table = make_feature_table(
        [other(300, 3.0), other(300, 3.0), other(301, 1.0)], [None, Normal.of(own), Normal.of(own)], family()
    )
    stranger, known, changed = fitted("adaptive").vote(table).anomaly
    assert known < stranger
    assert known < 0.5 < changed


def test_a_stranger_is_judged_by_its_own_baseline_or_not_at_all() -> None:
    """A strange machine is abstained on by every member; once its baseline has settled, the adaptive one judges it."""

    def stranger(seed: int, worn: int = 0) -> Window:
        return Window({channel: 3 * values for channel, values in window(seed, worn).values.items()}, 1.0)

    alone = {name: bundle(name).votes(feature_table_of([stranger(1)])).reasons for name in NAMES}
    assert alone == dict.fromkeys(NAMES, (OUTSIDE,))
    rows = feature_table_of([stranger(seed) for seed in range(400, 460)]).raw
    first, *rest = (learn(row) for row in rows)
    table = make_feature_table([stranger(500), stranger(501, worn=2)], [Normal.of(sum(rest, first))] * 2, family())
    normal, worn = bundle("adaptive").votes(table).anomaly
    assert normal < 0.5 < worn


def test_adaptive_bears_a_constant_baseline() -> None:
    """A feature that never varied in a baseline does not make the next window infinitely strange."""
    still = feature_table_of([window(20)] * 50).raw
    own = Baseline(np.full(still.shape[1], 50.0), still.sum(axis=0), (still * still).sum(axis=0))
    assert fitted("adaptive").vote(feature_table_of([window(21)], own)).anomaly[0] < 0.99


def test_adaptive_reads_no_anomaly() -> None:
    """The prior comes from healthy windows alone."""
    healthy = ~examples().anomaly
    wild = examples().table.raw.copy()
    wild[~healthy] *= 3
    other = replace(examples(), table=replace(examples().table, raw=wild))
    assert registry()["adaptive"].fit(other, seed=3).save() == fitted("adaptive").save()


def test_card_round_trip() -> None:
    """A card is the same after JSON; what is no card is refused."""
    card = replace(bundle("catboost").card, low=(None, 1.5), metrics={"auc": 0.9}, notes=("a",))
    assert Card.from_json(card.to_json()) == card
    for text in ("{}", "[]", "no json", json.dumps({"family": "x"})):
        with pytest.raises(ArtefactRejected):
            Card.from_json(text)


class Nearest:
    """A fifth detector, in full: how hot the oil is."""

    name: ClassVar[str] = "thermometer"
    supervised: ClassVar[bool] = False
    space: ClassVar[Mapping[str, tuple[float, ...]]] = {}

    def __init__(self, limit: float) -> None:
        self._limit = limit

    @classmethod
    def fit(cls, examples: Examples, seed: int, **settings: float) -> Self:
        column = examples.table.names.index("temperature_mean")
        return cls(float(np.nanmean(examples.table.raw[~examples.anomaly, column])) + 5)

    def vote(self, table: FeatureTable, detail: Detail = "full") -> Ballot:
        hot: Floats = table.raw[:, table.names.index("temperature_mean")] - self._limit
        return Ballot(1 / (1 + np.exp(-hot)))

    def save(self) -> dict[str, bytes]:
        return {"limit.json": json.dumps(self._limit).encode()}

    @classmethod
    def load(cls, files: Mapping[str, bytes]) -> Self:
        return cls(json.loads(files["limit.json"]))


def test_a_fifth_detector_costs_a_class_and_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its class in the registry a new member is fitted, packed, loaded and heard like the others."""
    monkeypatch.setattr(registered, "MEMBERS", (*registered.MEMBERS, Nearest))
    raw = Nearest.fit(examples(), 0).vote(examples().table).anomaly
    made = assemble(
        Nearest.fit(examples(), 0),
        family(),
        examples(),
        (raw, examples().heads["cooler"] == 1),
        fingerprint="0" * 64,
        seed=0,
    )
    loaded = unpack(pack(made), family())
    probe(loaded, family())
    table = feature_table_of([window(30), window(31, cooler=1)])
    votes = {name: bundle(name).votes(table) for name in NAMES} | {Nearest.name: loaded.votes(table, "1")}
    inspections = [Inspection(window(30), "made-up"), Inspection(window(31, cooler=1), "made-up")]
    cold, hot = judge(family(), inspections, table, votes, {}, quorum=5)
    assert [vote.detector for vote in hot.votes] == [*NAMES, "thermometer"]
    assert not cold.is_anomaly
    assert hot.affected == ("cooler",)


def test_registry_members_are_ranked_by_the_same_measure() -> None:
    """Every member of the registry tells a worn pump from a healthy one by the calibrated vote too."""
    table = feature_table_of([window(seed, pump=2 * (seed % 2)) for seed in range(700, 740)])
    worn = np.arange(700, 740) % 2 == 1
    for name in NAMES:
        assert auc(bundle(name).votes(table).anomaly, worn) > 0.95
