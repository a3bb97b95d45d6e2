"""The cell of an image requests exactly this image, and does nothing else."""

from __future__ import annotations

import ast
import hashlib
import keyword
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from IPython.core.inputtransformer2 import TransformerManager
from IPython.core.interactiveshell import InteractiveShell

from runapi_magic.core.request import ImageRequest, Source
from runapi_magic.engine import session
from runapi_magic.engine.codegen import cell_text, variable_name
from runapi_magic.engine.generation import Generation
from runapi_magic.engine.image import GeneratedImage
from runapi_magic.engine.session import Session
from runapi_magic.notebook import extension
from tests.conftest import KEY
from tests.properties import PROPERTY
from tests.sessions import simulate, write_image

IMAGE_ID = "part-1-0"


@pytest.fixture(scope="module")
def notebook(tmp_path_factory):
    """Return a function that runs a cell and returns its request, without sending it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IPYTHONDIR", str(tmp_path_factory.mktemp("ipython")))
        patch.setenv("RUNAPI_MAGIC_HOME", str(tmp_path_factory.mktemp("data")))
        patch.chdir(tmp_path_factory.mktemp("work"))
        patch.setattr(session, "_current", {})
        InteractiveShell.clear_instance()
        shell = InteractiveShell.instance()
        shell.history_manager.enabled = False
        shell.config.RunAPIMagics.api_key = KEY
        extension.load(shell)
        recorded = []

        def record(request, *, new=False, **_):
            assert not new
            recorded.append(request)
            generation = Generation(request, [])
            generation._finish(None)
            return generation

        session._current["session"] = recording_session = Session()
        recording_session.launch = record

        def run(text, **names):
            recorded.clear()
            shell.push(names)
            shell.run_cell(text, silent=False).raise_error()
            (request,) = recorded
            return request, dict(shell.user_ns)

        yield run
        extension.unload(shell)
        shell.history_manager.end_session()
        InteractiveShell.clear_instance()


def _image(request, image_id=IMAGE_ID):
    return GeneratedImage(
        id=image_id, path=Path(f"{image_id}.png"), request=request, width=8, height=6,
        task_id="tsk_1", digest=hashlib.sha256(image_id.encode()).hexdigest(),
    )  # fmt: skip


def _cell(request, index=0):
    return cell_text(_image(request), lambda image: index * (image.id == IMAGE_ID), str)


def _request(prompt="a fox", model="gpt-image-2", *, count=1, **fields):
    return Session().request(prompt, model=model, count=count, **fields)


PROMPTS = st.text(max_size=40) | st.lists(
    st.sampled_from(
        ["\n", "  ", '"', "'", '"""', "{", "}", "{cat}", "{ {", "\\", "\\n", "--new", "-n 3", "%",
         "%%", "%%bash", "!ls", "?", ">>> ", "... ", "...: ", "In [1]: ", "\t", "#", "a fox",
         "naïve", "猫", "👩‍🎨", "\u2028", "\r", "\x0c", "\x85", "\xa0", "\ufeff", "$x", "\x00"]
    ),
    max_size=8,
).map("".join)  # fmt: skip

WORDS = st.text(max_size=12) | st.sampled_from(
    ["2", "-2", "true", "null", "NaN", "Infinity", '"x"', "[1]", "{}", "{cat}", "a b", "a'b", 'a"b',
     "a'b\"c", "--new", "-p", "=", "a=b", "\n", " 2 ", "\\", "16:9", "1k", "[" * 3000, "9" * 5000]
)  # fmt: skip

VALUES = st.recursive(
    st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | WORDS,
    lambda inside: (
        st.lists(inside | st.none(), max_size=3)
        | st.dictionaries(WORDS, inside | st.none(), max_size=3)
    ),
    max_leaves=6,
)

NAMES = st.sampled_from(
    ["aspect_ratio", "output_resolution", "quality", "watermark", "class", "x1", "größe", "a-b",
     "a b", "callback_url", "output_count", "x=1", "{cat}", "lambda"]
)  # fmt: skip


# A model that is not in the catalogue accepts any fields on the route that the user names.
PATH = {"service": "new_service", "action": "text_to_image"}
MODELS = st.tuples(
    st.sampled_from(["a-new-model", "a new model", "{cat}", "-m", "it's"]),
    st.dictionaries(NAMES, VALUES, max_size=4).map(lambda fields: fields | PATH),
) | st.tuples(
    st.just("gpt-image-2"),
    st.fixed_dictionaries(
        {"callback_url": WORDS},
        optional={
            "aspect_ratio": st.sampled_from(["3:2", "21:9"]),
            "output_resolution": st.sampled_from(["1k", "4k"]),
        },
    ),
)


