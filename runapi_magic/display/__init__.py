"""Plain outputs in a notebook or a terminal."""
