"""What a completion earns: the authors' two rules, and ours beside them."""
