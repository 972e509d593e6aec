"""Engines behind one protocol; the only room that imports an engine, and only on first use."""
