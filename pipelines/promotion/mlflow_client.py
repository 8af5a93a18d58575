"""Reads from an MLflow server which versions of a model stand where, fetches their files, and moves aliases and tags.

No file of a version is read before its signature holds. Replicas use it in place of MLflow's own library, which takes
170 MB and three seconds in each.

Source: MLflow 3 REST API, `registered-models`, `model-versions` and the artefact proxy.
"""

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import httpx

from pipelines.detectors.bundle import CARD, Bundle, unpack
from pipelines.errors import ArtefactRejected, Conflict, NotFound, Unavailable
from pipelines.promotion.description import DESCRIPTION, check_signature
from pipelines.promotion.rollout import ModelState, PromotionRequest, Rollout, Stage
from pipelines.promotion.signing import SIGNATURE, check_signed

PROXY = "mlflow-artifacts:/"
TIMEOUT_S = 10.0  # between two pieces of an answer
# Of a whole answer. Source: own choice; a version's largest file has some megabytes, a page of a thousand models one.
ANSWER_S, ANSWER_BYTES = 30.0, 256 * 2**20
PREFIX = "hdx-"
# Beside the alias that people move, these two say what the replicas follow; only HDX moves them.
LIVE, PREVIOUS = "live", "previous"
WEBHOOK = "hdx"
ROLLOUT = "rollout"  # tag of a registered model while a version is on its way in
PAGE = 1000
OWN = ".t"  # before the tenant, in the name of a model that is one tenant's alone
DIGITS = re.compile(r"[1-9][0-9]*")


def model_name(family: str, detector: str, tenant_id: int = 0) -> str:
    """Return the registered model's name; with a tenant, that of the tenant's own model."""
    shared = f"{PREFIX}{family}-{detector}"
    return f"{shared}{OWN}{tenant_id}" if tenant_id else shared


def owner_of(name: str) -> int:
    """Return the tenant that a registered model is of, 0 for one that all share."""
    _, mark, tenant = name.rpartition(OWN)
    return int(tenant) if mark and DIGITS.fullmatch(tenant) else 0


def family_of(name: str, detector: str) -> str:
    """Return the family in a registered model's name."""
    return name.removeprefix(PREFIX).removesuffix(f"-{detector}")


@dataclass(frozen=True, slots=True)
class Release:
    """A registered version.

    Attributes:
        sha256: Of its card, which carries those of its other files.
        path: Of its files, below the artefact proxy.
        signature: As its tag has it; empty where there is none.
    """

    name: str
    version: str
    sha256: str
    path: str
    signature: str = ""


@dataclass(frozen=True, slots=True)
class Access:
    """How a registry is reached, and whose versions are believed.

    Attributes:
        url: Of the MLflow server.
        alias: Of the version that people want to be live.
        login: User and password.
        signers: Public keys; a version is used when one of them has signed it.
    """

    url: str
    alias: str
    login: tuple[str, str] = field(repr=False)
    signers: tuple[bytes, ...]


