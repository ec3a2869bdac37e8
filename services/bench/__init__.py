"""What this machine can serve: Canari's whole path against simpler servers and against the engine alone."""
