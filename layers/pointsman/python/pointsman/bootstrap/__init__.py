"""Builds the bootstraps that Envoys start with."""
