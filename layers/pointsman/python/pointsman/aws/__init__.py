"""The parts that exist only on AWS: the start of the functions, notices and their queues, the sweep."""
