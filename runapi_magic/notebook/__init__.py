"""IPython: the extension, its magics and commands, and the Python API."""
