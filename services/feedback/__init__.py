"""The feedback API: predictions in, what people say of them, look-ups, status, sessions."""
