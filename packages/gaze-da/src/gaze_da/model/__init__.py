"""What computes: the branches, what adapts them, and the network made of them."""
