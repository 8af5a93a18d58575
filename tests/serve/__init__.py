"""The graph in local testing mode, and a service started as the README says."""
