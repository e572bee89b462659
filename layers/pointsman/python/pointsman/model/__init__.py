"""What users write and what producers send. Pure: no I/O, no clock."""
