"""Floor 4 of the request path: composition, gateway, routes, store, command line.

Exists so that one place knows how the parts meet.
"""
