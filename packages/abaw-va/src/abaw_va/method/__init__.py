"""What the paper adds: objective, distribution head, smoothing, overlapping windows, schedule."""
