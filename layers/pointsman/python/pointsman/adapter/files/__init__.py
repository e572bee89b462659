"""Envoys that watch files."""
