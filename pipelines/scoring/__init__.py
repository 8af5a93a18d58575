"""Recordings scored offline by the functions that serve online; may use Ray Data, and nothing of Serve.

Works with `datasets`, `detectors` and `diagnosis`.
"""
