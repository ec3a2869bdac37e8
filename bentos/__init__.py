"""A folder per model family, and the one BentoML service that serves them all."""
