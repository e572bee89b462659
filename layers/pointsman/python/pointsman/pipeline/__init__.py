"""The verbs: configure, ingest, recompute, publish, reconcile."""
