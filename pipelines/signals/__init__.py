"""First step of detect: windows of sensor values, their quality and their features.

Exists so that training and serving share one feature function set.
"""
