"""Rules of which tenant's model judges a window."""

from typing import cast

import pytest

from pipelines.datasets.simulator import simulate
from pipelines.diagnosis.records import Inspection, Versions
from pipelines.errors import NotFound, Unavailable
from pipelines.machines.family import read_family
from pipelines.promotion.mlflow_client import Registry, family_of, model_name, owner_of
from pipelines.promotion.tenant_model import TenantModel
from pipelines.promotion.tenant_models import TenantModels, check_versions, label, tenant_of
from pipelines.signals.reading import make_feature_table

Owned = dict[tuple[str, int], dict[str, str]]


class Listed:
    """A registry that says what it is told, or fails."""

    def __init__(self, found: Owned | Exception) -> None:
        self.found = found

    def owned(self) -> Owned:
        if isinstance(self.found, Exception):
            raise self.found
        return self.found

    def release(self, name: str, version: str) -> None:
        self.owned()


def tenant_models_of(listed: Listed) -> TenantModels:
    return TenantModels(cast(Registry, listed), 15)


def asked(owner: int, versions: Versions) -> Inspection:
    return Inspection(simulate("healthy", 0, 5, 1), read_family("generic").name, versions=versions, owner=owner)


@pytest.mark.parametrize("tenant_id", [1, 7, 1234])
def test_a_name_says_whose_model_it_is(tenant_id: int) -> None:
    """A tenant's own model is told from the shared one by its name, and its version by its label."""
    own, shared = model_name("water-loop", "random_forest", tenant_id), model_name("water-loop", "random_forest")
    assert (owner_of(own), owner_of(shared)) == (tenant_id, 0)
    assert family_of(shared, "random_forest") == "water-loop"
    assert (tenant_of(label(tenant_id, "3")), tenant_of("3")) == (tenant_id, 0)


@pytest.mark.parametrize("name", ["hdx-generic-catboost.t0", "hdx-generic-catboost.t07", "hdx-generic-catboost.t-7"])
def test_what_only_looks_like_a_tenants_is_nobodys(name: str) -> None:
    """No other spelling of a name or label is a tenant's."""
    assert owner_of(name) == 0
    assert [tenant_of(text) for text in ("t0/1", "t07/1", "t7/x", "t7", "t7/1/2", "")] == [0] * 6


def test_a_tenant_gets_its_own_versions_alone() -> None:
    """Each tenant is given its own champions of the family, and one without any gets none; so does nobody."""
    tenant_models = tenant_models_of(
        Listed({("generic", 7): {"catboost": "3", "adaptive": "1"}, ("rig", 8): {"catboost": "5"}})
    )
    tenant_models.look()
    assert tenant_models.of("generic", 7) == (("adaptive", "t7/1"), ("catboost", "t7/3"))
    assert tenant_models.of("rig", 8) == (("catboost", "t8/5"),)
    assert (
        tenant_models.of("generic", 8)
        == tenant_models.of("rig", 7)
        == tenant_models.of("generic", 9)
        == tenant_models.of("generic", 0)
        == ()
    )


FAILURES = [Unavailable("registry", "does not answer"), KeyError("aliases")]


@pytest.mark.parametrize("failure", FAILURES)
def test_a_registry_that_fails_changes_nothing(failure: Exception) -> None:
    """What was read last stays; before anything was read no tenant is judged, by a model that may not be its own."""
    listed = Listed(failure)
    tenant_models = tenant_models_of(listed)
    tenant_models.look()
    with pytest.raises(Unavailable):
        tenant_models.of("generic", 7)
    assert tenant_models.of("generic", 0) == ()
    listed.found = {("generic", 7): {"catboost": "3"}}
    tenant_models.look()
    listed.found = failure
    tenant_models.look()
    assert tenant_models.of("generic", 7) == (("catboost", "t7/3"),)


@pytest.mark.parametrize("failure", FAILURES)
def test_an_own_model_that_cannot_be_had_says_why(failure: Exception) -> None:
    """Loading it never fails: its vote does, with a reason that shows nothing internal."""
    own = TenantModel(cast(Registry, Listed(failure)), "generic", "catboost", "t7/3")
    own.load()
    with pytest.raises(Unavailable, match=r"t7/3: (registry: does not answer|failed: KeyError)$"):
        own.votes(make_feature_table([simulate("healthy", 0, 5, 1)], [None], read_family("generic")), "score")


def test_nobody_asks_for_another_tenants_version() -> None:
    """Versions of the asker and shared ones may be asked for; another tenant's does not exist."""
    check_versions(asked(7, (("catboost", "t7/3"), ("adaptive", "5"))))
    for owner in (0, 8, 77):
        with pytest.raises(NotFound):
            check_versions(asked(owner, (("adaptive", "5"), ("catboost", "t7/3"))))
