"""Moving a collection to another index."""
