"""A version's way from the registry into the replicas: loaded, in shadow, as canary, live, or back.

HTTP stands in `mlflow_client` alone; no Ray, no SQL, and nothing of drift.
"""
