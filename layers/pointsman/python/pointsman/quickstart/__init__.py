"""A small mesh to try Pointsman with: the files in `mesh/`, and certificates for it."""
