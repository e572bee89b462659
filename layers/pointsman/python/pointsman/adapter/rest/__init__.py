"""Delivers to Envoys that poll over HTTP (REST xDS)."""
