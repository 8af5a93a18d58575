"""Holds the bill of materials against CycloneDX's own schema; by the tools of `make lock`, which bring the schema."""

import sys

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from supply.locked import RUNTIME, read
from supply.sbom import bill


def main() -> str | None:
    """Return what does not hold, if anything."""
    text = bill("0", read(RUNTIME.read_text(encoding="utf-8")))
    wrong = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    return str(wrong) if wrong else None


if __name__ == "__main__":
    sys.exit(main())
