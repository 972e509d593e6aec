"""Where requant meets people and other software."""
