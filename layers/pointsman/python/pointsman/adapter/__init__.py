"""Delivers to Envoys, over files, REST or gRPC, and follows a store for that."""
