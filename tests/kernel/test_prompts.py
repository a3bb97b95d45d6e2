"""What cells send: the guide's example, prompts with variables, and nothing for invalid input."""

from __future__ import annotations

import pytest

from tests.conftest import KEY, clean_environment, serve_simulator
from tests.kernel.conftest import task_requests
from tests.kernel.kernels import error_message, start_kernel

GUIDE = {
    "model": "gpt-image-2-text-to-image",
    "prompt": (
        "A product photo of a glass perfume bottle on a marble surface, transparent background,"
        " studio lighting, the label reads AURORA in gold serif font"
    ),
    "output_resolution": "2k",
    "aspect_ratio": "3:4",
}


@pytest.mark.parametrize(
    ("family", "option", "path", "model"),
    [
        ("guide", "-m gpt-image-2-text-to-image ", "/v1/text_to_image", GUIDE["model"]),
        ("namespaced", "", "/api/v1/gpt_image_2/text_to_image", "gpt-image-2"),
    ],
)
def test_example_of_the_guide(tmp_path, family, option, path, model):
    """A cell with the guide's example sends the guide's JSON and shows the image."""
    with serve_simulator("--speed", "60", "--family", family) as server:
        environment = clean_environment(tmp_path, RUNAPI_BASE_URL=server.url, RUNAPI_API_KEY=KEY)
        with start_kernel(tmp_path, environment, "%load_ext runapi_magic") as kernel:
            cell = kernel.run_ok(f"%%gpt_image {option}-r 2k -a 3:4 -o bottle\n{GUIDE['prompt']}")
            (image,) = kernel.wait_for_images(cell)
            width, height = kernel.value("bottle.image.size")
        (request,) = task_requests(server)
    assert request["path"] == path
    assert request["body"] == GUIDE | {"model": model}
    assert (max(width, height), width / height) == (2048, 0.75)
    (shown,) = image["metadata"].values()
    assert (shown["width"], shown["height"]) == (576, 768)


VARIABLES = """
from types import SimpleNamespace
animal, place = "otter", "in Łódź"
hero = SimpleNamespace(name="Ada", tags=["brave", "small"])
table = {"sky": "green"}
class Loud:
    def __str__(self):
        return "loud words"
loud = Loud()
"""


@pytest.mark.parametrize(
    ("typed", "sent"),
    [
        ("an {animal} {place}", "an otter in Łódź"),
        ("{hero.name} is {hero.tags[0]} and {hero.tags[-1]}", "Ada is brave and small"),
        ("a {table['sky']} sky", "a green sky"),
        ('a {table["sky"]} roof', "a green roof"),
        ("{loud}", "loud words"),
        ("{'a': 1} and {{animal}} and {nobody}", "{'a': 1} and {{animal}} and {nobody}"),
        ("costs $HOME or $animal", "costs $HOME or $animal"),
        ("{len(animal)} {animal.upper()} {hero.__class__}", None),
        ('100 % of "it\'s" {hero.nothing} {hero.tags[9]}', None),
    ],
)
def test_variables_in_a_prompt(kernel, server, typed, sent):
    """A name in braces is replaced by its value. Calls, private names and other braces stay."""
    kernel.run_ok(VARIABLES)
    kernel.run_ok(f"%%gpt_image -q -o sent_one\n{typed}")
    kernel.run_ok("await sent_one")
    assert task_requests(server)[-1]["body"]["prompt"] == (sent or typed)


def test_variables_on_a_line_and_in_options(kernel, server):
    """Variables work in a line magic's prompt and options, also beside quotes and dollars."""
    kernel.run_ok("shape, place = '16:9', 'at sea'")
    kernel.run_ok("ship = %gpt_image -q -a {shape} a dog's ship {place} for $5")
    kernel.run_ok("await ship")
    body = task_requests(server)[-1]["body"]
    assert (body["prompt"], body["aspect_ratio"]) == ("a dog's ship at sea for $5", "16:9")


@pytest.mark.parametrize(
    ("line", "sent"),
    [
        ('%gpt_image -q a cafe sign that says "OPEN"', 'a cafe sign that says "OPEN"'),
        ("%gpt_image -a 1:1 -q a \"red\" and a 'blue' one", "a \"red\" and a 'blue' one"),
        ("%gpt_image -q a sign -- closed", "a sign -- closed"),
        ('%gpt_image -q "a red fox"', "a red fox"),
        ('%gpt_edit -q sign change "OPEN" to "SHUT"', 'change "OPEN" to "SHUT"'),
        ('%gpt_edit -q sign "make it blue"', "make it blue"),
    ],
)
def test_quotes_on_a_line(kernel, server, line, sent):
    """Quotes on a line are part of the prompt, unless they enclose all of it."""
    kernel.run_ok("sign = %gpt_image -q a sign\nawait sign")
    kernel.run_ok(f"made = {line}\nawait made")
    assert task_requests(server)[-1]["body"]["prompt"] == sent


