"""What stands around all routes: the outermost layer, and the fast path of the routes that judge windows.

Works with `api/problems` for errors.
"""
