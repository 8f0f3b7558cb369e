"""The perception stage: distortions, questions about them, and the data base made of both."""
