"""Every detector, every error, every route against its contract."""
