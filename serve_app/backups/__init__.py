"""Copies of all that a service keeps, made while it works, and put back into an empty home.

Works for `cli`; `making` and `restoring` say in which order, the others know one kind of thing each.
"""
