"""Measurements that anyone can rerun; never part of the tests."""
