"""What an adapter tells of itself and of its Envoys."""
