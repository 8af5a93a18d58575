"""Logs a training in MLflow: data, settings, figures, report, and a registered version of every detector."""

import io
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from hashlib import sha256
from typing import Any

from pipelines.detectors.bundle import CARD, Bundle, pack
from pipelines.errors import ArtefactRejected, InvalidInput
from pipelines.machines.family import Family, digest_of
from pipelines.promotion.description import DESCRIPTION
from pipelines.promotion.mlflow_client import OWN, Access, Registry, model_name
from pipelines.promotion.signing import SIGNATURE, Signer
from pipelines.training import flavor
from pipelines.training.tuning import Trial

CHALLENGER = "challenger"
UNKNOWN: Mapping[str, str] = {}


def publish(
    bundle: Bundle,
    family: Family,
    access: Access,
    signer: Signer | None,
    promote: bool,
    provenance: Mapping[str, str] = UNKNOWN,
    trials: Sequence[Trial] = (),
    tenant_id: int = 0,
) -> str:
    """Log one run and register one version, signed; return its number.

    The version gets the alias when the model has none yet, or when `promote` says so; otherwise it is the challenger.
    Where a champion that is not signed turns out to be this very version, it is signed, and no other one is registered.

    Args:
        bundle: To be registered.
        family: Its family.
        access: To the registry.
        signer: Signs the version; without one no replica takes it until `hdx sign` has.
        promote: Move the alias that people move.
        provenance: Logged as parameters.
        trials: Logged as runs below this one.
        tenant_id: Whose own model it is; 0 for one that all tenants share.

    Raises:
        InvalidInput: It is of a family that a tenant has defined, and of no tenant.
        ArtefactRejected: The registry holds other files than it was given.
    """
    card = bundle.card
    if card.definition and not tenant_id:
        raise InvalidInput("tenant", tenant_id, f"must be the one whose family {card.family} is")
    name = model_name(card.family, card.detector, tenant_id)
    files = pack(bundle)
    source = Registry(access)
    champion = source.champion(card.family, card.detector, tenant_id)
    if champion and signer and not source.is_signed(champion) and sign(source, signer, name, champion.version, files):
        return champion.version
    with logged_in(access):
        version = _register(name, bundle, family, files, provenance, trials, tenant_id)
    if signer and not sign(source, signer, name, version, files):
        raise ArtefactRejected(name, f"version {version}: the registry holds other files than it was given")
    source.point(name, access.alias if champion is None or promote else CHALLENGER, version)
    return version


def sign(source: Registry, signer: Signer, name: str, version: str, files: Mapping[str, bytes]) -> bool:
    """Sign a version that consists of these files and MLflow's own; tell whether it does.

    Raises:
        Unavailable: The registry does not answer.
    """
    found = source.download(source.release(name, version))
    if found != {**files, DESCRIPTION: found.get(DESCRIPTION)}:
        return False
    source.note(name, version, **{SIGNATURE: signer.sign(name, version, found)})
    return True


