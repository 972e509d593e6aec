"""Files of vectors, one reader a format."""
