"""Knows in the gateway which tenants have models of their own, and which versions of them are live.

Windows of tenants without any stay together in one micro-batch, and nobody is judged by another tenant's model.
"""

import logging
import re
import threading
import time
from collections.abc import Mapping

from pipelines.diagnosis.records import Inspection, Versions
from pipelines.errors import NotFound, Unavailable, reason_of
from pipelines.promotion.mlflow_client import Registry, model_name

LABEL = re.compile(r"t([1-9][0-9]*)/[0-9]+")
# Most of the time that looks take. Source: own choice; docs/promotion.md has what a look at a thousand models takes.
DUTY = 0.05
UNREAD_S = 1.0  # between two looks while there has been none


def label(tenant_id: int, version: str) -> str:
    """Return how answers name a version of a tenant's own model: `t7/3`."""
    return f"t{tenant_id}/{version}"


def tenant_of(version: str) -> int:
    """Return whose own model a version is of as answers name it; 0 for one that all share."""
    found = LABEL.fullmatch(version)
    return int(found[1]) if found else 0


def check_versions(inspection: Inspection) -> None:
    """Refuse versions of models that are not the asker's.

    Raises:
        NotFound: One is another tenant's.
    """
    for detector, version in inspection.versions:
        if tenant_of(version) not in (0, inspection.owner):
            raise NotFound("model version", f"{detector} {version}")


class TenantModels:
    """Reads which tenants have models of their own; a registry that is down changes nothing."""

    def __init__(self, registry: Registry, poll_s: float) -> None:
        self._registry = registry
        self._poll_s = poll_s
        self._known: Mapping[tuple[str, int], Versions] | None = None

    def start(self) -> None:
        """Look once, and go on looking in a thread."""
        self.look()
        threading.Thread(target=self._follow, name="tenant_models", daemon=True).start()

    def _follow(self) -> None:
        rest_s = self._poll_s
        while True:
            time.sleep(UNREAD_S if self._known is None else rest_s)
            begun = time.monotonic()
            self.look()
            rest_s = max(self._poll_s, (time.monotonic() - begun) / DUTY)

    def look(self) -> None:
        """Read the registry once."""
        try:
            found = self._registry.owned()
            self._known = {key: self._followed(*key, versions) for key, versions in found.items()}
        except Exception as error:  # an answer may be of any shape; what was known stays
            logging.getLogger(__name__).warning("tenant_models not read: %s", reason_of(error), exc_info=error)

    def _followed(self, family: str, tenant: int, versions: Mapping[str, str]) -> Versions:
        """Return the champions of a tenant; one that moved to a version that is not signed stays where it was.

        Raises:
            Unavailable: The registry does not answer.
        """
        before = dict((self._known or {}).get((family, tenant), ()))
        found = []
        for detector, version in sorted(versions.items()):
            new, name = label(tenant, version), model_name(family, detector, tenant)
            old = before.get(detector, new)
            if new != old and not self._registry.is_signed(self._registry.release(name, version)):
                logging.getLogger(__name__).warning("%s: version %s is not signed; %s stays", name, version, old)
                new = old
            found.append((detector, new))
        return tuple(found)

    def of(self, family: str, tenant_id: int) -> Versions:
        """Return the versions of a tenant's own models, by detector; empty where all its windows meet shared ones.

        Raises:
            Unavailable: The registry has not been read since the start.
        """
        if not tenant_id:
            return ()
        if self._known is None:
            raise Unavailable("registry", "has not yet said whether the tenant has models of its own")
        return self._known.get((family, tenant_id), ())
