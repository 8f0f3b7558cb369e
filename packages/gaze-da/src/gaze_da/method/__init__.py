"""What the paper adds: targets, losses, and the strength of the adversary."""
