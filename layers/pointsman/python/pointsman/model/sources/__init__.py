"""What producers send, in their own shapes, as health events (docs/sources.md)."""
