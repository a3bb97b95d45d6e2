"""Requests, tasks, prices, polling and errors as pure decisions: no I/O and no clock."""
