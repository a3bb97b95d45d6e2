"""``--sweep`` becomes requests, or an error that says what to write."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runapi_magic.batch.item import Item
from runapi_magic.batch.sweep import (
    NoImageError,
    NoPictureError,
    Sweep,
    combine,
    parse_sweep,
    sweep_at,
    sweep_items,
)
from runapi_magic.core.request import ImageRequest
from runapi_magic.engine.image import GeneratedImage
from runapi_magic.errors import InvalidRequestError, TaskFailedError
from tests.properties import PROPERTY


class _Series:
    """Like a pandas Series: not a list, but it can be converted to one."""

    def tolist(self):
        return ["oil", "pixel"]


NAMES = {
    "styles": ["oil", "pixel"],
    "plan": SimpleNamespace(styles=("a, b", "c")),
    "sizes": {"all": range(1, 3)},
    "colours": {"red", "blue"},
    "array": np.array([1, 2]),
    "ratios": np.array([0.5, 1.5]),
    "scalars": [np.int64(3), np.float64(0.5), np.str_("x")],
    "series": _Series(),
    "one": "oil",
    "number": 5,
    "mapping": {},
    "nested": [[1]],
    "several": [np.array([1, 2])],
    "empty": [],
    "called": lambda: pytest.fail("it was called"),
}


def _make(prompt, fields):
    fields = dict(fields)
    return ImageRequest(prompt, fields.pop("model", "gpt-image-2"), fields)


def _items(template, *sweeps, options=None, params=()):
    return sweep_items(
        template, sweeps, _make, namespace={"animal": "cat"}, options=options, params=params
    )


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("style=oil,watercolour", ["oil", "watercolour"]),
        (" style = oil , ink wash ", ["oil", "ink wash"]),
        ('style="oil, thick",pixel', ["oil, thick", "pixel"]),
        ("style='oil, thick' , pixel", ["oil, thick", "pixel"]),
        ('style="say ""hi""",\'it\'\'s\'', ['say "hi"', "it's"]),
        ('style=" oil "', [" oil "]),
        ("style=don't,5 o'clock", ["don't", "5 o'clock"]),
        ("style={one},{animal},'{one}'", ["oil", "{animal}", "{one}"]),
        ("style=a=b,c", ["a=b", "c"]),
        ("style={styles}", ["oil", "pixel"]),
        ("style={plan.styles}", ["a, b", "c"]),
        ("style={sizes['all']}", [1, 2]),
        ("style={styles[0]}", ["oil"]),
        ("style={colours}", ["blue", "red"]),
        ("style={array}", [1, 2]),
        ("style={ratios}", [0.5, 1.5]),
        ("style={scalars}", [3, 0.5, "x"]),
        ("style={series}", ["oil", "pixel"]),
        ("style={number}", [5]),
    ],
)
def test_values(text, values):
    """Values are separated by commas, may be in quotes, or come from a variable."""
    name, found = parse_sweep(text, NAMES)
    assert (name, found) == ("style", values)
    assert not [value for value in found if type(value).__module__ == "numpy"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("style", "does not have the form NAME=V1,V2"),
        ("1st=a,b", "does not have the form NAME=V1,V2"),
        ("my style=a,b", "does not have the form NAME=V1,V2"),
        ("style=", "has no values"),
        ("style={empty}", "has no values"),
        ("style=oil,", "an empty value"),
        ("style=,oil", "an empty value"),
        ('style=oil," "', "an empty value"),
        ("style=oil,ink,oil", "the value oil twice"),
        ('style="oil,ink', "are not closed"),
        ("style='oil'x,ink", "are not closed"),
        ("style={nothing}", "there is no variable nothing"),
        ("style={styles.__class__}", "there is no variable styles.__class__"),
        ("style={mapping}", "mapping is of type dict"),
        ("style={called}", "called is of type function"),
        ("style={nested}", "a value of type list"),
        ("style={several}", "a value of type ndarray"),
    ],
)
def test_mistakes(text, words):
    """An invalid list of values is refused in three parts, and nothing is called."""
    with pytest.raises(InvalidRequestError) as caught:
        parse_sweep(text, NAMES)
    what, charged, todo = caught.value.parts
    assert words in what
    assert charged == "Nothing was sent, nothing was charged."
    assert todo


_TEXTS = st.text(st.characters(exclude_categories=["Cs"])).filter(str.strip)


@given(st.lists(_TEXTS, min_size=1, unique=True))
@PROPERTY
def test_any_text_in_quotes(values):
    """Any text can be a value in quotes."""
    quoted = ",".join('"' + value.replace('"', '""') + '"' for value in values)
    assert parse_sweep(f"x={quoted}", {}) == ("x", values)


@given(st.text())
@PROPERTY
def test_any_text_is_values_or_an_error(text):
    """Any text after --sweep gives values or a clear error."""
    with suppress(InvalidRequestError):
        _, values = parse_sweep(f"x={text}", {})
        assert values == list(dict.fromkeys(values))
        assert all(value.strip() for value in values)


