"""Who is healthy, and which target serves. Pure: no I/O, no clock."""
