"""What Envoys' admin interfaces tell, for the ways to them that do not tell themselves."""
