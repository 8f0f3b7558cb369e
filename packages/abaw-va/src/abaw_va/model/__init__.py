"""What computes: the blocks, what is carried along a video, and the network made of them."""
