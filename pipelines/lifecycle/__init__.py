"""Beside the request path: train, evaluate, register, score.

Exists so that a model reaches serving only with its evidence.
"""
