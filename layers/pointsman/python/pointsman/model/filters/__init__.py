"""The subset filter language."""
