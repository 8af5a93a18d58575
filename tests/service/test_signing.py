"""Rules of signed versions, on a real MLflow server: no replica uses what HDX has not signed, whoever writes there."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple, cast

import httpx
import numpy as np
import pytest
import typer
from pydantic import SecretStr
from rich.console import Console

from configs.gates import read_gates
from configs.settings import Database, Settings
from pipelines.datasets.simulator import simulate
from pipelines.detectors import bundle as bundles_module
from pipelines.detectors.bundle import Bundle, pack
from pipelines.errors import Conflict, InvalidInput, NotFound, Unavailable
from pipelines.machines.family import read_family
from pipelines.promotion import model_loader
from pipelines.promotion.mlflow_client import LIVE, PREVIOUS, Registry, model_name, request_promotion
from pipelines.promotion.model_loader import ModelLoader, take
from pipelines.promotion.rollout import Assignment, PromotionRequest, Rollout, next_transition
from pipelines.promotion.signing import SIGNATURE, Signer
from pipelines.promotion.tenant_models import TenantModels
from pipelines.signals.reading import make_feature_table
from pipelines.training.publish import publish
from serve_app.local import bootstrap
from serve_app.local.terminal import Steps
from serve_app.replicas import promoter as promoter_module
from serve_app.replicas.promoter import Promoter
from serve_app.shared.registry_access import access_of, signer_of
from tests.contract.stand_ins import settings_for
from tests.service.test_commission_command import hdx
from tests.service.tracking import PASSWORD, SIGNER, access_to, registry_at, tracking_server

FAMILY = read_family("generic")
DETECTOR = "adaptive"
NAME = model_name("generic", DETECTOR)
STRANGER = Signer(b"o" * 32)
Poison = Callable[["Poisoned", str, str], None]


class Poisoned(NamedTuple):
    """A registry that somebody else writes into: its tables over HTTP, and its files where they lie."""

    url: str
    artefacts: Path
    source: Registry
    bundle: Bundle

    def register(self, note: str, signer: Signer | None = SIGNER, tenant_id: int = 0, promote: bool = False) -> str:
        noted = replace(self.bundle, card=replace(self.bundle.card, notes=(note,)))
        return publish(noted, FAMILY, access_to(self.url), signer, promote, tenant_id=tenant_id)

    def folder(self, version: str, name: str = NAME) -> Path:
        return self.artefacts / self.source.release(name, version).path

    def write(self, version: str, files: dict[str, bytes], name: str = NAME) -> None:
        """Replace files where they lie, and the digest that the registry has of the card."""
        for file, content in files.items():
            (self.folder(version, name) / file).write_bytes(content)
        self.source.note(name, version, sha256=sha256(files["card.json"]).hexdigest())

    def signature(self, version: str, name: str = NAME) -> str:
        return self.source.release(name, version).signature

    def all_files(self, version: str) -> dict[str, bytes]:
        return {file.name: file.read_bytes() for file in self.folder(version).iterdir()}


@pytest.fixture(scope="module")
def poisoned(tmp_path_factory: pytest.TempPathFactory, bundles: dict[str, Bundle]) -> Iterator[Poisoned]:
    """A server whose version 1 is signed and live."""
    folder = tmp_path_factory.mktemp("poisoned")
    with tracking_server(folder) as url:
        made = Poisoned(url, folder / "artefacts", registry_at(url), bundles[DETECTOR])
        assert made.register("first") == "1"
        made.source.point(NAME, LIVE, "1")
        yield made


@pytest.fixture
def answering(poisoned: Poisoned) -> ModelLoader:
    """What a replica holds that answers with version 1."""
    loader = ModelLoader(poisoned.source, DETECTOR, ["generic"])
    loader.steer({"generic": Assignment("1", "", "", "", 0.0)})
    return loader


def evil(poisoned: Poisoned) -> dict[str, bytes]:
    """Return files that load and vote, surer than those of any version that HDX has made, with a card that fits."""
    bundle = poisoned.bundle
    return pack(replace(bundle, card=replace(bundle.card, intercept=bundle.card.intercept + 9.0)))


def files_and_tag(poisoned: Poisoned, version: str, _: str) -> None:
    poisoned.write(version, evil(poisoned))


def unsigned(poisoned: Poisoned, version: str, _: str) -> None:
    poisoned.source.note(NAME, version, **{SIGNATURE: ""})


def no_base64(poisoned: Poisoned, version: str, _: str) -> None:
    poisoned.source.note(NAME, version, **{SIGNATURE: "what?"})


def by_a_stranger(poisoned: Poisoned, version: str, _: str) -> None:
    signed = STRANGER.sign(NAME, version, poisoned.all_files(version))
    poisoned.source.note(NAME, version, **{SIGNATURE: signed})


def signature_of_another(poisoned: Poisoned, version: str, other: str) -> None:
    poisoned.source.note(NAME, version, **{SIGNATURE: poisoned.signature(other)})


def another_whole(poisoned: Poisoned, version: str, other: str) -> None:
    """All of another version, which HDX has signed: files, MLflow's description, tag and signature."""
    poisoned.write(version, poisoned.all_files(other))
    signature_of_another(poisoned, version, other)


