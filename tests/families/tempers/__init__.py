"""A model whose versions have a temper: what a canary may do wrong, one thing at a time."""
