"""Before the first query: the steps from an empty database to today's tables.

Exists so that a database of any age reaches the tables that the code expects.
"""
