"""The deployments that are application and not wiring: gateway, indexer, promoter and what they stand on.

Works with `api` for routes, `store` for state, and the graph by handles.
"""
