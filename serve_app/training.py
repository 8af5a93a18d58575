"""Trains the detectors of a machine kind that a tenant has defined, on its labels and its feedback, as its own models.

Stands on the store and the registry, and knows neither HTTP nor a terminal.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from configs.settings import Settings
from pipelines.datasets.feedback import Remark
from pipelines.detectors.adaptive import Adaptive
from pipelines.detectors.bundle import Bundle
from pipelines.detectors.members import registry
from pipelines.detectors.untrained import untrained
from pipelines.errors import UnknownFamily
from pipelines.machines.commissioning import Normal
from pipelines.machines.definition import find_family
from pipelines.machines.family import Family, digest_of, family_names
from pipelines.machines.labelling import OTHER_READING, Label, reading_digest, with_labels
from pipelines.promotion.mlflow_client import Registry, model_name
from pipelines.promotion.model_loader import take
from pipelines.signals.reading import is_known
from pipelines.training.labelled_family import Prepared
from pipelines.training.publish import publish
from pipelines.training.run import Plan, learn
from pipelines.training.train import Progress
from serve_app.shared.registry_access import access_of, signer_of
from serve_app.store.records import Labelled
from serve_app.store.repository import Store

Tell = Callable[[str], object]


class Registered(NamedTuple):
    """A version that a training has made: the model's name, its number, and its area under the ROC curve."""

    name: str
    version: str
    skill: float


async def remarks_on(store: Store, tenant_id: int, family: Family, most: int, tell: Tell) -> list[Remark]:
    """Return what a tenant's people said of windows of a family that it has defined, in the order of time.

    Windows of a version of the family that read others numbers, or of machines without a normal, are left out.

    Args:
        most: Windows, the newest words first.
        tell: Told what is left out.
    """
    found = await store.feedback.labelled(family.name, most, tenant_id, own=True)
    readings = {key: await _reading(store, tenant_id, key) for key in sorted({each.family for each in found})}
    same = [each for each in found if readings[each.family] == reading_digest(family)]
    known = [each for each in same if _has_normal(each, family)]
    for count, why in (
        (len(found) - len(same), "of other channels, units or window length than the family has now"),
        (len(same) - len(known), "of machines that were not commissioned then"),
    ):
        if count:
            tell(f"  feedback left out: {count} windows {why}")
    tell(f"  feedback: {len(known)} windows, {sum(each.truth for each in known)} of them anomalous")
    ordered = sorted(known, key=lambda each: (each.system_id, each.answered_at, each.trace_id))
    return [
        Remark(f"{each.tenant_id}/{each.system_id}", each.window, each.baseline, each.truth, each.component)
        for each in ordered
    ]


def members_of_own(source: Registry, tenant_id: int, family: Family, tell: Tell) -> tuple[Family, dict[str, Bundle]]:
    """Return who judges a family that a tenant has defined, as the service asks them, and the family as they name it.

    Raises:
        Unavailable: The registry does not answer, or a champion does not load.
    """
    members: dict[str, Bundle] = {}
    known: dict[str, Label] = {}
    for detector in registry():
        release = source.champion(family.name, detector, tenant_id)
        if release is None:
            continue
        bundle = take(source, release.name, release.version).bundle
        labels = [each._replace(head=each.component) for each in bundle.card.labels]
        if reading_digest(bundle.family) != reading_digest(family):
            tell(f"  {release.name} {release.version}: {OTHER_READING}")
        elif any(known.get(each.component, each) != each for each in labels):
            tell(f"  {release.name} {release.version}: was trained on other grades than {', '.join(members)}")
        else:
            members[detector] = bundle
            known |= {each.component: each for each in labels}
    members.setdefault(Adaptive.name, untrained(Adaptive.name, family))
    return with_labels(family, tuple(known[name] for name in sorted(known))), members


async def _reading(store: Store, tenant_id: int, key: str) -> str:
    """Return how windows of one version of a family are read."""
    return reading_digest(find_family(key, (await store.families.of_key(tenant_id, key)).definition))


def _has_normal(said: Labelled, family: Family) -> bool:
    return said.baseline is not None and is_known(Normal.from_bytes(said.baseline), family)


def train_own(
    settings: Settings, tenant_id: int, version: int, prepared: Prepared, plan: Plan, promote: bool, step: Progress
) -> list[Registered]:
    """Fit every detector, and register each as the tenant's own model.

    Args:
        settings: Name the registry.
        tenant_id: Whose family it is.
        version: Of the family.
        prepared: What is learned.
        plan: Seed, trials and workers.
        promote: Make the new versions champions even where there are some.
        step: Told how far it is.

    Raises:
        InvalidInput: The labels cannot be split.
        UnknownFamily: The family is none that a tenant has defined.
    """
    family = prepared.family
    if not family.definition:
        raise UnknownFamily(family.name, family_names())
    learned = learn(family, prepared.recordings, prepared.remarks, plan, step)
    told: Mapping[str, str] = {"family_version": str(version), "definition": digest_of(family.definition)}
    found, access, signer = [], access_of(settings), signer_of(settings)
    for number, (bundle, tried, provenance) in enumerate(learned):
        step(f"register {bundle.card.detector}", number, len(learned))
        made = publish(bundle, family, access, signer, promote, {**provenance, **told}, tried, tenant_id)
        found.append(Registered(model_name(family.name, bundle.card.detector, tenant_id), made, bundle.card.skill))
    step("registered", len(learned), len(learned))
    return found
