"""In service tests: one training in a process of its own, told by the SHA-256 of every file."""

import json
import sys
from hashlib import sha256

from pipelines.datasets.feedback import Remark
from pipelines.datasets.simulator import simulate, simulate_recordings
from pipelines.detectors.bundle import pack
from pipelines.machines.family import read_family
from pipelines.training.run import Plan, learn

FAMILY = read_family("generic")
SEED = 3


def remarks() -> list[Remark]:
    """What people said of some windows of two systems."""
    found = []
    for seed in range(12):
        window = simulate("valve_lag" if seed % 2 else "healthy", 0.8, 5, seed)
        values = {name: samples.tolist() for name, samples in window.values.items()}
        kept = {"values": values, "rate_hz": window.rate_hz}
        found.append(Remark(f"1/{seed // 6}", kept, None, bool(seed % 2), "valve" if seed % 2 else None))
    return found


def hashes(workers: int, backwards: bool, trials: int = 1) -> dict[str, dict[str, str]]:
    """Train on a few simulated machines and some feedback; return by member and file the SHA-256."""
    said = remarks()[::-1] if backwards else remarks()
    recordings = simulate_recordings(FAMILY, 12, 16, SEED)
    learned = learn(FAMILY, recordings, said, Plan(SEED, trials, workers), lambda *_: None)
    return {
        each.bundle.card.detector: {name: sha256(content).hexdigest() for name, content in pack(each.bundle).items()}
        for each in learned
    }


if __name__ == "__main__":
    print(json.dumps(hashes(int(sys.argv[1]), backwards=True)))
