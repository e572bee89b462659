"""Numbers: how fast, how many, at what cost, beside what no program can beat (`make bench` and its kin)."""
