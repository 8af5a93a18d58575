"""Real PostgreSQL, Redis, MLflow and LanceDB."""