@PROPERTY
@example("... a fox", ("gpt-image-2", {}))
@example("a fox\n   \n  >>> and a hen", ("gpt-image-2", {}))
@example("In [1]: a fox", ("gpt-image-2", {}))
@given(prompt=PROMPTS.map(lambda prompt: f"{prompt}!"), asked_of=MODELS)
def test_any_prompt_and_fields(notebook, prompt, asked_of):
    """For any prompt, fields and model, the cell makes the same request and sets its variable."""
    model, fields = asked_of
    request = _request(prompt, model, **fields)
    recorded, names = notebook(_cell(request), cat="a cat", x="X")
    assert recorded == request
    assert recorded.fingerprint == request.fingerprint
    assert names[variable_name(_image(request))].request is recorded


LABELS = st.sampled_from(["ramp", "row[1]", "größe", "figures['a'].first"])
PATHS = st.sampled_from(
    ["cat.png", "my cat.png", "it's.png", 'a "b".png', "it's \"b\".png", "-i.png", "ramp.png",
     "{ramp}.png", "größe.png", "a\nb.png", "ramp"]
)  # fmt: skip
URLS = st.sampled_from(["https://example.com/a.png?b=c&d='e'", "https://example.com/{ramp}.png",
                        "https://example.com/a b\"c'.png"])  # fmt: skip


@pytest.fixture(scope="module")
def namespace():
    """Variables with images that a user may have."""
    from PIL import Image

    red, blue, green = (Image.new("RGB", (8, 6), name) for name in ("red", "blue", "green"))
    first = type("Figure", (), {"first": green})()
    return {"ramp": red, "figures": {"a": first}, "row": [red, blue], "größe": green}


def _source(kind, word, namespace):
    from runapi_magic.engine.sources import as_source, find_source

    if kind == "path":
        write_image(word)
        return replace(as_source(word), path=Path(word))
    return as_source(word) if kind == "url" else find_source(word, namespace)


@PROPERTY
@given(
    named=st.lists(
        st.tuples(st.just("path"), PATHS)
        | st.tuples(st.just("url"), URLS)
        | st.tuples(st.just("label"), LABELS),
        min_size=1, max_size=4,
    ),
    masked=st.booleans(),
    prompt=st.sampled_from(["snow", "", "{cat}", "a\nb"]),
)  # fmt: skip
def test_any_sources(notebook, namespace, named, masked, prompt):
    """Variables, paths and URLs in a cell lead to the same source images."""
    sources = [_source(*each, namespace) for each in named]
    mask = sources.pop() if masked and len(sources) > 1 else None
    request = Session().request(
        prompt, model="gpt-4o-image", sources=sources, mask=mask, aspect_ratio="1:1"
    )
    recorded, _ = notebook(_cell(request), **namespace)
    assert recorded.fingerprint == request.fingerprint
    assert [one.url for one in recorded.sources] == [one.url for one in request.sources]


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (_request("a fox\nin the snow", aspect_ratio="16:9", output_resolution="2k"),
         "%%gpt_image -m gpt-image-2 -a 16:9 -r 2k -o NAME\na fox\nin the snow"),
        (_request("a", "flux-kontext-pro", safety_tolerance=2, watermark="2024 x"),
         '%%gpt_image -m flux-kontext-pro -p safety_tolerance=2 -p "watermark=2024 x" -o NAME\na'),
        (_request("a fox", "flux-kontext-pro", watermark="2024"),
         "%%gpt_image -m flux-kontext-pro -p 'watermark=\"2024\"' -o NAME\na fox"),
        (_request("a {fox}"),
         "from runapi_magic import generate\n\n"  # noqa: ISC004 (one text)
         "NAME = await generate(\n    'a {fox}',\n    model='gpt-image-2',\n)\nNAME"),
    ],
)  # fmt: skip
def test_the_text(request_, text):
    """A cell is short: short options, and quotes only where they are needed."""
    assert _cell(request_) == text.replace("NAME", variable_name(_image(request_)))


def test_the_text_of_an_edit():
    """The cell of an edit refers to its source by the file, so it works alone."""
    fox = _image(_request(), "fox")
    source = Source("a fox", fox.digest, path=fox.path, image=fox)
    request = Session().request("snow", sources=[source, source], model="gpt-image-2")
    own = variable_name(_image(request))
    assert _cell(request) == f"%%gpt_edit fox.png -i fox.png -m gpt-image-2 -o {own}\nsnow"


def test_the_text_of_an_edit_in_its_lineage():
    """In the cells of a lineage, each cell refers to its source by a variable."""
    fox, hen = _image(_request(), "fox"), _image(_request("a hen"), "hen")
    sources = [Source("label", one.digest, path=one.path, image=one) for one in (fox, hen)]
    name = variable_name(fox)
    for prompt, edit in (
        ("snow", f"%%gpt_edit {name}.images[2] -i hen.png -m gpt-image-2 -o NAME\nsnow"),
        ("a {fox}", f"sources=[{name}.images[2], 'hen.png']"),
    ):
        image = _image(Session().request(prompt, sources=sources, model="gpt-image-2"))
        text = cell_text(image, lambda one: 2 * (one is fox), str, {fox.id})
        assert edit.replace("NAME", variable_name(image)) in text


