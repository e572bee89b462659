"""The verbs: configure, ingest, settle, propagate, reconcile, recover, status."""
