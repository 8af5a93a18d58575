"""The ask path: documents, passages, index, encoder and answer.

Exists so that every sentence of an answer can be traced to its source.
"""
