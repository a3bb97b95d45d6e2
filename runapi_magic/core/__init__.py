"""Requests, tasks, prices, polling and errors. Without I/O, except ``paths`` and ``printing``."""
