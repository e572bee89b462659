"""What Envoy gets: clusters, load assignments, listeners. Pure: no I/O, no clock."""
