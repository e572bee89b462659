"""Delivery: what one Envoy gets of what is published, how it asks for it, and in which order."""
