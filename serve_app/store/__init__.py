"""Where rows live: PostgreSQL tables, migrations and the repository.

Exists so that every row is read through its tenant.
"""
