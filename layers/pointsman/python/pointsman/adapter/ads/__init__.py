"""Envoys on streams (gRPC, ADS)."""
