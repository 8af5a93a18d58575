"""How HDX reaches the registry, and the key by which it signs versions; both follow from the settings.

The key is the secret's alone: neither the registry nor the process of MLflow is given it, and replicas that check
versions get its public half.
"""

import hmac
from hashlib import sha256

from configs.settings import Settings
from pipelines.promotion.mlflow_client import Access
from pipelines.promotion.signing import Signer


def signer_of(settings: Settings) -> Signer:
    """Return what signs versions; bound to its purpose, so that the secret itself signs nothing."""
    secret = settings.secret_key.get_secret_value().encode()
    return Signer(hmac.new(secret, b"hdx model versions", sha256).digest())


def access_of(settings: Settings) -> Access:
    """Return how the registry is reached, and whose versions are believed."""
    login = settings.mlflow_username, settings.mlflow_password.get_secret_value()
    signers = signer_of(settings).public, *map(bytes.fromhex, settings.models.signers)
    return Access(settings.tracking_url, settings.models.alias, login, signers)
