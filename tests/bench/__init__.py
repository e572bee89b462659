"""Numbers: how long a change takes to an Envoy, how many can wait for it, what it costs (`make bench`)."""
