"""The detectors: one file each behind one protocol, and the registry that lists them."""