@pytest.mark.parametrize(
    ("line", "sweep", "rest"),
    [
        ("--sweep a=x,y --sweep b=z", "a=x,y", " --sweep b=z"),
        ('--sweep a="x, y",z -q', 'a="x, y",z', " -q"),
        ('--sweep a="x, y"', 'a="x, y"', ""),
        ("--sweep 'a=\"x, y\",z' -q", 'a="x, y",z', " -q"),
        ('--sweep "a=x y,z" -q', "a=x y,z", " -q"),
        ("--sweep=a=x, y -q", "a=x, y", " -q"),
        ("--sweep a={values} a cat", "a={values}", " a cat"),
        ("--sweep a={d['k']} a cat", "a={d['k']}", " a cat"),
        ("--sweep a=x a cat, asleep", "a=x", " a cat, asleep"),
    ],
)
def test_in_a_line(line, sweep, rest):
    """A --sweep option ends where its values end; their quotes are kept."""
    found = sweep_at(f"-q {line}", 3)
    assert found is not None
    assert (found[0], f"-q {line}"[found[1] :]) == (sweep, rest)


@pytest.mark.parametrize("line", ["--sweep", "--sweep a", "--sweep =x", "street-sweep a=b"])
def test_no_values_in_a_line(line):
    """An option without values is not read here."""
    assert sweep_at(line, 0) is None


def test_too_many_values():
    """A variable with too many values is refused before they are listed."""
    with pytest.raises(InvalidRequestError, match="10,001 combinations"):
        parse_sweep("seed={many}", {"many": range(10_001)})


def test_combinations():
    """Each combination occurs once; the first variable changes slowest."""
    assert combine([("a", [1, 2]), ("b", ["x", "y"])]) == [
        {"a": 1, "b": "x"}, {"a": 1, "b": "y"}, {"a": 2, "b": "x"}, {"a": 2, "b": "y"},
    ]  # fmt: skip
    with pytest.raises(InvalidRequestError, match="a is given twice"):
        combine([("a", [1]), ("b", [1]), ("a", [2])])
    with pytest.raises(InvalidRequestError, match="1,000,000,000 combinations"):
        combine([(name, range(1000)) for name in "abc"])


def test_a_variable_fills_the_prompt():
    """``{name}`` gets the value of the sweep variable before a user's variable."""
    items = _items("a {animal} in {style}, {other}", ("style", ["oil", "ink"]), ("animal", ["dog"]))
    assert [item.request.prompt for item in items] == [
        "a dog in oil, {other}", "a dog in ink, {other}",
    ]  # fmt: skip
    assert [item.variables for item in items] == [
        {"style": "oil", "animal": "dog"}, {"style": "ink", "animal": "dog"},
    ]  # fmt: skip
    assert [item.index for item in items] == [0, 1]


def test_a_variable_fills_an_option():
    """A sweep variable also fills the values of options."""
    items = _items(
        "a {animal}", ("mark", ["a", "b"]), ("shape", ["16:9"]),
        options={"model": "flux-kontext-pro", "aspect_ratio": "{shape}", "output_resolution": None},
        params=["watermark=by {mark}"],
    )  # fmt: skip
    assert [dict(item.request.fields) for item in items] == [
        {"watermark": "by a", "aspect_ratio": "16:9"},
        {"watermark": "by b", "aspect_ratio": "16:9"},
    ]  # fmt: skip
    assert {item.request.prompt for item in items} == {"a cat"}


def test_a_variable_sets_a_field():
    """A variable that is used nowhere sets the field with its name, read as the option reads it."""
    items = _items("a cat", ("model", ["flux-kontext-pro", "flux-kontext-max"]),
                   ("safety_tolerance", ["0", 1]), ("enable_translation", ["true"]))  # fmt: skip
    found = [(item.request.model, dict(item.request.fields)) for item in items]
    assert found == [
        (model, {"safety_tolerance": tolerance, "enable_translation": True})
        for model in ("flux-kontext-pro", "flux-kontext-max")
        for tolerance in (0, 1)
    ]
    (ratio,) = _items("a cat", ("aspect_ratio", ["1:1"]))
    assert dict(ratio.request.fields) == {"aspect_ratio": "1:1"}


