"""What requant costs and saves inside a framework; see `__main__`."""
