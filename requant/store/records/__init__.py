"""What the store notes of collections and indexes, beside items and vectors."""
