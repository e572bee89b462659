"""How are files written whole, for whom, and by one process at a time?"""
