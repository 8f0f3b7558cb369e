"""What the paper adds, as small functions: glimpses, scores, rewards, the policy's distribution, SAC."""
