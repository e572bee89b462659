"""What does one Envoy get when it asks? Who asks, what is there for them, and how it is answered."""
