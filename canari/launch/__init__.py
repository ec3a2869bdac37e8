"""Running versions and the platform's own processes."""
