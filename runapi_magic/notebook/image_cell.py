"""Make requests from the options and the text of a ``%%gpt_image`` or ``%%gpt_edit`` cell.

Modules that only some cells need are imported inside functions, so that the first placeholder is
shown sooner.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from runapi_magic.core.chain import parse_step
from runapi_magic.core.request import Source
from runapi_magic.core.templates import interpolate
from runapi_magic.core.validation import parse_param, validate
from runapi_magic.display import environment
from runapi_magic.engine.spending_guard import gate_for
from runapi_magic.notebook.arguments import reading_line, usage_error
from runapi_magic.notebook.display_hooks import show, show_batch

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from runapi_magic.batch.sweep import Sweep
    from runapi_magic.core.chain import StepRequest
    from runapi_magic.core.request import ImageRequest
    from runapi_magic.engine.generation import Generation
    from runapi_magic.engine.pipeline import Gate
    from runapi_magic.engine.session import Session
    from runapi_magic.engine.spending_guard import Question
    from runapi_magic.notebook.command_output import Report

_FIELD_OPTIONS = ("model", "service", "action", "aspect_ratio", "output_resolution")


class ImageCell:
    """One cell of an image magic.

    Args:
        session: The session that makes the images.
        options: The options of the cell, with ``names``, the variables that the cell can use.
        text: The prompt or instruction as typed.
        sources: The source images as typed.
        bind: Sets the variable of ``-o``; called before the output, which may fail.
    """

    def __init__(
        self,
        session: Session,
        options: argparse.Namespace,
        text: str,
        sources: list[str],
        bind: Callable[[object], None],
    ) -> None:
        self._session = session
        self._options = options
        self._text = text
        self._sources = sources
        self._bind = bind

    def run(self) -> Generation | Sweep | Report | None:
        """Start the requests of the cell and show them; with ``--dry-run`` show only the price.

        Raises:
            UsageError: The value of an option cannot be read; nothing was sent.
            RunAPIError: A request is not valid, or there is no key; nothing was sent.
        """
        return self._run_sweep() if self._options.sweep else self._run_chain()

    # A sweep

    def _run_sweep(self) -> Sweep | Report | None:
        """Start a sweep: one request for every combination of values."""
        from runapi_magic.batch.sweep import Sweep, parse_sweep, sweep_items
        from runapi_magic.notebook.api import start_batch

        options, names, session = self._options, self._options.names, self._session
        if options.then:
            raise usage_error(
                "--sweep and --then cannot be combined.",
                "Run the sweep first, then edit the images that you like.",
            )
        sources, mask = self._found_sources(), self._found_mask()

        def make(prompt: str, fields: dict[str, Any]) -> ImageRequest:
            return session.request(
                prompt, sources=sources, mask=mask, count=options.count, **fields
            )

        with reading_line():
            sweeps = [parse_sweep(one, names) for one in options.sweep]
        items = sweep_items(
            self._text,
            sweeps,
            make,
            namespace=names,
            options={name: getattr(options, name) for name in _FIELD_OPTIONS},
            params=options.param,
        )
        requests = [item.request for item in items]
        since = time.time() if options.new or not session.settings.reuse else 0.0
        if options.dry_run:
            return self._report_price(requests, since)
        gate = self._gate(requests, since)
        sweep = Sweep(
            items, title=self._text.strip(), concurrency=session.settings.concurrency, since=since
        )
        start_batch(sweep, session, gate)
        self._bind(sweep)
        if options.quiet:
            sweep.shown_in = environment.current_cell()
        else:
            show_batch(sweep, session)
        return sweep

    # A request and its steps

    def _run_chain(self) -> Generation | Report | None:
        """Start one request and the steps after it."""
        options = self._options
        request = self._session.request(
            interpolate(self._text, options.names),
            sources=self._found_sources(),
            mask=self._found_mask(),
            count=options.count,
            **self._fields(),
        )
        validate(request)  # before asking for a price or a confirmation
        steps = self._steps(request)
        requests = [request, *self._checked(steps)]
        if options.dry_run:
            return self._report_price(requests, None if options.new else 0.0)
        chain = self._start_chain(requests, steps)
        self._bind(chain[-1])
        for generation in chain:
            if options.quiet:
                generation.shown_in = environment.current_cell()
            else:
                show(generation, self._session)
        return chain[-1]

    def _steps(self, request: ImageRequest) -> list[StepRequest]:
        names = self._options.names
        texts = [interpolate(step, names) for step in self._options.then]
        with reading_line():
            steps = [parse_step(text) for text in texts]
        if steps and request.count > 1:
            raise usage_error(
                "--then continues with one image, but -n asks for several.",
                "Remove -n, or edit the images one by one.",
            )
        return steps

    def _checked(self, steps: list[StepRequest]) -> list[ImageRequest]:
        """Return the requests of all steps, checked before the first request is sent."""
        source = Source("the image before", "")
        requests = [
            self._session.request(step.instruction, sources=[source], **step.fields)
            for step in steps
        ]
        for request in requests:
            validate(request)
        return requests

    def _start_chain(
        self, requests: list[ImageRequest], steps: list[StepRequest]
    ) -> list[Generation]:
        """Start a request and its steps. Each step waits for the image of the step before it."""
        session, is_new = self._session, self._options.new
        gate = self._gate(requests, None if is_new else 0.0)
        # A step uses the image of the step before, not a version that was chosen in that cell.
        own: dict[str, Any] = {"cell_location": None} if steps else {}
        chain = [session.launch(requests[0], new=is_new, gate=gate, **own)]
        for number, step in enumerate(steps, 1):
            from runapi_magic.engine.sources import as_source

            before = as_source(chain[-1])
            after = session.request(step.instruction, sources=[before], **step.fields)
            own = own if number < len(steps) else {}
            chain.append(session.launch(after, new=is_new, **own))
        return chain

    # What both need

    def _fields(self) -> dict[str, Any]:
        names = self._options.names
        params = [interpolate(param, names) for param in self._options.param]
        with reading_line():
            fields = dict(parse_param(param) for param in params)
        for name in _FIELD_OPTIONS:
            value = getattr(self._options, name)
            if value is not None:
                fields[name] = interpolate(value, names)
        return fields

    def _found_sources(self) -> list[Source]:
        return [self._find_source(source) for source in self._sources]

    def _found_mask(self) -> Source | None:
        return self._find_source(self._options.mask) if self._options.mask else None

    def _find_source(self, text: str) -> Source:
        from runapi_magic.engine.sources import find_source

        return find_source(text, self._options.names)

    def _report_price(self, requests: list[ImageRequest], since: float | None) -> Report | None:
        from runapi_magic.notebook.command_output import report

        return report(self._price(requests, since))

    async def _price(self, requests: list[ImageRequest], since: float | None) -> str:
        cost = await self._session.cost(requests, since=since)
        simulated = " Simulated: nothing is charged." if self._session.simulator else ""
        return f"{cost}. Nothing was sent.{simulated}"

    def _gate(self, requests: list[ImageRequest], since: float | None) -> Gate | None:
        return gate_for(
            self._session,
            requests,
            max_cost=self._options.max_cost,
            asks=not self._options.yes,
            question=self._question(),
            since=since,
        )

    def _question(self) -> Callable[[], Question | None] | None:
        """Return a function that makes the confirmation; None if a click would have to wait."""
        if self._options.wait:
            return None
        from runapi_magic.widgets.availability import question_for

        return lambda: question_for(self._session)
