"""Beside the request path: the same job as HDX's reduced one, on the servers that a user might pick instead."""
