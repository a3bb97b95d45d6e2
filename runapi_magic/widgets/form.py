"""The part of a form that belongs to a model: one control for each of an action's parameters.

The shape and the size are rows of buttons in HTML, which the bridge of the container around the
form tells about; everything else is core ipywidgets. Nothing is set until the user sets it: the
service's default is shown, never sent.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from runapi_magic.display.theme import ACCENT, LINE, MUTED

if TYPE_CHECKING:
    from collections.abc import Callable

    from runapi_magic.core.catalog import Action, Parameter

# Parameters that are buttons, with the name of the buttons' action.
_BUTTONS = {"aspect_ratio": "ratio", "output_resolution": "resolution"}
_UNSET = ""  # a menu's value where nothing is chosen
_LONGEST = 26  # pixels, the longest side of a drawn ratio
_SHORTEST = 5
_AUTO = "auto"

_STYLE = f"""<style>
.runapi-fields {{overflow:visible}}
.runapi-fields > .jupyter-widgets {{width:auto; margin:4px 2px}}
.runapi-fields > :is(.widget-dropdown, .widget-text) {{flex-direction:column; height:auto;
  align-items:stretch; max-width:304px}}
.runapi-fields > .widget-inline-hbox > .widget-label {{width:auto; max-width:none; text-align:left;
  margin:0; white-space:normal; flex:none}}
.runapi-fields > .widget-inline-hbox > :is(select, input) {{flex:none; height:28px}}
.runapi-choice {{font-family:var(--jp-ui-font-family,system-ui,sans-serif); font-size:13px;
  line-height:1.5; color:var(--jp-ui-font-color1,inherit)}}
.runapi-choice-title {{line-height:28px}}
.runapi-choice-state {{{MUTED}}}
.runapi-choice-buttons {{display:flex; flex-wrap:wrap; gap:4px}}
.runapi-choice button {{box-sizing:border-box; min-width:52px; min-height:28px; margin:0;
  padding:4px 6px; display:flex; flex-direction:column; align-items:center;
  justify-content:flex-end; gap:4px; font:inherit; font-size:12px; line-height:16px; color:inherit;
  background:var(--jp-layout-color1,transparent); border:1px solid {LINE}; border-radius:4px;
  cursor:pointer}}
.runapi-choice button:hover {{background:var(--jp-layout-color2,rgba(128,128,128,.2))}}
.runapi-choice button[aria-pressed=true] {{border-color:{ACCENT};
  box-shadow:inset 0 0 0 1px {ACCENT}; font-weight:600}}
.runapi-choice button:focus-visible {{outline:2px solid {ACCENT}; outline-offset:2px}}
.runapi-choice-room {{display:flex; align-items:center; justify-content:center;
  height:{_LONGEST + 2}px}}
.runapi-choice-box {{box-sizing:border-box; border:2px solid currentColor; border-radius:2px}}
@media (forced-colors:active) {{.runapi-choice button[aria-pressed=true] {{border:3px solid
  Highlight}} }}
