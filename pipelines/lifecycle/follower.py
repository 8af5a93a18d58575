"""Inside a detector's replica: which trained version it holds, and whether that version really works.

Exists so that a replica says ready only after this very version has judged a window.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.detectors.base import Detail, Sheet
from pipelines.detectors.bundle import Bundle, MemberVotes, canary, unpack
from pipelines.diagnosis.records import MemberStatus
from pipelines.errors import HdxError, Unavailable
from pipelines.lifecycle.registry import Registry, Release


@dataclass(frozen=True, slots=True)
class Held:
    """A version in memory that has judged the canary window."""

    release: Release
    bundle: Bundle
    files: tuple[str, ...]


class Follower:
    """Holds one detector's champion of each family and follows the alias.

    A registry that is down, or a new version that does not load, changes nothing but the reported reason.
    """

    def __init__(self, registry: Registry, detector: str, families: Sequence[str]) -> None:
        self._registry = registry
        self._detector = detector
        self._families = tuple(families)
        self._held: dict[str, Held] = {}
        self._reasons: dict[str, str] = {}

    def refresh(self) -> None:
        """Look at the alias of every family once, and load what has moved."""
        for family in self._families:
            try:
                self._reasons[family] = self._look(family)
            except HdxError as error:
                self._reasons[family] = str(error)

    def _look(self, family: str) -> str:
        """Return in words what is wrong, or an empty string."""
        release = self._registry.champion(family, self._detector)
        if release is None:
            self._held.pop(family, None)
            return "no champion"
        held = self._held.get(family)
        if held is None or held.release != release:
            files = self._registry.fetch(release)
            bundle = unpack(files)
            canary(bundle)
            self._held[family] = Held(release, bundle, tuple(files))
        elif not self._registry.present(release, held.files):
            return f"artefact of version {release.version} is missing from the registry"
        return ""

    def vote(self, family: str, sheet: Sheet, detail: Detail = "full") -> MemberVotes:
        """Judge windows with the version held.

        Raises:
            Unavailable: None is held.
        """
        held = self._held.get(family)
        if held is None:
            raise Unavailable(self._detector, self._reasons.get(family) or "no version loaded")
        return held.bundle.votes(sheet, held.release.version, detail)

    def rescore(self) -> None:
        """Score the canary window with every version held.

        Raises:
            Unavailable: A version no longer judges it.
        """
        for held in list(self._held.values()):
            canary(held.bundle)

    def statuses(self) -> list[MemberStatus]:
        """Report each family that has, or should have, a version."""
        return [self._status(family) for family in self._families if self._reasons.get(family) != "no champion"]

    def _status(self, family: str) -> MemberStatus:
        held, reason = self._held.get(family), self._reasons.get(family, "not looked at yet")
        version = held.release.version if held else ""
        sha256 = held.release.sha256 if held else ""
        return MemberStatus(self._detector, family, version, sha256, held is not None and not reason, reason)
