"""What the network servers share: where they listen, whom they let in, what operators ask."""
