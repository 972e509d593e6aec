"""What an application pays for requant inside it, beside plain SQLAlchemy; see `__main__`."""
