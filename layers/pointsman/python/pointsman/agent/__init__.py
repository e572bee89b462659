"""Who checks the instances of a host, and tells of them?"""
