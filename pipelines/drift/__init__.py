"""Whether systems have moved away from what their models know; knows nothing of promotion.

Works with `diagnosis` for scores and with `machines` for baselines.
"""
