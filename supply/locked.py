"""A lock's lines: what is installed, by which hashes, who asks for it and under which licence."""

import re
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
RUNTIME = HERE / "requirements.lock"
DEVELOPMENT = HERE / "requirements-dev.lock"

# What differs by machine in its build, and the libraries of a GPU that one build of it brings.
BY_MACHINE = re.compile(r"torch$|triton$|nvidia-|cuda-")
_PIN = re.compile(r"^(?:# )?([a-z0-9-]+)==([^ ;\\]+)(?: ; ([^\\]+?))?(?: \\)?$")


@dataclass
class Requirement:
    """One library at one version; without hashes where its build differs by machine."""

    name: str
    version: str
    marker: str = ""
    hashes: list[str] = field(default_factory=list)
    asked_by: list[str] = field(default_factory=list)
    licence: str = ""
    spdx: bool = False

    def lines(self) -> list[str]:
        """Return the lines of a lock; those of what has no hash are comments, which no installer reads."""
        pin = f"{self.name}=={self.version}" + (f" ; {self.marker}" if self.marker else "")
        first = " \\\n".join([pin, *(f"    --hash=sha256:{digest}" for digest in self.hashes)])
        notes = [f"    # via {', '.join(self.asked_by)}"]
        if self.licence:
            notes.append(f"    # licence{' (SPDX)' if self.spdx else ''}: {self.licence}")
        return [first if self.hashes else f"# {pin}", *notes]


def read(text: str) -> list[Requirement]:
    """Return the requirements of a lock, also of one as uv writes it."""
    found: list[Requirement] = []
    for line in text.splitlines():
        if pin := _PIN.match(line):
            found.append(Requirement(pin[1], pin[2], (pin[3] or "").strip()))
        elif hashed := re.match(r"    --hash=sha256:([0-9a-f]{64})", line):
            found[-1].hashes.append(hashed[1])
        elif via := re.match(r"    # via (.+)", line):
            names = [name.split(" ")[0] for name in via[1].split(", ")]
            found[-1].asked_by = [name for name in names if not name.startswith("-")]
        elif licence := re.match(r"    # licence( \(SPDX\))?: (.+)", line):
            found[-1].spdx, found[-1].licence = bool(licence[1]), licence[2]
    return found
