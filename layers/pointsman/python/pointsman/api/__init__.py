"""The HTTP API: one table of routes, answered by pure functions, for every server that has it."""
