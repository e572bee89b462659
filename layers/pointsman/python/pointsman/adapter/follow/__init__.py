"""Following a store: what proxies need, kept up with it."""
