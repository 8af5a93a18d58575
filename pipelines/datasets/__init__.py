"""Beside the request path: where labelled windows come from.

Exists so that every source of recordings looks the same to training.
"""