@contextmanager
def logged_in(access: Access) -> Iterator[None]:
    """Let MLflow's library reach the registry within the block; it takes a log-in from the environment alone."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # it is read as the library is imported
    import mlflow

    mlflow.set_tracking_uri(access.url)
    names = dict(zip(("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"), access.login, strict=True))
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(names)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def _register(
    name: str,
    bundle: Bundle,
    family: Family,
    files: Mapping[str, bytes],
    provenance: Mapping[str, str],
    trials: Sequence[Trial],
    tenant_id: int,
) -> str:
    """Log one run and register one version; return its number."""
    from mlflow.models import Model

    import mlflow

    card, digest = bundle.card, sha256(files[CARD]).hexdigest()
    # The library reports every step it takes on stdout and stderr; the caller reports the outcome.
    quiet = io.StringIO()
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    # What a tenant has defined is its own, runs included; other tenants' families may bear the same name.
    mlflow.set_experiment(f"hdx-{card.family}{OWN}{tenant_id}" if card.definition else f"hdx-{card.family}")
    with redirect_stdout(quiet), redirect_stderr(quiet), mlflow.start_run(run_name=card.detector):
        mlflow.log_params({"seed": card.seed, "rows": card.rows, "features": len(card.features)})
        mlflow.log_params({**card.settings, **provenance})
        mlflow.log_metrics({"skill_auc": card.skill, **card.metrics})
        mlflow.set_tags({"sha256": digest, "data_fingerprint": card.fingerprint, "detector": card.detector})
        mlflow.log_text(describe(bundle, family), "card.md")
        log_trials(trials)
        info = Model.log(
            artifact_path=None,
            name=card.detector,
            flavor=flavor,
            registered_model_name=name,
            files=files,
            signature=signature(bundle, family),
        )
    version = str(info.registered_model_version)
    _describe_version(name, version, bundle, family, digest)
    return version


def _describe_version(name: str, version: str, bundle: Bundle, family: Family, digest: str) -> None:
    """Tell of a version what it was made of."""
    import mlflow

    client, card = mlflow.MlflowClient(), bundle.card
    tags = {"sha256": digest, "data_fingerprint": card.fingerprint}
    if card.definition:
        tags["definition"] = digest_of(card.definition)
    for tag, value in tags.items():
        client.set_model_version_tag(name, version, tag, value)
    client.update_model_version(name, version, describe(bundle, family))


def log_trials(trials: Sequence[Trial]) -> None:
    """Log settings that were tried as runs below the present one."""
    import mlflow

    for number, trial in enumerate(trials):
        with mlflow.start_run(run_name=f"trial {number}", nested=True):
            mlflow.log_params(dict(trial.settings))
            mlflow.log_metrics({"log_loss": trial.loss, "auc": trial.auc})
            mlflow.set_tag("detector", trial.detector)


def log_evaluation(family: Family, figures: Mapping[str, Any], page: str, access: Access) -> str:
    """Log an evaluation on left-out data as a run of the family's experiment; return the run's id."""
    import mlflow

    with logged_in(access), redirect_stdout(io.StringIO()):
        mlflow.set_experiment(f"hdx-{family.name}")
        return _log_evaluation(figures, page)


def _log_evaluation(figures: Mapping[str, Any], page: str) -> str:
    import mlflow

    with mlflow.start_run(run_name="evaluation") as run:
        mlflow.set_tag("data_fingerprint", figures["fingerprint"])
        for row in figures["panels"]:
            measured = {name: row[name] for name in ("auc", "f1", "far", "mar", "ece", "abstained")}
            known = {f"{row['name']}_{name}": value for name, value in measured.items() if value is not None}
            mlflow.log_metrics(known)
        mlflow.log_text(page, "evaluation.html")
        mlflow.log_dict(dict(figures), "evaluation.json")
    run_id: str = run.info.run_id
    return run_id


def signature(bundle: Bundle, family: Family) -> "object":
    """Return features in and probabilities out, as MLflow writes them."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema

    def columns(names: Mapping[str, None] | tuple[str, ...] | list[str]) -> Schema:
        return Schema([ColSpec(DataType.double, name, required=False) for name in names])

    heads = [f"{head}={grade}" for head, spec in family.heads.items() for grade in spec.classes]
    return ModelSignature(columns(bundle.card.features), columns(["anomaly", *heads]))


def describe(bundle: Bundle, family: Family) -> str:
    """Return the model card for people, in Markdown."""
    card = bundle.card
    figures = "\n".join(f"| {name} | {value:.4f} |" for name, value in sorted(card.metrics.items()))
    components = ", ".join(family.components) or "none: this family names no component"
    notes = "\n".join(f"- {note}" for note in card.notes)
    return (
        f"# {card.detector} for {family.title}\n\n"
        f"Judges windows of {', '.join(family.channels)}; names components: {components}.\n\n"
        f"Fitted on {card.rows} windows, seed {card.seed}, data {card.fingerprint[:16]}. "
        "Figures are of groups left out of the fit.\n\n"
        f"| figure | value |\n|---|---|\n| AUC | {card.skill:.4f} |\n{figures}\n\n{notes}\n"
    )
