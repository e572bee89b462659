"""Delivers to Envoys as files."""
