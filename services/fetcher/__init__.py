"""Photos by their address: a process with no secret and no database, which alone reaches the outside."""
