"""Loads one version of a tenant's own model into a detector's replica when a window of the tenant first comes.

One that cannot be had, or fails, is an abstention with its reason; no other model votes in its place.
"""

import logging
import time

from pipelines.detectors.base import Detail, FeatureTable
from pipelines.detectors.bundle import MemberVotes
from pipelines.errors import HdxError, Unavailable, reason_of
from pipelines.promotion.mlflow_client import Registry, model_name
from pipelines.promotion.model_loader import Held, take
from pipelines.promotion.tenant_models import tenant_of

LOGGER = logging.getLogger(__name__)
RETRY_S = 5.0  # after a version could not be had; source: own choice, a registry that is down is asked no more often


class TenantModel:
    """A version that is held, or the reason why it is not."""

    def __init__(self, registry: Registry, family: str, detector: str, version: str) -> None:
        self._registry = registry
        self._name = model_name(family, detector, tenant_of(version))
        self._detector, self._version = detector, version
        self._held: Held | None = None
        self._reason = ""
        self._tried_at = 0.0

    def load(self) -> None:
        """Fetch it, check every file, and let it score the probe window."""
        self._tried_at = time.monotonic()
        try:
            self._held = take(self._registry, self._name, self._version.rpartition("/")[2])
        except Exception as error:
            self._reason = reason_of(error)
            LOGGER.warning("%s %s: %s", self._name, self._version, self._reason, exc_info=error)

    def is_due(self) -> bool:
        """Tell whether to try again; only the first who asks is told so."""
        due = self._held is None and time.monotonic() - self._tried_at > RETRY_S
        if due:
            self._tried_at = time.monotonic()
        return due

    def votes(self, table: FeatureTable, detail: Detail) -> MemberVotes:
        """Judge windows.

        Raises:
            Unavailable: It could not be had, or fails.
        """
        if self._held is None:
            raise Unavailable(self._detector, f"{self._version}: {self._reason}")
        try:
            return self._held.bundle.votes(table, self._version, detail)
        except HdxError:
            raise
        except Exception as error:  # no gate has seen it on live windows
            raise Unavailable(self._detector, f"{self._version} fails: {type(error).__name__}") from error
