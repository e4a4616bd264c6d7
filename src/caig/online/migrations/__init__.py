"""Alembic's scripts: each file of `versions` brings a database from one shape to the next."""
