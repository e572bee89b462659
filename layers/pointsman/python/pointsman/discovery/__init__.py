"""Discovery: who asks, what the store has for them, and the answers."""
