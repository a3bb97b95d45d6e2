"""Buttons and panels. Nothing here is needed to see a picture."""
