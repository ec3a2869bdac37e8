"""What every bento shares: reading requests, decoding, the engine, the recorder, and the process that serves them."""
