"""Asks which locked libraries have known vulnerabilities: `python -m supply.vulnerabilities PIP_AUDIT`.

It needs a registry that gives such data; where none answers it says so and asks nothing of anybody.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from supply.locked import DEVELOPMENT, RUNTIME, Requirement, read

LIMIT_S = 600  # own choice: some 250 requests, one after the other


def answered(pip_audit: str, found: list[Requirement]) -> list[dict[str, Any]] | str:
    """Return what is said of each library, or why nothing is."""
    with tempfile.TemporaryDirectory() as folder:
        asked = Path(folder, "asked.txt")
        asked.write_text("".join(f"{one.name}=={one.version}\n" for one in found), encoding="utf-8")
        command = [pip_audit, "--requirement", str(asked), "--no-deps", "--disable-pip", "--format", "json"]
        try:
            done = subprocess.run(  # noqa: S603
                [*command, "--progress-spinner", "off"], capture_output=True, text=True, check=False, timeout=LIMIT_S
            )
        except subprocess.TimeoutExpired:
            return f"the registry has not answered within {LIMIT_S} s"
    if not done.stdout.startswith("{"):
        return (done.stderr.strip().splitlines() or ["pip-audit said nothing"])[-1]
    told: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    return told


def verdict(told: list[dict[str, Any]] | str) -> tuple[int, str]:
    """Return the exit status and what is said: 0 none known or nothing asked, 1 some known, 2 not all asked."""
    if isinstance(told, str):
        return 0, f"SKIPPED, nothing is known of vulnerabilities: {told}"
    passed = [one for one in told if "skip_reason" in one]
    if len(passed) == len(told):
        return 0, "SKIPPED, nothing is known of vulnerabilities: the registry that answers here has no data of them"
    bad = [
        f"{one['name']} {one['version']}: {', '.join(flaw['id'] for flaw in one['vulns'])}"
        f", mended in {', '.join(fix for flaw in one['vulns'] for fix in flaw['fix_versions']) or 'no version'}"
        for one in told
        if one.get("vulns")
    ]
    lines = [*bad, *(f"{one['name']}: not asked, {one['skip_reason']}" for one in passed)]
    counts = f"{len(told) - len(passed)} of {len(told)} libraries asked, {len(bad)} with known vulnerabilities"
    return 1 if bad else 2 if passed else 0, "\n".join([*lines, counts])


def main(pip_audit: str) -> int:
    """Ask, and say what came."""
    locks = (RUNTIME, DEVELOPMENT)
    status, said = verdict(
        answered(pip_audit, [one for path in locks for one in read(path.read_text(encoding="utf-8"))])
    )
    print(said)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
