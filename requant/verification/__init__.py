"""Whether a store is whole and its indexes are true to it."""
