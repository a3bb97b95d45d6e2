"""Images drawn for a prompt, made of simple shapes."""
