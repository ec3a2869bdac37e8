"""Splitting a model's traffic between its versions."""
