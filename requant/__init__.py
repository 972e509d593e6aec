"""Quantized first pass in a vector engine, exact float32 rescoring from your own database."""
