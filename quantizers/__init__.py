"""Pure NumPy quantizers and the codes they make."""
