"""What goes in: the labels, the splits, the frames, and the batches made of them."""
