"""What does one Envoy get of what is published, how does it ask, and what comes before what?"""
