"""What would change for an Envoy's traffic if Pointsman configured it? Pure: no I/O, no clock."""