def test_unknown_name_gives_a_note(kernel, server):
    """An unknown name in braces is sent as typed, and a note says so."""
    kernel.run_ok("animal = 'otter'")
    prompt = "an {animal} of a {bread} with {'a': 1} and {{braces}}"
    cell = kernel.run_ok(f"%%gpt_image\n{prompt}")
    assert cell.stream("stdout") == "Note: there is no variable bread; {bread} is sent as typed.\n"
    kernel.wait_for_images(cell)
    sweep = kernel.run_ok("%gpt_image --dry-run --sweep colour=red,blue a {colour} {animall}")
    assert sweep.stream("stdout").count("Note:") == 1
    assert "{animall}" in sweep.stream("stdout")


SETUP = "number = 5\nopen('notes.txt', 'w').write('no picture')"

# Mistakes on the line are a UsageError. Other invalid requests are an InvalidRequestError.
MISTAKES = {
    "edit without source": ("%%gpt_edit\nx", ["no image to edit"]),
    "count of words": ("%%gpt_image -n two\nx", ["two"]),
    "unknown option": ("%%gpt_image --shape 1:1\nx", ["--shape"]),
    "malformed param": ("%%gpt_image -p quality\nx", ["quality", "KEY=VALUE"]),
    "malformed sweep": ("%%gpt_image --sweep style\nx", ["--sweep style"]),
    "wait and detach": ("%%gpt_image --wait --detach\nx", ["--wait", "--detach"]),
    "invalid variable name": ("%%gpt_image -o 2nd\nx", ["2nd"]),
    "keyword as a variable": ("%%gpt_image -o class\nx", ["-o needs the name", "class"]),
    "keyword for a sweep": ("%gpt_image -o if --sweep a=1,2 x {a}", ["-o needs the name", "if"]),
    "step without instruction": ('%%gpt_image --then "refine:"\nx', ["refine", "instruction"]),
    "prompt on the line": ("%%gpt_image a cat\nx", ["a cat"]),
}

INVALID = {
    "empty prompt": ("%%gpt_image\n ", ["prompt"]),
    "unknown ratio": ("%%gpt_image -a 5:9\nx", ["5:9", "1:1", "16:9", "9:21"]),
    "unknown resolution": ("%%gpt_image -r 8k\nx", ["8k", "1k", "2k", "4k"]),
    "ratio that 4o lacks": ("%%gpt_image -m gpt-4o-image -a 16:9\nx", ["1:1", "3:2", "2:3"]),
    "4o without ratio": ("%%gpt_image -m gpt-4o-image\nx", ["aspect_ratio", "3:2"]),
    "missing file": ("%%gpt_edit nowhere/cat.png\nx", ["nowhere/cat.png"]),
    "file that is not an image": ("%%gpt_edit ./notes.txt\nx", ["notes.txt", "is not an image"]),
    "missing variable": ("%%gpt_edit nobody\nx", ["nobody"]),
    "wrong type": ("%%gpt_edit number\nx", ["number", "int"]),
    "count of 0": ("%%gpt_image -n 0\nx", ["0"]),
}


def _check(kernel, server, code, name, words):
    """Run a cell and check that it ends with an error of this name and sends nothing."""
    kernel.run_ok(SETUP)
    before = len(task_requests(server))
    cell = kernel.run(code)
    assert cell.reply["ename"] == name
    message = error_message(cell)
    assert message.startswith(f"{name}: ")
    assert "Nothing was sent" in message
    assert [word for word in words if word not in message] == []
    assert len(cell.outputs) == 1
    assert len(task_requests(server)) == before


@pytest.mark.parametrize(("code", "words"), MISTAKES.values(), ids=MISTAKES)
def test_mistake_on_the_line(kernel, server, code, words):
    """A mistake on the line gives a usage error that names it, and nothing is sent."""
    _check(kernel, server, code, "UsageError", words)


@pytest.mark.parametrize(("code", "words"), INVALID.values(), ids=INVALID)
def test_invalid_request(kernel, server, code, words):
    """An invalid request gives a message that names the problem, and nothing is sent."""
    _check(kernel, server, code, "InvalidRequestError", words)


def test_base_url_without_scheme(kernel, server):
    """A base URL without a scheme is rejected with an example, and nothing is sent."""
    kernel.run_ok("%config RunAPIMagics.base_url = 'runapi.ai'")
    cell = kernel.run("%%gpt_image\na hill without scheme")
    kernel.run_ok("%config RunAPIMagics.base_url = ''")
    message = error_message(cell)
    assert message.startswith("ConfigurationError: ")
    assert "%config RunAPIMagics.base_url" in message
    assert "https://runapi.ai" in message
    assert "Nothing was sent" in message
    assert server.bodies("without scheme") == []
