"""Compares MLflow's own description of a version with our card of it."""

import json

import yaml

from pipelines.detectors.bundle import Card
from pipelines.errors import ArtefactRejected

DESCRIPTION = "MLmodel"  # MLflow's own file beside ours


def check_signature(description: bytes, card: bytes) -> None:
    """Compare the columns that MLflow's signature names with those that the card names.

    Raises:
        ArtefactRejected: They differ, there is no signature, or the card is none.
    """
    try:
        columns = json.loads(yaml.safe_load(description)["signature"]["inputs"])
        names = [column["name"] for column in columns]
    except (TypeError, KeyError, ValueError, RecursionError, yaml.YAMLError):
        raise ArtefactRejected(DESCRIPTION, "has no signature") from None
    if names != list(Card.from_json(card).features):
        raise ArtefactRejected(DESCRIPTION, "its signature names other features than the card")
