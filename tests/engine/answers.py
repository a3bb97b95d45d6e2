"""Responses of scripted servers."""

from __future__ import annotations

SDK = "/api/v1/gpt_image_2/text_to_image"
SOON = {"Retry-After": "0.05"}


def done(server, *names, **more):
    """Return a response with a completed task, whose images have these names on the server."""
    images = [{"url": f"{server.url}/{name}"} for name in names]
    return 200, {}, {"id": "tsk_1", "status": "completed", "images": images, **more}
