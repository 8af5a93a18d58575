"""Floor 2 of the request path: what turns signals into a diagnosis and documents into an answer.

Exists so that training, offline scoring and serving call the very same functions.
"""
