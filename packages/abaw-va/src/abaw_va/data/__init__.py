"""What goes in: the data root, annotations, videos of features and labels, and how batches are made."""
