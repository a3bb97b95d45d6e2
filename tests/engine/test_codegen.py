"""The cell of a picture asks for this picture and no other, and does nothing else."""

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

PICTURE_ID = "part-1-0"


@pytest.fixture(scope="module")
def notebook(tmp_path_factory):
    """A notebook that notes requests instead of sending them: runs a cell, returns its request."""
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
        asked = []

        def note(request, *, new=False, **_):
            assert not new
            asked.append(request)
            generation = Generation(request, [])
            generation._finish(None)
            return generation

        session._current["session"] = noting = Session()
        noting.launch = note

        def run(text, **names):
            asked.clear()
            shell.push(names)
            shell.run_cell(text, silent=False).raise_error()
            (request,) = asked
            return request, dict(shell.user_ns)

        yield run
        extension.unload(shell)
        shell.history_manager.end_session()
        InteractiveShell.clear_instance()


def _picture(request, image_id=PICTURE_ID):
    return GeneratedImage(
        id=image_id, path=Path(f"{image_id}.png"), request=request, width=8, height=6,
        task_id="tsk_1", digest=hashlib.sha256(image_id.encode()).hexdigest(),
    )  # fmt: skip


def _cell(request, take=0):
    return cell_text(_picture(request), lambda image: take * (image.id == PICTURE_ID), str)


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


# A model that the catalogue does not know takes any field and any value on the path that is named.
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
    """Whatever prompt, fields and model hold, the cell asks for just that, and binds its name."""
    model, fields = asked_of
    request = _request(prompt, model, **fields)
    asked, names = notebook(_cell(request), cat="a cat", x="X")
    assert asked == request
    assert asked.fingerprint == request.fingerprint
    assert names[variable_name(_picture(request))].request is asked


LABELS = st.sampled_from(["ramp", "row[1]", "größe", "figures['a'].first"])
PATHS = st.sampled_from(
    ["cat.png", "my cat.png", "it's.png", 'a "b".png', "it's \"b\".png", "-i.png", "ramp.png",
     "{ramp}.png", "größe.png", "a\nb.png", "ramp"]
)  # fmt: skip
URLS = st.sampled_from(["https://example.com/a.png?b=c&d='e'", "https://example.com/{ramp}.png",
                        "https://example.com/a b\"c'.png"])  # fmt: skip


@pytest.fixture(scope="module")
def namespace():
    """Picture-like variables that a user may have."""
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
    """Variables, paths and addresses are named so that the cell finds the same pictures."""
    sources = [_source(*each, namespace) for each in named]
    mask = sources.pop() if masked and len(sources) > 1 else None
    request = Session().request(
        prompt, model="gpt-4o-image", sources=sources, mask=mask, aspect_ratio="1:1"
    )
    asked, _ = notebook(_cell(request), **namespace)
    assert asked.fingerprint == request.fingerprint
    assert [one.url for one in asked.sources] == [one.url for one in request.sources]


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
    """A cell is short and readable: options by their letters, quotes only where they are needed."""
    assert _cell(request_) == text.replace("NAME", variable_name(_picture(request_)))


def test_the_text_of_an_edit():
    """An edit names the picture that it starts from by its file: no other cell is needed for it."""
    fox = _picture(_request(), "fox")
    source = Source("a fox", fox.digest, path=fox.path, image=fox)
    request = Session().request("snow", sources=[source, source], model="gpt-image-2")
    own = variable_name(_picture(request))
    assert _cell(request) == f"%%gpt_edit fox.png -i fox.png -m gpt-image-2 -o {own}\nsnow"


def test_the_text_of_an_edit_in_its_line():
    """In a line, pictures with cells of their own are named by the variables that these bind."""
    fox, hen = _picture(_request(), "fox"), _picture(_request("a hen"), "hen")
    sources = [Source("label", one.digest, path=one.path, image=one) for one in (fox, hen)]
    name = variable_name(fox)
    for prompt, edit in (
        ("snow", f"%%gpt_edit {name}.images[2] -i hen.png -m gpt-image-2 -o NAME\nsnow"),
        ("a {fox}", f"sources=[{name}.images[2], 'hen.png']"),
    ):
        image = _picture(Session().request(prompt, sources=sources, model="gpt-image-2"))
        text = cell_text(image, lambda one: 2 * (one is fox), str, {fox.id})
        assert edit.replace("NAME", variable_name(image)) in text


