"""The name under which a filter chain says which switches end its connections. Alone here, so that who delivers
listeners need not import what makes them."""

DRAIN_METADATA = "pointsman.drain"
"""The metadata of a filter chain that names the clusters whose switches end its connections. Delivery writes their
active targets in it."""
