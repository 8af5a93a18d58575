"""Settings of how many requests are taken, of whom and of what kind."""

from pydantic import BaseModel, ConfigDict, Field


class Rate(BaseModel):
    """Requests a minute of one kind; 0 is no limit.

    Attributes:
        tenant: Of all that a tenant's people and keys send.
        account: Of one account.
        key: Of the keys of one name in a tenant.
        address: Of one address, whoever sends them: all that stand behind one gate have the same.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tenant: int = Field(0, ge=0)
    account: int = Field(0, ge=0)
    key: int = Field(0, ge=0)
    address: int = Field(0, ge=0)


def _rate(tenant: int, each: int) -> Rate:
    return Rate(tenant=tenant, account=each, key=each)


class Rates(BaseModel):
    """How many requests a minute are taken of whom, and how many are in hand at a time.

    Attributes:
        on: Whether requests are counted; log-ins that fail are, in any case.
        detect: Windows judged one by one, and diagnoses.
        readings: Readings that machines send.
        documents: All that is asked of uploaded documents.
        chat: Questions to the assistant.
        batch: Requests of many windows, files, replays, and what is asked of jobs.
        management: All else.
        login: Log-ins, refreshes and log-outs; nobody is known yet, so that the address alone counts.
        places: Requests that a gateway has in hand, as `max_ongoing_requests` in `serve_config.yaml`; 0 is no limit.

    Source: own choice, of what is measured in docs/performance.md: a gateway on two cores answers 1,499 requests of
        windows a second at most, and a graph has four gateways, so that 10,000 a second of one caller bound nobody
        but who shares a fleet; readings and batches the same. A gateway answers some ten questions a second, and 50
        are the same to a fleet with a model of its own. Log-ins of an address: own choice, two a second, so that
        1,800 people behind one gate refresh their tokens, and a flood has little to gain before it ends.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    on: bool = True
    detect: Rate = _rate(600_000, 600_000)
    readings: Rate = _rate(600_000, 600_000)
    documents: Rate = _rate(3_000, 1_500)
    chat: Rate = _rate(3_000, 1_500)
    batch: Rate = _rate(600_000, 600_000)
    management: Rate = _rate(12_000, 6_000)
    login: Rate = Rate(address=120)
    places: int = Field(256, ge=0)