def test_a_source_of_bytes_that_is_a_picture_from_here():
    """A source that was given as bytes, and is a picture that was made here, is named by its file.

    Its label is a variable that other notebooks have not.
    """
    fox = _picture(_request(), "fox")
    source = Source("file", fox.digest, content=b"...", image=fox)
    request = Session().request("snow", sources=[source], model="gpt-image-2")
    assert _cell(request).startswith("%%gpt_edit fox.png -m ")


def test_a_step_without_instruction():
    """An enlargement, which has no instruction, is a line magic."""
    fox = _picture(_request(), "fox")
    source = Source("a fox", fox.digest, path=fox.path, image=fox)
    request = Session().request("", sources=[source], model="topaz-upscale-image", upscale_factor=4)
    own = variable_name(_picture(request))
    assert _cell(request) == (
        f"%gpt_edit fox.png -m topaz-upscale-image -p upscale_factor=4 -o {own}"
    )


@PROPERTY
@given(prompt=PROMPTS, image_id=st.text(max_size=8))
def test_names(prompt, image_id):
    """The variable of a picture is a name in ASCII, no keyword, and the same every time."""
    image = _picture(ImageRequest(prompt, "gpt-image-2"), image_id)
    name = variable_name(image)
    assert name.isidentifier()
    assert name.isascii()
    assert not keyword.iskeyword(name)
    assert name == variable_name(image)


def test_two_pictures_of_one_prompt_have_two_names():
    """Pictures of the same prompt do not overwrite each other's variable."""
    names = {variable_name(_picture(_request(), f"part-{n}-0")) for n in range(40)}
    assert len(names) == 40


HOSTILE = ["__import__('os').system('x')", "x\n!touch owned", "a)\nopen('owned', 'w')#", "exit()",
           "x=1)\nopen('owned','w')\n(", "{open('owned')}", "x --then upscale", "-o\n%%bash",
           "' -o x", "\" 'x", "%%bash\ntouch owned"]  # fmt: skip


def _calls(text):
    """Everything that a Python cell calls."""
    return [
        ast.unparse(node.func) for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)
    ]


@PROPERTY
@given(
    words=st.tuples(*[st.sampled_from(HOSTILE)] * 4),
    field=st.sampled_from([*HOSTILE, "watermark"]),
    with_source=st.booleans(),
)
def test_a_picture_from_elsewhere(words, field, with_source):
    """Whatever a foreign picture says of itself, its cell is one magic or one call of generate."""
    prompt, model, label, value = words
    sources = (Source(label, "0" * 64),) if with_source else ()
    text = _cell(ImageRequest(prompt, model, {field: value}, sources=sources))
    magic = ["get_ipython().run_cell_magic", "get_ipython"]
    assert _calls(TransformerManager().transform_cell(text)) in (magic, ["generate"])
    assert text.startswith(("from runapi_magic import generate\n", "%%gpt_edit ", "%%gpt_image "))


def test_the_second_take(notebook):
    """A further picture of the same request asks for so many, so that it finds itself on disk."""
    request = _request("a fox")
    asked, _ = notebook(_cell(request, take=1))
    assert (asked.count, asked.fingerprint) == (2, request.fingerprint)
    asked, _ = notebook(_cell(_request("a {fox}"), take=2))
    assert asked.count == 3


def test_takes_of_a_session():
    """Each picture of a session finds itself by its own cell's count: also later takes of it."""

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


def test_a_take_whose_file_is_gone():
    """Takes count by the files that are there, as a request finds them."""

    async def body(session):
        foxes = await session.generate("a fox", count=3)
        foxes.images[0].path.unlink()
        found = await session.generate("a fox", count=2)
        return [session.cell(image) for image in foxes.images[1:]], foxes.images[1:], found.images

    cells, images, found = simulate(body)
    assert [image.id for image in found] == [image.id for image in images]
    assert ["-n 2" in cell for cell in cells] == [False, True]
