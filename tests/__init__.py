"""The test pyramid, one folder a floor of it."""
