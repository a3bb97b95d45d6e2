"""Image files: decoding, previews, metadata, metrics, comparison, contact sheets, storage."""
