"""What a kind of machine is, and what is normal for one machine of it.

Every floor above reads plausible ranges, components, thresholds and baselines here.
"""
