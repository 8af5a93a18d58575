"""Floor 1: typed settings, gates and families, and the YAML that they are read from; imports nothing of the others."""
