"""Floor 2: what turns signals into a diagnosis and documents into an answer.

Training, offline scoring and the deployments of floor 3 call the same functions here.
"""
