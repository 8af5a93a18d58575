"""In service tests: a tenant's audit, who seals and verifies it, and what its database's owner does to it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from serve_app.evidence import Verified, verify_tree
from serve_app.sealing import Sealer
from serve_app.shared.checkpoints import Signer, Verifier
from serve_app.store.checkpoint_files import CheckpointFiles
from serve_app.store.repository import Store
from tests.service.houses import SIGNER, sealer_of


@dataclass
class Desk:
    """A tenant's audit, and its database's owner.

    Attributes:
        ids: Of its notes, in the order of the tree.
        other: Another tenant.
    """

    store: Store
    url: str
    folder: Path
    tenant_id: int
    other: int
    ids: list[int]

    @property
    def files(self) -> CheckpointFiles:
        return CheckpointFiles(self.folder)

    def sealer(self, signer: Signer = SIGNER) -> Sealer:
        return sealer_of(self.store, self.folder, signer)

    async def note(self, count: int = 3, seal: bool = True) -> None:
        for _ in range(count):
            await self.store.audit.note(self.tenant_id, "ann", "did", f"thing {len(self.ids)}", "détail")
            self.ids.append((await self.store.audit.newest(self.tenant_id, 1))[0].audit_id)
        if seal:
            assert await self.sealer().seal_tree(self.tenant_id) == count

    async def verify(self, *keys: str, files_kept: bool = True) -> Verified:
        verifier = Verifier(keys or [SIGNER.public_key])
        return await verify_tree(self.store.seals, self.files, verifier, self.tenant_id, files_kept=files_kept)

    def own(self, statements: str, **given: Any) -> None:
        """Run statements as the owner of the tables, who passes row-level security by as he likes."""
        at = {f"id{place}": number for place, number in enumerate(self.ids)}
        known = {"mine": self.tenant_id, "other": self.other} | at | given
        with create_engine(self.url, poolclass=NullPool).begin() as connection:
            connection.execute(text("SELECT set_config('hdx.tenant', :id, true)"), {"id": str(self.tenant_id)})
            for statement in statements.replace("OWN_LEAVES", "audit_leaves WHERE tenant_id = :mine").split(";"):
                connection.execute(text(statement), known)
