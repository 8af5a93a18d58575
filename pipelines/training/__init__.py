"""From recordings and feedback to registered versions with their evidence; may use Ray Data, and nothing of Serve.

Works with `datasets`, `detectors` and, for a version's files, `promotion/mlflow_client`.
"""
