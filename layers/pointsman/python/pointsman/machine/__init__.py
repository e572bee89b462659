"""The processes of one machine: `pointsman up`, and an adapter alone."""