def a_file_more(poisoned: Poisoned, version: str, _: str) -> None:
    (poisoned.folder(version) / "more.json").write_text("{}")


def a_file_less(poisoned: Poisoned, version: str, _: str) -> None:
    next(file for file in poisoned.folder(version).iterdir() if file.name not in ("card.json", "MLmodel")).unlink()


def description(poisoned: Poisoned, version: str, _: str) -> None:
    path = poisoned.folder(version) / "MLmodel"
    path.write_text(path.read_text() + "more: 1\n")


@pytest.mark.parametrize(
    "poison",
    [
        files_and_tag,
        unsigned,
        no_base64,
        by_a_stranger,
        signature_of_another,
        another_whole,
        a_file_more,
        a_file_less,
        description,
    ],
)
def test_no_replica_answers_with_what_is_not_signed(
    poisoned: Poisoned, answering: ModelLoader, poison: Poison, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor parses a byte of it; the version before answers on, the replicas say why, and the alias goes back."""
    version, other = poisoned.register(f"{poison.__name__}"), poisoned.register(f"beside {poison.__name__}")
    take(poisoned.source, NAME, version)
    poison(poisoned, version, other)
    table = make_feature_table([simulate("healthy", 0.0, 60, 1)], [None], FAMILY)
    before = answering.vote("generic", table)
    with monkeypatch.context() as patch:
        patch.setattr(model_loader, "unpack", lambda _: pytest.fail("is unpacked"))
        patch.setattr(bundles_module.Card, "from_json", lambda _: pytest.fail("is parsed"))
        answering.steer({"generic": Assignment("1", "", version, "urgent", 0.0)})
        answering.steer({"generic": Assignment(version, "", "", "", 0.0)})
    votes = answering.vote("generic", table)
    assert votes.versions == ("1",)
    np.testing.assert_array_equal(votes.anomaly, before.anomaly)
    (status,) = answering.statuses()
    assert status.version == "1"
    assert not status.scored_probe
    assert f"`hdx sign {NAME} {version}`" in status.reason
    answering.steer({"generic": Assignment("1", "", version, "urgent", 0.0)})
    state = poisoned.source.state(NAME)._replace(champion=version, rollout=Rollout(version, "urgent", 0.0))
    step = next_transition(state, [answering.report()], "generic", None, read_gates(), 1.0)
    assert step.kind == "back"
    assert "sign" in step.reason


def test_a_request_for_an_unsigned_version_moves_nothing(poisoned: Poisoned) -> None:
    """By the API or the command line, urgent or not, and for a tenant's own model as for a shared one."""
    poisoned.register("own", tenant_id=7)
    for name, tenant_id in ((NAME, 0), (model_name("generic", DETECTOR, 7), 7)):
        version, before = poisoned.register("unsigned", None, tenant_id), poisoned.source.state(name)
        for reason in ("", "in a hurry"):
            with pytest.raises(Conflict, match="is not signed"):
                request_promotion(poisoned.source, PromotionRequest(name, version, "ann", reason))
        assert poisoned.source.state(name) == before


def test_a_signed_version_is_moved_and_taken_back(poisoned: Poisoned) -> None:
    """The alias may move among versions that HDX has signed, and answers of old ones are replayed."""
    version = poisoned.register("signed")
    assert request_promotion(poisoned.source, PromotionRequest(NAME, version, "ann")) == version
    poisoned.source.promote(NAME, "1")
    poisoned.source.begin(NAME, None)
    loader = ModelLoader(poisoned.source, DETECTOR, ["generic"])
    assert [loader.past("generic", each).release.version for each in ("1", version)] == ["1", version]


def test_another_version_than_was_asked_for_is_none(poisoned: Poisoned, monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry that hands out another one of its signed versions, whole and called what it is, is not believed."""
    version, lying = poisoned.register("asked for"), registry_at(poisoned.url)
    ask = lying._ask

    def another(method: str, route: str, **content: Any) -> httpx.Response:
        named = content.get("params", {})
        return ask(method, route, **content | ({"params": named | {"version": "1"}} if "version" in named else {}))

    monkeypatch.setattr(lying, "_ask", another)
    assert take(lying, NAME, "1").release.version == "1"
    with pytest.raises(NotFound):
        take(lying, NAME, version)


def test_a_signature_is_of_one_tenant_alone(poisoned: Poisoned) -> None:
    """The very same files, version number and signature are not another tenant's model."""
    mine, theirs = (model_name("generic", DETECTOR, tenant) for tenant in (21, 22))
    assert poisoned.register("tenants", tenant_id=21) == poisoned.register("tenants", tenant_id=22) == "1"
    path = poisoned.folder("1", mine) / "MLmodel"
    (poisoned.folder("1", theirs) / "MLmodel").write_bytes(path.read_bytes())
    take(poisoned.source, mine, "1")
    poisoned.source.note(theirs, "1", **{SIGNATURE: poisoned.signature("1", mine)})
    with pytest.raises(Unavailable, match="signature that does not hold"):
        take(poisoned.source, theirs, "1")


def test_a_tenants_model_stays_where_the_alias_moves_to_an_unsigned_version(poisoned: Poisoned) -> None:
    """Its windows go on meeting the version before, until the alias names one that is signed."""
    tenants = TenantModels(poisoned.source, 60)
    poisoned.register("own", tenant_id=31)
    tenants.look()
    poisoned.register("not signed", None, tenant_id=31, promote=True)
    tenants.look()
    assert tenants.of("generic", 31) == ((DETECTOR, "t31/1"),)
    poisoned.register("signed", tenant_id=31, promote=True)
    tenants.look()
    assert tenants.of("generic", 31) == ((DETECTOR, "t31/3"),)


async def test_the_promoter_makes_no_unsigned_version_live(
    poisoned: Poisoned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even where the registry calls it the previous one, which asks no gate: the alias goes back."""
    version = poisoned.register("called previous", None)
    poisoned.source.point(NAME, PREVIOUS, version)
    poisoned.source.promote(NAME, version)
    monkeypatch.setattr(promoter_module, "keep_to_node_address", lambda: None)
    nowhere = Database(url=SecretStr("postgresql+psycopg://hdx@127.0.0.1:1/hdx"))
    promoter = cast(Any, Promoter).func_or_class(settings_for(tmp_path, database=nowhere))
    promoter._registry = poisoned.source
    promoter._begun = 0.0
    model = (DETECTOR, "generic")
    promoter._states = {model: poisoned.source.state(NAME)}
    await promoter._step(model)
    state = poisoned.source.state(NAME)
    assert (state.champion, state.live) == ("1", "1")
    tags = poisoned.source._get("/api/2.0/mlflow/model-versions/get", name=NAME, version=version).json()
    told = {tag["key"]: tag["value"] for tag in tags["model_version"]["tags"]}
    assert told["rollout"] == "sent back"
    assert "is not signed" in told["rollout_reason"]
    poisoned.source.point(NAME, PREVIOUS, "1")


def test_what_another_house_signed_counts_where_its_key_is_known(poisoned: Poisoned) -> None:
    """So a secret is changed, or a machine trains for another, without a version being signed anew."""
    version = poisoned.register("elsewhere", STRANGER)
    with pytest.raises(Unavailable, match="does not hold"):
        take(poisoned.source, NAME, version)
    both = replace(access_to(poisoned.url), signers=(SIGNER.public, STRANGER.public))
    assert take(Registry(both), NAME, version).release.version == version


def test_what_is_made_again_to_the_byte_is_signed(poisoned: Poisoned) -> None:
    """A training that comes out as the unsigned champion signs it; another one leaves it as it is."""
    assert poisoned.register("of before", None, tenant_id=41) == "1"
    name = model_name("generic", DETECTOR, 41)
    assert poisoned.register("another", tenant_id=41) == "2"
    assert not poisoned.signature("1", name)
    assert poisoned.register("of before", tenant_id=41) == "1"
    assert take(poisoned.source, name, "1").release.version == "1"
    assert poisoned.register("of before", tenant_id=41) == "3"  # as ever, once it is signed


@pytest.fixture
def house(poisoned: Poisoned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """The registry as commands see it; they sign by the secret of the house."""
    monkeypatch.chdir(tmp_path)
    names = {"MLFLOW_URL": poisoned.url, "MLFLOW_PASSWORD": PASSWORD, "SECRET_KEY": "k" * 64, "HOME": str(tmp_path)}
    for name, value in names.items():
        monkeypatch.setenv(f"HDX_{name}", value)
    return Registry(access_of(Settings()))


def test_people_sign_what_came_from_elsewhere(poisoned: Poisoned, house: Registry) -> None:
    """`hdx sign` shows every file, signs for a yes or for the card that is meant, and refuses what no replica takes."""
    version = poisoned.register("from a notebook", None)
    card = poisoned.source.release(NAME, version).sha256
    with pytest.raises(InvalidInput, match="must be that of the version's card"):
        hdx("sign", NAME, version, "--sha256", "0" * 64)
    with pytest.raises(typer.Abort):
        hdx("sign", NAME, version)
    assert not house.is_signed(house.release(NAME, version))
    shown = hdx("sign", NAME, version, "--sha256", card)
    assert all(file in shown for file in poisoned.all_files(version))
    assert take(house, NAME, version).release.version == version
    assert not poisoned.source.is_signed(poisoned.source.release(NAME, version))  # by another house's key
    broken = poisoned.register("broken", None)
    poisoned.write(broken, evil(poisoned) | {"card.json": b"{}"})
    with pytest.raises(Unavailable):
        hdx("sign", NAME, broken, "--sha256", sha256(b"{}").hexdigest())
    assert hdx("sign", "--key").strip() == signer_of(Settings()).public.hex()


def test_a_start_signs_nothing_for_being_there(
    poisoned: Poisoned, house: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Versions that nobody has signed, and that training does not make again, are named with what signs them."""
    calls: list[list[str]] = []
    monkeypatch.setattr(bootstrap, "command", lambda _, words, __: calls.append(words))
    settings = Settings()
    poisoned.source.note(NAME, "1", **{SIGNATURE: ""})
    console = Console(record=True, width=1000)
    bootstrap.train_when_absent(settings, Steps(console), {})
    assert calls == [["train", "--family", "generic"]]
    assert f"`hdx sign {NAME} 1`" in console.export_text()
    strict = settings.model_copy(update={"models": settings.models.model_copy(update={"quorum": 4})})
    with pytest.raises(Unavailable, match=f"`hdx sign {NAME} 1`"):
        bootstrap.train_when_absent(strict, Steps(console), {})
    assert not poisoned.signature("1")
    signed = SIGNER.sign(NAME, "1", poisoned.all_files("1"))
    poisoned.source.note(NAME, "1", **{SIGNATURE: signed})


def test_mlflow_answers_whoever_logs_in(poisoned: Poisoned) -> None:
    """Its pages and all of its routes; what says that it is well does so to all, and no more."""
    models, login = "/api/2.0/mlflow/registered-models/search", access_to(poisoned.url).login
    artefact = f"/api/2.0/mlflow-artifacts/artifacts/{poisoned.source.release(NAME, '1').path}/card.json"
    ajax = models.replace("/api/", "/ajax-api/")
    with httpx.Client(base_url=poisoned.url) as stranger:
        for route in (
            "/",
            "/version",
            "/static-files/x.js",
            "/health/",
            "/metrics",
            models,
            ajax,
            artefact,
            "/graphql",
        ):
            for auth in (None, ("hdx", ""), ("hdx", "guess"), ("", PASSWORD), ("hdx:", PASSWORD)):
                answer = stranger.get(route, auth=auth)
                assert (answer.status_code, answer.text) == (401, "log in"), (route, auth)
        for header in ("Basic", "Basic !", "Basic /w==", f"Bearer {PASSWORD}", f"basic {PASSWORD}"):
            assert stranger.get(models, headers={"Authorization": header}).status_code == 401
        assert stranger.get("/health").text == "OK"
        assert "Basic" in stranger.get("/").headers["www-authenticate"]
        assert stranger.get("/", auth=login).is_success
        assert stranger.get(artefact, auth=login).is_success


def test_a_page_of_another_origin_borrows_no_log_in(poisoned: Poisoned) -> None:
    """A browser that has logged in sends it along for whoever asks, also for a page of another port of the machine."""
    route, login = "/ajax-api/2.0/mlflow/registered-models/search", access_to(poisoned.url).login
    for origin in ("http://127.0.0.1:1", "http://localhost:3000", "https://example.com", "null"):
        assert httpx.get(f"{poisoned.url}{route}", auth=login, headers={"Origin": origin}).status_code == 403
    assert httpx.get(f"{poisoned.url}{route}", auth=login, headers={"Origin": poisoned.url}).is_success


def test_a_wrong_log_in_is_named(poisoned: Poisoned) -> None:
    """Whoever runs HDX is told which settings are wrong."""
    with pytest.raises(Unavailable, match="HDX_MLFLOW_PASSWORD"):
        Registry(replace(access_to(poisoned.url), login=("hdx", "guess"))).state(NAME)
