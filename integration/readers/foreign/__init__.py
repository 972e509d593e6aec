"""Indexes and stores of other software, one reader each; see `protocol.py`."""
