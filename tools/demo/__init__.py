"""`python -m tools.demo`: every package's demonstration, and one page over all of them."""
