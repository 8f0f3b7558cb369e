"""What goes in: the data sets, their pictures, and the batches made of them."""
