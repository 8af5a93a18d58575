"""The store: all rows of HDX in PostgreSQL, in one part for each kind, over one pool of connections."""

from typing import Self

from configs.settings import DatabaseWaits
from serve_app.store.accounts import Accounts, Tenants
from serve_app.store.answers import Answers
from serve_app.store.archive import Archive
from serve_app.store.audit import Audit
from serve_app.store.database import Database
from serve_app.store.diagnoses import Diagnoses
from serve_app.store.documents import Documents
from serve_app.store.events import Events
from serve_app.store.families import Families
from serve_app.store.feedback import Feedback
from serve_app.store.idempotency import IdempotencyKeys
from serve_app.store.identities import Identities
from serve_app.store.invitations import Invitations
from serve_app.store.jobs import Jobs
from serve_app.store.keys import Keys
from serve_app.store.promotions import Promotions
from serve_app.store.rates import Rates
from serve_app.store.readings import Readings
from serve_app.store.retention import Retention
from serve_app.store.seals import Seals
from serve_app.store.sessions import Sessions
from serve_app.store.systems import Systems
from serve_app.store.token_keys import TokenKeys
from serve_app.store.watches import Watches


class Store:
    """The parts of the store; a method that takes a tenant sees that tenant's rows alone."""

    def __init__(self, database: Database, archive: str | None = None) -> None:
        self._database = database
        self.archive = Archive(database, archive)
        self.tenants = Tenants(database)
        self.accounts = Accounts(database)
        self.identities = Identities(database)
        self.invitations = Invitations(database)
        self.sessions = Sessions(database)
        self.keys = Keys(database)
        self.token_keys = TokenKeys(database)
        self.families = Families(database)
        self.systems = Systems(database, self.archive)
        self.diagnoses = Diagnoses(database)
        self.readings = Readings(database, self.archive)
        self.watches = Watches(database)
        self.events = Events(database)
        self.feedback = Feedback(database)
        self.answers = Answers(database)
        self.documents = Documents(database)
        self.promotions = Promotions(database)
        self.jobs = Jobs(database)
        self.audit = Audit(database)
        self.idempotency = IdempotencyKeys(database)
        self.seals = Seals(database)
        self.rates = Rates(database)
        self.retention = Retention(database, self.archive)

    @classmethod
    def open(cls, url: str, pool_size: int, waits: DatabaseWaits | None = None, archive: str | None = None) -> Self:
        """Prepare connections; none is made before the first query.

        Args:
            url: Of the database.
            pool_size: Connections at most.
            waits: For how long anything waits for it.
            archive: Folder or address of the archive of readings; None where there is none.
        """
        return cls(Database.open(url, pool_size, waits), archive)

    async def close(self) -> None:
        """Close all connections."""
        await self._database.close()

    async def ping(self) -> None:
        """Begin and end a transaction that sees nothing.

        Raises:
            Unavailable: The server does not answer.
        """
        async with self._database.tenant(0):
            pass
