"""The wire: URL safety, retries, the rate limit, the API client, waiting for a task."""
