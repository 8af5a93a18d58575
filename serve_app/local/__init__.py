"""The whole service on one machine: its servers and processes, started, watched and stopped.

Works for `cli`; a cluster needs none of it.
"""
