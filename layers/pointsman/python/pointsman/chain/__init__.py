"""What a service resolves to: the discovery chain. Pure: no I/O, no clock."""
