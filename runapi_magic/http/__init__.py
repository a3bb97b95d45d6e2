"""HTTP: safe URLs, retries, rate limit, transport, RunAPI's calls, waiting for a task."""
