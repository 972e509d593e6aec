"""Requant inside an application that uses SQLAlchemy."""
