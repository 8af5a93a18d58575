"""Middle step of detect: one file a detector, behind one protocol and one registry.

Exists so that a further detector costs one file and one line.
"""
