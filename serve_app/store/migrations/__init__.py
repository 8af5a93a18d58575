"""The steps from an empty database, or one of any age, to today's tables."""
