"""Where objects live: one protocol, an SQLite and an S3 implementation, the key layout."""
