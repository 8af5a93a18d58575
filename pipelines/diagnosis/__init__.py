"""Last step of detect: votes become one calibrated, explained diagnosis.

Exists so that combination and explanation stand apart from the models.
"""
