"""Reads PDF by PDFium: what a reader sees of each page, in the order in which it is read."""
