"""One request, from the request to its saved images; the settings and the session."""
