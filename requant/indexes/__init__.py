"""Indexes that follow the store."""
