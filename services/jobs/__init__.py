"""Work that begins and ends: adding samples, training versions."""
