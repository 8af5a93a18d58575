"""Floor 1 of the request path: typed settings and the YAML they read.

Exists so that every other floor takes its constants from one place.
"""
