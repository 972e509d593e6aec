"""A search: one request, answered within one snapshot of the store."""
