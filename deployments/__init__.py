"""Floor 3 of the request path: Ray Serve classes, wiring only.

Exists so that mathematics, SQL and HTTP stay testable without Ray.
"""
