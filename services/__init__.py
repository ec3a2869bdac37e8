"""The processes of the platform: each parses, calls the library, and answers."""
