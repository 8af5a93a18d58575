"""Where HTTP ends: routes as plain functions over ports.

Exists so that the same routes run on fakes, local graph and cluster.
"""
