"""What routes and replicas share: batching, cache, credentials, logs, metrics.

Knows neither routes nor replicas.
"""