class Registry:
    """Reads one MLflow server, and moves what stands in it."""

    def __init__(self, access: Access) -> None:
        self._client = httpx.Client(base_url=access.url, auth=access.login, timeout=TIMEOUT_S)
        self._alias = access.alias
        self._signers = access.signers

    def states(self, detector: str) -> dict[str, ModelState]:
        """Return what stands where for every family's model of a detector, in one request.

        Raises:
            Unavailable: The registry does not answer.
        """
        wanted = f"name LIKE '{PREFIX}%-{detector}'"
        answer = self._get("/api/2.0/mlflow/registered-models/search", filter=wanted, max_results=str(PAGE))
        found = self._read(answer).get("registered_models", [])
        return {family_of(model["name"], detector): self._state(model) for model in found}

    def owned(self) -> dict[tuple[str, int], dict[str, str]]:
        """Return the champions of all models that are one tenant's own: version by detector, by family and tenant.

        Raises:
            Unavailable: The registry does not answer.
        """
        found: dict[tuple[str, int], dict[str, str]] = {}
        for model in self._search(f"name LIKE '{PREFIX}%{OWN}%'"):
            state, owner = self._state(model), owner_of(model["name"])
            family, _, detector = state.name.removesuffix(f"{OWN}{owner}").removeprefix(PREFIX).rpartition("-")
            if owner and state.champion:
                found.setdefault((family, owner), {})[detector] = state.champion
        return found

    def _search(self, wanted: str) -> Iterator[Mapping[str, Any]]:
        """Yield all registered models of a filter, page by page."""
        token = ""
        while True:
            page = {"page_token": token} if token else {}
            route = "/api/2.0/mlflow/registered-models/search"
            answer = self._read(self._get(route, filter=wanted, max_results=str(PAGE), **page))
            yield from answer.get("registered_models", [])
            token = answer.get("next_page_token", "")
            if not token:
                return

    def state(self, name: str) -> ModelState:
        """Return what stands where for one model.

        Raises:
            NotFound: There is none of that name.
            Unavailable: The registry does not answer.
        """
        answer = self._get("/api/2.0/mlflow/registered-models/get", name=name)
        if answer.status_code == 404:
            raise NotFound("model", name)
        return self._state(self._read(answer)["registered_model"])

    def _state(self, model: Mapping[str, Any]) -> ModelState:
        aliases = {entry["alias"]: str(entry["version"]) for entry in model.get("aliases", [])}
        tags = {tag["key"]: tag["value"] for tag in model.get("tags", [])}
        champion = aliases.get(self._alias, "")
        return ModelState(
            name=model["name"],
            champion=champion,
            live=aliases.get(LIVE, champion),
            previous=aliases.get(PREVIOUS, ""),
            adopted=LIVE in aliases,
            rollout=Rollout.from_json(tags.get(ROLLOUT, "")),
        )

    def champion(self, family: str, detector: str, tenant_id: int = 0) -> Release | None:
        """Return the version that the alias names, None when there is none.

        Raises:
            Unavailable: The registry does not answer.
        """
        name = model_name(family, detector, tenant_id)
        answer = self._get("/api/2.0/mlflow/registered-models/alias", name=name, alias=self._alias)
        # An unknown model is 404, an unknown alias of a known one 400.
        if answer.status_code in (400, 404):
            return None
        return self._release(name, self._read(answer)["model_version"])

    def live(self, family: str, detector: str) -> Release:
        """Return the version that the replicas answer with.

        Raises:
            NotFound: There is none.
            Unavailable: The registry does not answer.
        """
        state = self.state(model_name(family, detector))
        if not state.live:
            raise NotFound("champion of", state.name)
        return self.release(state.name, state.live)

    def release(self, name: str, version: str) -> Release:
        """Return a version by its number.

        Raises:
            NotFound: There is none.
            Unavailable: The registry does not answer.
        """
        answer = self._get("/api/2.0/mlflow/model-versions/get", name=name, version=version)
        found = {} if answer.status_code in (400, 404) else self._read(answer)["model_version"]
        if str(found.get("version")) != version:  # another one than was asked for may be signed, too
            raise NotFound("model version", f"{name}/{version}")
        return self._release(name, found)

    def _release(self, name: str, found: Mapping[str, Any]) -> Release:
        tags = {tag["key"]: tag["value"] for tag in found.get("tags", [])}
        version = str(found["version"])
        return Release(name, version, tags.get("sha256", ""), self._path(name, version), tags.get(SIGNATURE, ""))

    def _path(self, name: str, version: str) -> str:
        answer = self._get("/api/2.0/mlflow/model-versions/get-download-uri", name=name, version=version)
        uri: str = self._read(answer)["artifact_uri"]
        if not uri.startswith(PROXY):
            raise Unavailable("registry", "its artefacts are not served by the MLflow server itself")
        return uri.removeprefix(PROXY).lstrip("/")

    def fetch(self, release: Release) -> dict[str, bytes]:
        """Return a signed version's files, by name.

        Raises:
            ArtefactRejected: It is not signed as it is, the card is missing or is not the registered one, or MLflow's
                signature is another.
            Unavailable: The registry does not answer.
        """
        files = self.download(release)
        check_signed(release.name, release.version, files, release.signature, self._signers)
        return check_files(release, files)

    def is_signed(self, release: Release) -> bool:
        """Tell whether a version may be used.

        Raises:
            Unavailable: The registry does not answer.
        """
        try:
            self.fetch(release)
        except ArtefactRejected:
            return False
        return True

    def download(self, release: Release) -> dict[str, bytes]:
        """Return all files that the registry has of a version, by name, whoever wrote them.

        Raises:
            Unavailable: The registry does not answer.
        """
        names = self._files(release)
        answers = {name: self._get(f"/api/2.0/mlflow-artifacts/artifacts/{release.path}/{name}") for name in names}
        for answer in answers.values():
            if answer.status_code >= 500:  # of the moment: no reason to reject the version for good
                self._read(answer)
        return {name: answer.content for name, answer in answers.items() if answer.is_success}

    def present(self, release: Release, names: Sequence[str]) -> bool:
        """Tell whether the artefact store still lists these files.

        Raises:
            Unavailable: The registry does not answer.
        """
        return set(names) <= set(self._files(release))

    def _files(self, release: Release) -> list[str]:
        answer = self._get("/api/2.0/mlflow-artifacts/artifacts", path=release.path)
        return [entry["path"] for entry in self._read(answer).get("files", []) if not entry["is_dir"]]

    def point(self, name: str, alias: str, version: str) -> None:
        """Let an alias name a version.

        Raises:
            NotFound: There is no such version.
            Unavailable: The registry does not answer.
        """
        answer = self._post("/api/2.0/mlflow/registered-models/alias", name=name, alias=alias, version=version)
        if answer.status_code in (400, 404):
            raise NotFound("model version", f"{name}/{version}")
        self._read(answer)

    def promote(self, name: str, version: str) -> None:
        """Let the alias that people move name a version, as a click in MLflow does.

        Raises:
            NotFound: There is no such version.
            Unavailable: The registry does not answer.
        """
        self.point(name, self._alias, version)

    def begin(self, name: str, rollout: Rollout | None) -> None:
        """Note on the model which version is on its way in; None: none is.

        Raises:
            Unavailable: The registry does not answer.
        """
        # An empty value and not a deletion: deleting a tag that is not there is an error.
        value = rollout.to_json() if rollout else ""
        self._read(self._post("/api/2.0/mlflow/registered-models/set-tag", name=name, key=ROLLOUT, value=value))

    def note(self, name: str, version: str, **tags: str) -> None:
        """Write tags on a version.

        Raises:
            Unavailable: The registry does not answer.
        """
        for key, value in tags.items():
            route = "/api/2.0/mlflow/model-versions/set-tag"
            self._read(self._post(route, name=name, version=version, key=key, value=value))

    def subscribe(self, url: str, secret: str) -> None:
        """Let the registry call this address whenever an alias moves; one that does already is made anew.

        Raises:
            Unavailable: The registry does not answer, or refuses.
        """
        route = "/api/2.0/mlflow/webhooks"
        for known in self._read(self._get(route)).get("webhooks", []):
            if known["name"] == WEBHOOK:
                self._ask("DELETE", f"{route}/{known['webhook_id']}")
        events = [{"entity": "MODEL_VERSION_ALIAS", "action": action} for action in ("CREATED", "DELETED")]
        body = {"name": WEBHOOK, "url": url, "events": events, "secret": secret, "status": "ACTIVE"}
        self._read(self._ask("POST", route, json=body))

    def _get(self, route: str, **parameters: str) -> httpx.Response:
        return self._ask("GET", route, params=parameters)

    def _post(self, route: str, **body: str) -> httpx.Response:
        return self._ask("POST", route, json=body)

    def _ask(self, method: str, route: str, **content: Any) -> httpx.Response:
        """Send a request and read the whole answer; httpx itself limits only the time between two pieces of it."""
        end, read = time.monotonic() + ANSWER_S, bytearray()
        try:
            with self._client.stream(method, route, **content) as answer:
                for piece in answer.iter_bytes():
                    read += piece
                    if len(read) > ANSWER_BYTES or time.monotonic() > end:
                        raise Unavailable("registry", "does not come to the end of its answer")
                return httpx.Response(answer.status_code, content=bytes(read))
        except (httpx.HTTPError, httpx.InvalidURL):
            raise Unavailable("registry", "does not answer") from None

    @staticmethod
    def _read(answer: httpx.Response) -> dict[str, Any]:
        if answer.status_code == 401:
            raise Unavailable("registry", "refuses the log-in: see HDX_MLFLOW_USERNAME and HDX_MLFLOW_PASSWORD")
        if not answer.is_success:
            raise Unavailable("registry", f"answers with status {answer.status_code}")
        try:
            content = answer.json()
        except (ValueError, RecursionError):
            content = None
        if not isinstance(content, dict):
            raise Unavailable("registry", "does not answer in JSON")
        return content


