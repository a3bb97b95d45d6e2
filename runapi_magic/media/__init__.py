"""Image files: decode, preview, metadata, measure, compare, contact sheet, object store."""
