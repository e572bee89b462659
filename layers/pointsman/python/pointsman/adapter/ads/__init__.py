"""Delivers to Envoys over gRPC streams (ADS)."""
