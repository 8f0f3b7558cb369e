"""Tools for those who work on the house; nothing here is installed."""
