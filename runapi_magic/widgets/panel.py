"""The panel: a form, what is under way, and the pictures that were made before."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from html import escape
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from runapi_magic.core.catalog import CATALOGUE, find_model
from runapi_magic.core.request import Source
from runapi_magic.core.text import dollars
from runapi_magic.core.validation import validate
from runapi_magic.display.environment import user_variables
from runapi_magic.display.theme import FONT
from runapi_magic.engine.spending_guard import gate_for
from runapi_magic.errors import InvalidRequestError
from runapi_magic.widgets.availability import question_for
from runapi_magic.widgets.bridge import Bridge
from runapi_magic.widgets.desk import Desk
from runapi_magic.widgets.drawers import button, display_when, row, style
from runapi_magic.widgets.form import FieldsForm
from runapi_magic.widgets.gallery import Gallery
from runapi_magic.widgets.picker import LABELS, Picker
from runapi_magic.widgets.placed import Placed
from runapi_magic.widgets.queue import Queue
from runapi_magic.widgets.stage import Stage
from runapi_magic.widgets.updates import updates_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from runapi_magic.core.catalog import Action, Parameter
    from runapi_magic.core.request import ImageRequest
    from runapi_magic.engine.generation import Generation
    from runapi_magic.engine.image import GeneratedImage
    from runapi_magic.engine.session import Session
    from runapi_magic.widgets.confirm import Confirm

_CLASS = "runapi-panel"
_PAUSE = 0.3  # seconds after the last change until the price is asked for
_MOST = 16  # pictures of one request; more than that is a sweep's or a batch's work
_RECENT = 12  # pictures that are offered as sources


class Panel:
    """The panel of the cell that runs now. Several may be open; the history is one.

    The chosen picture is shown below it as plain output, which survives saving, with the buttons
    that every picture has.

    Args:
        session: What everything is asked of.

    Attributes:
        widget: The panel itself.
    """

    def __init__(self, session: Session) -> None:
        self._desk = Desk(self._show_error)
        self._session = session
        self._pricing = self._picking = 0
        self._stage = Stage(session)
        self._seen: str | None = None
        self._recent: list[GeneratedImage] = []
        self._stop: Callable[[], None] | None = None  # ends the updates; None where there are none

        self._bridge = Bridge(self._on_action, _CLASS)
        self._make_form(user_variables())
        run = self._desk.run
        self.queue = Queue(run)
        self.gallery = Gallery(
            session.library, run, self._desk.work, self._bridge.carry, self._bridge.say
        )
        self.reuse = button("Reuse prompt", "Fill in the form again", run, self._reuse)
        self.start_from = button(
            "Use as source", "Start the next picture from this one", run, self._use
        )
        self._chosen = row(self.reuse, self.start_from)
        columns = row(self._form, self.gallery.widget)
        columns.layout.align_items = "flex-start"
        self.widget = widgets.VBox(
            [
                columns, self.queue.widget, self._chosen,
                style(), self._bridge, self._bridge.missing,
            ]
        )  # fmt: skip
        self.widget.add_class(_CLASS)
        display_when(self._chosen, when=False)

    def _make_form(self, namespace: dict[str, Any]) -> None:
        self.prompt = widgets.Textarea(
            description="Prompt",
            placeholder="What to see, or with a source what to change",
            rows=4,
            continuous_update=False,
            layout=widgets.Layout(width="auto"),
        )
        self.prompt.add_class("runapi-above")
        self.model = widgets.Dropdown(
            options=[(f"{model.title} ({model.name})", model.name) for model in CATALOGUE],
            description="Model",
            layout=widgets.Layout(width="auto"),
            style=LABELS,
        )
        known = {model.name for model in CATALOGUE}
        if self._session.settings.model in known:
            self.model.value = self._session.settings.model
        run, carry = self._desk.run, self._bridge.carry
        self.fields = FieldsForm(carry)
        self._fitted: tuple[Parameter, ...] | None = None
        self.count = widgets.BoundedIntText(
            value=1,
            min=1,
            max=_MOST,
            description="Pictures",
            layout=widgets.Layout(width="140px"),
            style=LABELS,
        )
        self.picker = Picker(namespace, run, carry, self._refit, self._desk.fail)
        self.go = button("Generate", "Send this request", run, self._generate)
        self.go.button_style = "primary"
        for part in (self.prompt, self.model, self.count, self.go):
            carry(part)
        self.price = widgets.HTML()
        self.problem = widgets.HTML()
        self._questions = widgets.VBox()
        self._form = widgets.VBox(
            [
                self.prompt, self.model, self.picker.widget, self.fields.widget,
                self.count, row(self.go, self.price), self._questions, self.problem,
            ],
            layout=widgets.Layout(flex="1 1 340px", min_width="0", padding="0 8px 0 0"),
        )  # fmt: skip
        self._fit()
        self.model.observe(lambda _: run(self._refit), "value")
        for control in (self.prompt, self.count):
            control.observe(lambda _: run(self._ask_price), "value")
        self.fields.on_change(lambda: run(self._ask_price))

    def show(self) -> None:
        """Display the panel, and below it the place of the chosen picture."""
        run = self._desk.run
        Placed(
            self.widget,
            on_removed=self._close,
            on_shown=lambda is_shown: run(self._wake if is_shown else self._rest),
        )
        self._stage.show()
        self._stage.subscribe(self._stage_changed)
        self._listen()
        self._desk.work(self._begin())

    def _listen(self) -> None:
        run = self._desk.run
        self._stop = updates_of(self._session).subscribe(
            lambda: run(lambda: self.picker.offer(self._recent)),
            lambda: run(lambda: self._desk.work(self._reload())),
        )

    def _rest(self) -> None:
        """Follow nothing any more: no page shows the panel."""
        if self._stop is not None:
            self._stop()
            self._stop = None

    def _close(self) -> None:
        """Follow nothing, and ask nothing, any more: the panel is out of the notebook."""
        self._rest()
        self._questions.children = ()  # they answer no

    def _wake(self) -> None:
        """Catch up, where a page shows the panel again."""
        if self._stop is None:
            self._listen()
            self._desk.work(self._reload())

    async def _begin(self) -> None:
        await self._reload()
        self._ask_price()
        waiting = await asyncio.to_thread(self._session.journal.unfinished)
        if waiting:
            count = sum(task.count for task in waiting)
            words = "1 picture is" if count == 1 else f"{count} pictures are"
            resume = button("Resume", "Finish what is unfinished", self._desk.run, lambda: None)
            line = self.queue.offer(f"{words} unfinished.", resume)
            resume.on_click(lambda _: self._desk.run(lambda: self._desk.work(self._resume(line))))

    def _show_error(self, lines: tuple[str, ...]) -> None:
        text = "".join(f"<div>{escape(line)}</div>" for line in lines)
        self.problem.value = f'<div role="alert" style="{FONT}">{text}</div>'

    async def _reload(self) -> None:
        await self.gallery.load()
        self._recent, _ = await asyncio.to_thread(self._session.library.page, limit=_RECENT)
        self.picker.offer(self._recent)

    def _on_action(self, action: str, value: str) -> None:
        """Act on what happened in the page; it is not trusted."""
        if action == "pick":
            self._desk.run(lambda: self._desk.work(self._pick(value)))
        else:
            self._desk.run(lambda: self.fields.act(action, value))

    # The form

    def _action(self) -> Action:
        model = find_model(self.model.value)
        wanted = model.action(with_sources=len(self.picker) > 0)
        action = wanted or model.text or model.edit
        assert action is not None, "every model does something"
        return action

    def _fit(self) -> None:
        """Show the fields that the model takes for what is asked of it."""
        action = self._action()
        if action.parameters != self._fitted:  # new controls would take the focus away
            self._fitted = action.parameters
            self.fields.show(action)
        self.prompt.disabled = action.prompt == "unused"
        edit = find_model(self.model.value).edit
        self.picker.take_mask(when=edit is not None and edit.mask_field is not None)

    def _refit(self) -> None:
        self._fit()
        self._ask_price()

    def _request(self, prompt: str, sources: list[Source], mask: Source | None) -> ImageRequest:
        action = self._action()
        return self._session.request(
            "" if action.prompt == "unused" else prompt,
            sources=sources,
            mask=mask,
            model=self.model.value,
            count=self.count.value,
            **self.fields.values,
        )

    def _ask_price(self) -> None:
        self.problem.value = ""
        self._pricing += 1
        self._desk.work(self._show_price(self._pricing))

    async def _show_price(self, mine: int) -> None:
        await asyncio.sleep(_PAUSE)
        if mine != self._pricing:
            return
        stand_in = Source("source", "")
        words = ""
        try:
            request = self._request(
                self.prompt.value or "a prompt",
                [stand_in] * len(self.picker),
                stand_in if self.picker.has_mask else None,
            )
            validate(request)
            service = await self._session.connection.get_service()
            price = await service.price(request)
            words = "price not known"
            if price is not None:
                kind = "quoted" if price.is_quote else "estimate"
                words = f"{dollars(price.usd)} ({'simulated' if service.is_simulated else kind})"
        except InvalidRequestError as error:
            words = error.what
        if mine == self._pricing:
            self.price.value = f'<span style="{FONT}">{escape(words)}</span>'

    def _generate(self) -> None:
        self.problem.value = ""
        self.picker.take_address()  # what stands in the field is meant, added or not
        request = self._request(self.prompt.value, self.picker.sources, self.picker.mask)
        gate = gate_for(self._session, [request], question=self._question)
        generation = self._session.launch(request, gate=gate)
        self._bridge.say("Under way.")
        self._desk.work(self._bring(generation, request.title))

    def _question(self) -> Confirm | None:
        return question_for(self._session, self._questions)

    async def _resume(self, line: widgets.Box) -> None:
        from runapi_magic.engine.resume import resume_tasks

        loop = self._desk.loop
        generation = await asyncio.to_thread(resume_tasks, self._session, loop=loop)
        self.queue.remove(line)
        if generation.tasks:
            await self._bring(generation, "What was unfinished")

    async def _bring(self, generation: Generation, title: str) -> None:
        """Follow a request to its end, and show its first picture."""
        await self.queue.follow(generation, title)
        if generation.images:
            self._stage.put(generation.images[0])

    # The chosen picture

    async def _pick(self, image_id: str) -> None:
        self._picking += 1
        mine = self._picking
        image = await asyncio.to_thread(self._session.library.find, image_id)
        if image is not None:
            await asyncio.to_thread(self._session.library.prepare, image)
            if mine == self._picking:  # else another one was chosen since
                self._stage.put(replace(image, reused=False))

    def _stage_changed(self) -> None:
        shown = self._stage.shown
        display_when(self._chosen, when=shown is not None)
        if shown is not None and shown.id != self._seen:
            self._seen = shown.id
            self.gallery.mark(shown.id)

    def _reuse(self) -> None:
        """Fill in the form with what the chosen picture was asked for."""
        shown = self._stage.shown
        if shown is None:
            return
        request = shown.request
        self.prompt.value = request.prompt
        if request.model in dict(self.model.options).values():
            self.model.value = request.model
        self.picker.clear()
        for source in request.sources:
            self.picker.add(source.label, source.image or source)
        if request.mask is not None:
            self.picker.add(request.mask.label, request.mask.image or request.mask, is_mask=True)
        self._fit()
        self.fields.set(dict(request.fields))
        self._ask_price()

    def _use(self) -> None:
        shown = self._stage.shown
        if shown is not None:
            self.picker.add(shown.request.title, shown)
