"""The vision-language model: a tiny one for trials, loading, positions, and what a group shares."""