@pytest.mark.parametrize(
    ("sweep", "more", "words"),
    [
        (("styl", ["oil"]), {}, ["no {styl}", "the field styl", "Write {styl}", "aspect_ratio"]),
        (("count", [1, 2]), {}, ["cannot vary count", "-n"]),
        (("prompt", ["x"]), {}, ["no {prompt}", "no model has the field prompt"]),
        (("aspect_ratio", ["1:1"]), {"options": {"aspect_ratio": "16:9"}}, ["twice", "by -a"]),
        (("quality", ["high"]), {"params": ["quality=medium"]}, ["twice", "by -p quality"]),
        (("aspect_ratio", ["1:1", "7:5"]), {}, ["aspect_ratio=7:5: '7:5' is not a value", "16:9"]),
        (("quality", ["high"]), {}, ["quality=high: gpt-image-2 has no field quality"]),
        (("model", ["gpt-image-2", "topaz-upscale-image"]), {},
         ["model=topaz-upscale-image: ", "needs a source image"]),
    ],
)  # fmt: skip
def test_invalid_variables(sweep, more, words):
    """A variable that is neither used nor a field is an error that says what to write."""
    with pytest.raises(InvalidRequestError) as caught:
        _items("a cat", sweep, **more)
    assert [word for word in words if word not in str(caught.value)] == []
    assert "Nothing was sent, nothing was charged." in caught.value.parts


def test_a_used_variable_is_not_a_field():
    """A variable with the name of a field that the prompt uses does not set the field."""
    one, two = _items("{count} cats", ("count", [1, 2]))
    assert (one.request.prompt, two.request.prompt) == ("1 cats", "2 cats")
    assert (one.request.count, dict(one.request.fields)) == (1, {})


def _sweep(*sweeps, prompt="{style} {time}"):
    return Sweep(_items(prompt, *sweeps))


def _image(item, path):
    return GeneratedImage(
        id=str(item.index), path=path, request=item.request, width=8, height=6, task_id="t",
        digest="0" * 64,
    )  # fmt: skip


@pytest.fixture
def sweep(tmp_path):
    """Two styles by two numbers: the second item failed and the third is running."""
    made = _sweep(("style", ["oil", "ink"]), ("time", [1, 2]))
    for index in (0, 3):
        item = made.items[index]
        item.status, item.cost = "completed", 0.06
        item.images = [_image(item, tmp_path / f"{index}.png")]
    made.items[1].status, made.items[1].error = "failed", TaskFailedError("The task failed: no.")
    made.items[2].status = "running"
    return made


def test_images_by_values(sweep):
    """An image is found by its values in the order of the variables, or by their texts."""
    assert sweep.variables == {"style": ["oil", "ink"], "time": [1, 2]}
    assert sweep.images["oil", 1].id == "0"
    assert sweep.images["ink", "2"].id == "3"
    assert sweep["oil", 2] is sweep.items[1]
    assert list(sweep.images) == [("oil", 1), ("ink", 2)]
    assert [image.id for image in sweep.images.values()] == ["0", "3"]
    assert (len(sweep), len(sweep.images), list(sweep)) == (4, 2, sweep.items)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (("oil", 2), "no image of oil, 2: The task failed: no."),
        (("ink", 1), "no image of ink, 1 yet (running)"),
        (("ink", 7), "no combination ink, 7 of style, time"),
        ("oil", "no combination oil of style, time"),
    ],
)
def test_a_missing_image(sweep, values, words):
    """A missing image is a KeyError with the reason."""
    with pytest.raises(NoImageError) as caught:
        sweep.images[values]
    assert words in caught.value.what
    assert NoPictureError is NoImageError  # the name in version 0.1.0
    assert isinstance(caught.value, KeyError)
    assert sweep.images.get(values) is None
    assert values not in sweep.images


def test_one_variable():
    """With one variable, the value alone is the key."""
    made = _sweep(("style", ["oil"]), prompt="{style}")
    item = made.items[0]
    item.images = [_image(item, None)]
    assert made.images["oil"] is item.images[0]
    assert list(made.images) == ["oil"]


def test_table(sweep):
    """The table has a column for each variable, and the result of each combination."""
    head, first, second, third, _ = sweep.table().splitlines()
    assert head.split() == ["style", "time", "status", "USD", "image"]
    assert first.split()[:5] == ["1", "oil", "1", "completed", "0.06"]
    assert first.endswith("0.png")
    assert second.split(maxsplit=4) == ["2", "oil", "2", "failed", "The task failed: no."]
    assert third.split() == ["3", "ink", "1", "running"]
    assert sweep.records()[1] | {"prompt": "", "model": ""} == {
        "style": "oil", "time": 2, "prompt": "", "model": "", "status": "failed", "cost": None,
        "path": None, "error": "The task failed: no.",
    }  # fmt: skip


def test_an_image_in_an_object_store():
    """The table names the URL of an image in an object store, not its local copy."""
    made = _sweep(("style", ["oil"]), prompt="{style}")
    image = _image(made.items[0], Path("cache/0.png"))
    made.items[0].images = [replace(image, stored="s3://bucket/0.png")]
    assert made.table().endswith("  s3://bucket/0.png")


def test_true_and_one_are_two_values():
    """Values that are equal in Python are distinguished by their texts."""
    made = Sweep([Item(n, ImageRequest(str(n), "gpt-image-2"), {"x": x})
                  for n, x in enumerate([1, True])])  # fmt: skip
    assert [repr(value) for value in made.variables["x"]] == ["1", "True"]
    assert made["1"] is made.items[0]
    assert made[True] is made.items[1]
