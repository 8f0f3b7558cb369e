"""What the paper adds: its losses, and the memory of the past."""
