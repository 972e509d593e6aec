"""Faults of the disk: a preloaded shim, children that run under it, and a model of a disk."""
