"""The page: what is true now, of a service and of the last 24 hours, for people with a browser. It writes nothing."""
