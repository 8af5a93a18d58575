"""From a file as people have it to passages in the index.

Works with `search`, which stores them.
"""
