"""An application with articles that are found by meaning: FastAPI, SQLAlchemy, Alembic, requant."""
