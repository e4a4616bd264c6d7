"""Preference learning: losses as pure functions."""
