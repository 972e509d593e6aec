"""The store: items and float32 vectors in SQL."""
