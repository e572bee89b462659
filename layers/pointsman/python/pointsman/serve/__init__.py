"""What the network servers share: addresses, access checks, limits, logs."""
