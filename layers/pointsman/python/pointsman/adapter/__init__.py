"""How Envoys fetch: the follower, the filesystem writer, the bootstrap."""
