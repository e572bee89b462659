"""A small mesh of real Envoys on one machine: three datacenters on 127.0.0.1 to 127.0.0.3."""
