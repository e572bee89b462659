"""A small mesh for trying Pointsman: the files in `mesh/`, and certificates for it."""
