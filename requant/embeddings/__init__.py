"""Embeddings outside a store: compared, calibrated, made from texts."""