def check_files(release: Release, files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return a version's files without MLflow's own, once they go together.

    Raises:
        ArtefactRejected: The card is missing or is not the registered one, or MLflow's signature is another.
    """
    if CARD not in files or sha256(files[CARD]).hexdigest() != release.sha256:
        raise ArtefactRejected(release.name, f"version {release.version}: the card is not the registered one")
    check_signature(files.get(DESCRIPTION, b""), files[CARD])
    return {name: content for name, content in files.items() if name != DESCRIPTION}


def load_members(registry: Registry, family: str, names: Sequence[str]) -> Mapping[str, Bundle]:
    """Return what the replicas answer with for a family, by detector.

    Raises:
        NotFound: A detector has no version that is live.
        Unavailable: The registry does not answer, or a version does not load.
    """
    members = {}
    for name in names:
        members[name] = unpack(registry.fetch(registry.live(family, name)))
    return members


def request_promotion(source: Registry, request: PromotionRequest) -> str:
    """Write a request into the registry, where the promoter finds it; return the version that shall answer.

    Raises:
        NotFound: There is no such model or version.
        Conflict: There is nothing to go back to, or the version is not signed.
        Unavailable: The registry does not answer.
    """
    state = source.state(request.name)
    if not request.version:
        under_way = state.champion != state.live
        version = state.live if under_way else state.previous
        if not version:
            raise Conflict("model", request.name, "must have a previous version")
        source.promote(request.name, version)
        return version
    try:
        source.fetch(source.release(request.name, request.version))
    except ArtefactRejected as error:
        raise Conflict("version", request.version, f"must be one that replicas take ({error})") from None
    source.promote(request.name, request.version)
    # A tenant's own model has no rollout: its replicas' next look at the directory makes it live.
    if request.version != state.live and not owner_of(request.name):
        stage: Stage = "urgent" if request.reason else "shadow"
        source.begin(request.name, Rollout(request.version, stage, time.time(), request.actor, request.reason))
    return request.version
