"""Decides what a replica's process imports first, so that it holds no library it does not use."""

import sys


def import_serve() -> None:
    """Import Ray Serve as where pandas is not installed; who needs pandas later still gets it.

    Ray Serve imports pandas on sight, for frames as requests; none travel here. It weighs a fifth of a bare replica.
    Source: own measurement, docs/performance.md.
    """
    sys.modules["pandas"] = None  # type: ignore[assignment]  # Python's own mark of a module that must not be found
    import ray.serve  # noqa: F401

    del sys.modules["pandas"]
