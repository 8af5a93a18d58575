"""Logs a training in MLflow: data, settings, figures, report, and a registered version of every detector."""

import io
import logging
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from hashlib import sha256
from typing import Any

from pipelines.detectors.bundle import CARD, Bundle, pack
from pipelines.errors import InvalidInput
from pipelines.machines.family import Family, digest_of
from pipelines.promotion.mlflow_client import OWN, Registry, model_name
from pipelines.training import flavor
from pipelines.training.tuning import Trial

CHALLENGER = "challenger"
UNKNOWN: Mapping[str, str] = {}


def publish(
    bundle: Bundle,
    family: Family,
    url: str,
    alias: str,
    promote: bool,
    provenance: Mapping[str, str] = UNKNOWN,
    trials: Sequence[Trial] = (),
    tenant_id: int = 0,
) -> str:
    """Log one run and register one version; return its number.

    The version gets the alias when the model has none yet, or when `promote` says so; otherwise it is the challenger.

    Args:
        bundle: To be registered.
        family: Its family.
        url: Of the MLflow server.
        alias: Of the version that people want to be live.
        promote: Move that alias.
        provenance: Logged as parameters.
        trials: Logged as runs below this one.
        tenant_id: Whose own model it is; 0 for one that all tenants share.

    Raises:
        InvalidInput: It is of a family that a tenant has defined, and of no tenant.
    """
    from mlflow.models import Model

    import mlflow

    card = bundle.card
    if card.definition and not tenant_id:
        raise InvalidInput("tenant", tenant_id, f"must be the one whose family {card.family} is")
    name = model_name(card.family, card.detector, tenant_id)
    files = pack(bundle)
    digest = sha256(files[CARD]).hexdigest()
    first = Registry(url, alias).champion(card.family, card.detector, tenant_id) is None
    mlflow.set_tracking_uri(url)
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
    mlflow.MlflowClient().set_registered_model_alias(name, alias if first or promote else CHALLENGER, version)
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


def log_evaluation(family: Family, figures: Mapping[str, Any], page: str, url: str) -> str:
    """Log an evaluation on left-out data as a run of the family's experiment; return the run's id."""
    import mlflow

    mlflow.set_tracking_uri(url)
    mlflow.set_experiment(f"hdx-{family.name}")
    with redirect_stdout(io.StringIO()), mlflow.start_run(run_name="evaluation") as run:
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