</style>"""


class FieldsForm:
    """The controls of an action's parameters.

    Args:
        carry: Called with each menu and field, for ``Bridge.carry``.

    Attributes:
        widget: The controls, to be placed in the container of a bridge.
    """

    def __init__(self, carry: Callable[[Any], None] = lambda _: None) -> None:
        self._carry = carry
        self.widget = widgets.VBox()
        self.widget.add_class("runapi-fields")
        self._style = widgets.HTML(_STYLE, layout=widgets.Layout(display="none"))
        self._parameters: tuple[Parameter, ...] = ()
        self._controls: dict[str, Any] = {}
        self._wanted: dict[str, Any] = {}
        self._callbacks: list[Callable[[], None]] = []

    @property
    def values(self) -> dict[str, Any]:
        """What the user set of this action's parameters, by RunAPI's names of them."""
        return {
            known.name: self._wanted[known.name]
            for known in self._parameters
            if _fits(known, self._wanted.get(known.name))
        }

    def on_change(self, callback: Callable[[], None]) -> None:
        """Call a function whenever the user sets something, perhaps on another thread."""
        self._callbacks.append(callback)

    def show(self, action: Action) -> None:
        """Show an action's controls.

        Values that were set for another action stay where they fit. Those that do not are out of
        sight and out of :attr:`values`, and come back with an action that takes them.
        """
        old = self._controls.values()
        self._parameters = action.parameters
        self._controls = {known.name: self._control(known) for known in action.parameters}
        self.widget.children = [self._style, *self._controls.values()]
        for control in old:
            for part in (control.layout, control.style, control):
                part.close()

    def set(self, values: dict[str, Any]) -> None:
        """Set these values and no others; what the action does not take is out of sight."""
        self._wanted = dict(values)
        for known in self._parameters:
            self._draw(known)

    def act(self, action: str, value: str) -> bool:
        """Take in what a bridge told; return whether it was one of this form's buttons.

        A button that is pressed already is released: the service's default counts again.
        """
        known = next((p for p in self._parameters if _BUTTONS.get(p.name) == action), None)
        if known is None or value not in known.choices:
            return False
        pressed = self.values.get(known.name) == value
        self._change(known, None if pressed else value)
        self._draw(known)
        return True

    def _change(self, parameter: Parameter, value: Any) -> None:
        if self._wanted.get(parameter.name) == value:
            return
        self._wanted[parameter.name] = value
        for callback in self._callbacks:
            callback()

    def _control(self, parameter: Parameter) -> Any:
        value = self.values.get(parameter.name)
        if parameter.name in _BUTTONS:
            return widgets.HTML(_buttons(parameter, value))
        about = {"description": _label(parameter), "tooltip": parameter.help}
        if parameter.choices or parameter.kind is bool:
            shown = _UNSET if value is None else value
            control = widgets.Dropdown(options=_options(parameter), value=shown, **about)
        else:
            control = widgets.Text(value=value or "", continuous_update=False, **about)
        self._carry(control)
        control.observe(lambda change: self._on_control(parameter, change["new"]), "value")
        return control

    def _on_control(self, parameter: Parameter, value: Any) -> None:
        self._change(parameter, None if value == _UNSET else value)

    def _draw(self, parameter: Parameter) -> None:
        """Show a parameter's value in its control."""
        value = self.values.get(parameter.name)
        if parameter.name in _BUTTONS:
            shown: Any = _buttons(parameter, value)
        else:
            shown = _UNSET if value is None else value
        self._controls[parameter.name].value = shown


def _fits(parameter: Parameter, value: Any) -> bool:
    if type(value) is not parameter.kind:
        return False
    return not parameter.choices or value in parameter.choices


def _title(parameter: Parameter) -> str:
    return parameter.name.replace("_", " ").capitalize()


def _label(parameter: Parameter) -> str:
    return _title(parameter) + (" (required)" if parameter.required else "")


def _default(parameter: Parameter) -> str:
    """Return what counts where nothing is chosen, in words."""
    if parameter.required:
        return "choose one"
    if parameter.default is None:
        return "default"
    return f"default ({_word(parameter.default)})"


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _options(parameter: Parameter) -> list[tuple[str, Any]]:
    choices = (True, False) if parameter.kind is bool else parameter.choices
    return [(_default(parameter), _UNSET), *((_word(choice), choice) for choice in choices)]


def _buttons(parameter: Parameter, value: Any) -> str:
    """Return a parameter's choices as buttons."""
    title = escape(_label(parameter))
    state = escape(_default(parameter) if value is None else _word(value))
    buttons = "".join(_button(parameter, str(choice), value) for choice in parameter.choices)
    return (
        f'<div class="runapi-choice" role="group" aria-label="{title}">'
        f'<div class="runapi-choice-title" title="{escape(parameter.help)}">{title}:'
        f' <span class="runapi-choice-state">{state}</span></div>'
        f'<div class="runapi-choice-buttons">{buttons}</div></div>'
    )


def _button(parameter: Parameter, choice: str, value: Any) -> str:
    action = _BUTTONS[parameter.name]
    pressed = "true" if choice == value else "false"
    box = _box(choice) if parameter.name == "aspect_ratio" else ""
    return (
        f'<button type="button" data-action="{action}" data-value="{escape(choice)}"'
        f' data-key="{action}-{escape(choice)}" aria-pressed="{pressed}">'
        f"{box}<span>{escape(choice)}</span></button>"
    )


def _box(ratio: str) -> str:
    """Return a box of a ratio's shape; a dashed square for a shape that the service chooses."""
    width, height = (1, 1) if ratio == _AUTO else map(int, ratio.split(":"))
    scale = _LONGEST / max(width, height)
    sides = f"width:{_side(width * scale)}px;height:{_side(height * scale)}px"
    dashed = ";border-style:dashed" if ratio == _AUTO else ""
    return (
        '<span class="runapi-choice-room"><span class="runapi-choice-box"'
        f' style="{sides}{dashed}"></span></span>'
    )


def _side(pixels: float) -> int:
    return max(_SHORTEST, round(pixels))
