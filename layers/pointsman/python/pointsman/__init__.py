"""Pointsman: a serverless control plane for Envoy failover between datacenters."""
