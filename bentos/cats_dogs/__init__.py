"""Cats or dogs."""