def test_a_source_of_bytes_that_is_a_image_from_here():
    """A source of bytes that is a generated image is named by its file, not by its variable."""
    fox = _image(_request(), "fox")
    source = Source("file", fox.digest, content=b"...", image=fox)
    request = Session().request("snow", sources=[source], model="gpt-image-2")
    assert _cell(request).startswith("%%gpt_edit fox.png -m ")


def test_a_step_without_instruction():
    """An upscale has no instruction, so its cell is a line magic."""
    fox = _image(_request(), "fox")
    source = Source("a fox", fox.digest, path=fox.path, image=fox)
    request = Session().request("", sources=[source], model="topaz-upscale-image", upscale_factor=4)
    own = variable_name(_image(request))
    assert _cell(request) == (
        f"%gpt_edit fox.png -m topaz-upscale-image -p upscale_factor=4 -o {own}"
    )


@PROPERTY
@given(prompt=PROMPTS, image_id=st.text(max_size=8))
def test_names(prompt, image_id):
    """The variable of an image is an ASCII name, no keyword, and always the same."""
    image = _image(ImageRequest(prompt, "gpt-image-2"), image_id)
    name = variable_name(image)
    assert name.isidentifier()
    assert name.isascii()
    assert not keyword.iskeyword(name)
    assert name == variable_name(image)


def test_two_images_of_one_prompt_have_two_names():
    """Images of the same prompt have different variables."""
    names = {variable_name(_image(_request(), f"part-{n}-0")) for n in range(40)}
    assert len(names) == 40


HOSTILE = ["__import__('os').system('x')", "x\n!touch owned", "a)\nopen('owned', 'w')#", "exit()",
           "x=1)\nopen('owned','w')\n(", "{open('owned')}", "x --then upscale", "-o\n%%bash",
           "' -o x", "\" 'x", "%%bash\ntouch owned"]  # fmt: skip


def _calls(text):
    """Return everything that a Python cell calls."""
    return [
        ast.unparse(node.func) for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)
    ]


@PROPERTY
@given(
    words=st.tuples(*[st.sampled_from(HOSTILE)] * 4),
    field=st.sampled_from([*HOSTILE, "watermark"]),
    with_source=st.booleans(),
)
def test_an_image_from_a_stranger(words, field, with_source):
    """Whatever a stranger's record contains, its cell is one magic or one call of generate."""
    prompt, model, label, value = words
    sources = (Source(label, "0" * 64),) if with_source else ()
    text = _cell(ImageRequest(prompt, model, {field: value}, sources=sources))
    magic = ["get_ipython().run_cell_magic", "get_ipython"]
    assert _calls(TransformerManager().transform_cell(text)) in (magic, ["generate"])
    assert text.startswith(("from runapi_magic import generate\n", "%%gpt_edit ", "%%gpt_image "))


def test_the_second_image_of_a_request(notebook):
    """The cell of a second image requests two images, so that it finds the second on disk."""
    request = _request("a fox")
    recorded, _ = notebook(_cell(request, index=1))
    assert (recorded.count, recorded.fingerprint) == (2, request.fingerprint)
    recorded, _ = notebook(_cell(_request("a {fox}"), index=2))
    assert recorded.count == 3


def test_cells_of_repeated_images():
    """The cell of each image finds this image, also after the request was repeated."""

    async def body(session):
        foxes = await session.generate("a fox", count=2)
        again = await session.repeat(foxes.images[0])
        edit = await again.image.edit("make it snow")
        images = [*foxes.images, again.image]
        cells = [session.cell(image) for image in images]
        return (
            images,
            cells,
            session.library.cells(edit.image),
            [(await session.generate("a fox", count=n)).images[-1].id for n in (1, 2, 3)],
        )

    images, cells, line, found = simulate(body)
    assert [("-n 2" in cell, "-n 3" in cell) for cell in cells] == [
        (False, False), (True, False), (False, True),
    ]  # fmt: skip
    assert found == [image.id for image in images]
    assert line[:-1] == cells[2:]
    assert line[-1].startswith(f"%%gpt_edit {variable_name(images[2])}.images[2] ")


def test_cells_after_a_file_was_deleted():
    """The count in a cell ignores deleted files, like the request does."""

    async def body(session):
        foxes = await session.generate("a fox", count=3)
        foxes.images[0].path.unlink()
        found = await session.generate("a fox", count=2)
        return [session.cell(image) for image in foxes.images[1:]], foxes.images[1:], found.images

    cells, images, found = simulate(body)
    assert [image.id for image in found] == [image.id for image in images]
    assert ["-n 2" in cell for cell in cells] == [False, True]
