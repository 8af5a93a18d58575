"""From a question to the passages that may answer it.

Works with LanceDB and the sentence encoder.
"""
