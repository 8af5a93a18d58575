"""PostgreSQL: one part a kind of row over one database, each row read through its tenant, and the migrations."""
