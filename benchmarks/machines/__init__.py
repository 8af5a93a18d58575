"""Machines that no model was trained on, simulated and recorded, and how well they are commissioned and judged."""
