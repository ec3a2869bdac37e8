"""What every service over HTTP shares: problem details, request ids, logs, metrics, and how it is run."""
