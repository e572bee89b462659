"""What an Envoy is started with."""
