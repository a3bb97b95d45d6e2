"""A before/after slider as plain HTML; the bridge of the container around it moves it."""

from __future__ import annotations

import base64
from html import escape

from runapi_magic.display.theme import ACCENT

_PNG = b"\x89PNG\r\n\x1a\n"
# The field for the pointer is wider than the picture by one thumb: its middle is where --at is.
_STYLE = f"""<style>
.runapi-slider {{max-width:100%; font-family:var(--jp-ui-font-family,system-ui,sans-serif);
  font-size:13px; line-height:1.5; color:var(--jp-ui-font-color1,inherit)}}
.runapi-slider-frame {{position:relative; overflow:hidden; touch-action:pan-y}}
.runapi-slider-frame img {{position:absolute; inset:0; width:100%; height:100%; max-width:none;
  margin:0; object-fit:contain; user-select:none}}
.runapi-slider-before {{clip-path:inset(0 calc(100% - var(--at)) 0 0)}}
.runapi-slider-after {{clip-path:inset(0 0 0 var(--at))}}
.runapi-slider-frame input {{position:absolute; top:0; left:-20px; width:calc(100% + 40px);
  height:100%; margin:0; padding:0; opacity:0; cursor:ew-resize; appearance:none}}
.runapi-slider-frame input::-webkit-slider-thumb {{appearance:none; width:40px; height:100%}}
.runapi-slider-frame input::-moz-range-thumb {{width:40px; height:100%; border:0}}
.runapi-slider-line {{position:absolute; top:0; bottom:0; left:var(--at); width:2px;
  margin-left:-1px; background:#fff; box-shadow:0 0 0 1px rgba(0,0,0,.5); pointer-events:none}}
.runapi-slider-line::after {{content:"\\2194"; position:absolute; top:50%; left:50%; width:28px;
  height:28px; margin:-14px 0 0 -14px; border-radius:50%; background:#fff; color:#212121;
  font-size:18px; line-height:28px; text-align:center; box-shadow:0 0 0 1px rgba(0,0,0,.5)}}
input:focus-visible + .runapi-slider-line::after {{outline:3px solid {ACCENT};
  outline-offset:2px}}
.runapi-slider-names {{display:flex; justify-content:space-between; gap:16px; padding-top:4px}}
.runapi-slider-names span {{overflow-wrap:anywhere}}
.runapi-slider-names span:last-child {{text-align:right}}
</style>"""


def slider_html(
    before: bytes, after: bytes, *, names: tuple[str, str], width: int, height: int
) -> str:
    """Return two pictures on top of each other, with a line between them that can be moved.

    Args:
        before: JPEG or PNG, shown left of the line.
        after: JPEG or PNG, shown right of it.
        names: What the two are called, for the eye and for screen readers.
        width: Width in pixels where there is room for it; less where there is not.
        height: Height in pixels at that width.
    """
    left, right = (escape(name) for name in names)
    return (
        f'{_STYLE}<div class="runapi-slider" data-slider style="--at:50%;width:{width}px">'
        f'<div class="runapi-slider-frame" style="aspect-ratio:{width}/{height}">'
        f'<img class="runapi-slider-after" src="{_data_uri(after)}" alt="{right}">'
        f'<img class="runapi-slider-before" src="{_data_uri(before)}" alt="{left}">'
        '<input type="range" data-slide data-key="slide" min="0" max="100" value="50"'
        f' aria-label="How much of {left} is shown; the rest is {right}">'
        '<div class="runapi-slider-line"></div></div>'
        f'<div class="runapi-slider-names"><span>{left}</span><span>{right}</span></div></div>'
    )


def _data_uri(picture: bytes) -> str:
    mime = "image/png" if picture.startswith(_PNG) else "image/jpeg"
    return f"data:{mime};base64,{base64.b64encode(picture).decode()}"
