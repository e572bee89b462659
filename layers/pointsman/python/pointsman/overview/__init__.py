"""What people see: plain values, made from what is stored by pure functions, for every page and command."""
