"""Every model and action of the catalogue once through the magics, in a real kernel."""

from __future__ import annotations

import pytest
from PIL import Image

from runapi_magic.core.catalog import CATALOGUE
from tests.conftest import KEY, clean_environment, serve_simulator
from tests.kernel.kernels import start_kernel

WIDTH, HEIGHT = 96, 64  # of the sources on disk
SAME_SHAPE = (1024, 683)  # of an edit that keeps their shape

FOUR_O = "-m gpt-4o-image -a 1:1 -n 2"
FLUX = (
    "-p output_format=png -p watermark=me -p enable_translation=false"
    " -p enable_prompt_expansion=true -p safety_tolerance=6"
)

# The cell (WHAT stands for a prompt of its own), path, body without model and prompt, pictures.
CELLS = {
    "gpt-image-2": (
        "%%gpt_image -m gpt-image-2 -a 3:4 -r 2k -o made\nWHAT",
        "/api/v1/gpt_image_2/text_to_image",
        {"aspect_ratio": "3:4", "output_resolution": "2k"},
        [((1536, 2048), "RGB")],
    ),
    "gpt-image-2 edit": (
        "%%gpt_edit ./cat.png ./hat.png -m gpt-image-2 -a 16:9 -o made\nWHAT",
        "/api/v1/gpt_image_2/edit_image",
        {"aspect_ratio": "16:9", "source_image_urls": ["cat.png", "hat.png"]},
        [((1024, 576), "RGB")],
    ),
    "gpt-image-2-text-to-image": (
        "%%gpt_image -m gpt-image-2-text-to-image -a 1:1 -r 1k -o made\nWHAT",
        "/v1/text_to_image",
        {"aspect_ratio": "1:1", "output_resolution": "1k"},
        [((1024, 1024), "RGB")],
    ),
    "gpt-image-2-image-to-image edit": (
        "%%gpt_edit ./cat.png -m gpt-image-2-image-to-image -o made\nWHAT",
        "/v1/edit_image",
        {"source_image_urls": ["cat.png"]},
        [(SAME_SHAPE, "RGB")],
    ),
    "gpt-image-2.5-flare": (
        "%%gpt_image -m gpt-image-2.5-flare -a 1:1 -r 2k -o made\nWHAT",
        "/api/v1/gpt_image_2_5/text_to_image",
        {"aspect_ratio": "1:1", "output_resolution": "2k"},
        [((2048, 2048), "RGB")],
    ),
    "gpt-image-2.5-flare edit": (
        "%%gpt_edit ./cat.png -m gpt-image-2.5-flare -a 1:3 -o made\nWHAT",
        "/api/v1/gpt_image_2_5/edit_image",
        {"aspect_ratio": "1:3", "source_image_urls": ["cat.png"]},
        [((341, 1024), "RGB")],
    ),
    "gpt-image-2.5-sunburst": (
        "%%gpt_image -m gpt-image-2.5-sunburst -a 4:5 -o made\nWHAT",
        "/api/v1/gpt_image_2_5/text_to_image",
        {"aspect_ratio": "4:5"},
        [((819, 1024), "RGB")],
    ),
    "gpt-image-2.5-sunburst edit": (
        "%%gpt_edit ./cat.png -m gpt-image-2.5-sunburst -o made\nWHAT",
        "/api/v1/gpt_image_2_5/edit_image",
        {"source_image_urls": ["cat.png"]},
        [(SAME_SHAPE, "RGB")],
    ),
    "gpt-image-1.5": (
        "%%gpt_image -m gpt-image-1.5 -a 2:3 -p quality=high -o made\nWHAT",
        "/api/v1/gpt_image/text_to_image",
        {"aspect_ratio": "2:3", "quality": "high"},
        [((683, 1024), "RGB")],
    ),
    "gpt-image-1.5 edit": (
        "%%gpt_edit ./cat.png -m gpt-image-1.5 -a 1:1 -p quality=medium -o made\nWHAT",
        "/api/v1/gpt_image/edit_image",
        {"aspect_ratio": "1:1", "quality": "medium", "source_image_urls": ["cat.png"]},
        [((1024, 1024), "RGB")],
    ),
    "gpt-4o-image": (
        "%%gpt_image -m gpt-4o-image -a 3:2 -n 4 -p enable_prompt_expansion=true -o made\nWHAT",
        "/api/v1/gpt_4o_image/text_to_image",
        {"aspect_ratio": "3:2", "output_count": 4, "enable_prompt_expansion": True},
        [((1024, 683), "RGB")] * 4,
    ),
    "gpt-4o-image edit": (
        f"%%gpt_edit ./cat.png -i ./hat.png --mask ./mask.png {FOUR_O} -o made\nWHAT",
        "/api/v1/gpt_4o_image/text_to_image",
        {
            "aspect_ratio": "1:1",
            "source_image_urls": ["cat.png", "hat.png"],
            "mask_url": "mask.png",
            "output_count": 2,
        },
        [((1024, 1024), "RGB")] * 2,
    ),
    "flux-kontext-pro": (
        f"%%gpt_image -m flux-kontext-pro -a 21:9 {FLUX} -o made\nWHAT",
        "/api/v1/flux_kontext/text_to_image",
        {
            "aspect_ratio": "21:9",
            "output_format": "png",
            "watermark": "me",
            "enable_translation": False,
            "enable_prompt_expansion": True,
            "safety_tolerance": 6,
        },
        [((1024, 439), "RGB")],
    ),
    "flux-kontext-pro edit": (
        "%%gpt_edit ./cat.png -m flux-kontext-pro -p safety_tolerance=2 -o made\nWHAT",
        "/api/v1/flux_kontext/text_to_image",
        {"safety_tolerance": 2, "source_image_url": "cat.png"},
        [(SAME_SHAPE, "RGB")],
    ),
    "flux-kontext-max": (
        "%%gpt_image -m flux-kontext-max -p output_format=jpeg -o made\nWHAT",
        "/api/v1/flux_kontext/text_to_image",
        {"output_format": "jpeg"},
        [((1024, 576), "RGB")],
    ),
    "flux-kontext-max edit": (
        "%%gpt_edit ./cat.png -m flux-kontext-max -a 1:1 -o made\nWHAT",
        "/api/v1/flux_kontext/text_to_image",
        {"aspect_ratio": "1:1", "source_image_url": "cat.png"},
        [((1024, 1024), "RGB")],
    ),
    **{
        f"topaz-upscale-image edit {factor}": (
            f"%gpt_edit -m topaz-upscale-image -p upscale_factor={factor} -o made ./cat.png",
            "/api/v1/topaz/upscale_image",
            {"upscale_factor": factor, "source_image_url": "cat.png"},
            [((WIDTH * factor, HEIGHT * factor), "RGB")],
        )
        for factor in (1, 2, 4)
    },
    "recraft-remove-background edit": (
        "%gpt_edit -m recraft-remove-background -o made ./cat.png",
        "/api/v1/recraft/remove_background",
        {"source_image_url": "cat.png"},
        [((WIDTH, HEIGHT), "RGBA")],
    ),
    "recraft-crisp-upscale edit": (
        "%gpt_edit -m recraft-crisp-upscale -o made ./cat.png",
        "/api/v1/recraft/upscale_image",
        {"source_image_url": "cat.png"},
        [((WIDTH * 4, HEIGHT * 4), "RGB")],
    ),
}


@pytest.fixture(scope="module", autouse=True)
def _pictures(workspace):
    """Pictures beside the kernel's notebook, to start from."""
    for name, colour in (("cat", "orange"), ("hat", "navy"), ("mask", "black")):
        picture = Image.new("RGB", (WIDTH, HEIGHT), "white")
        picture.paste(colour, (WIDTH // 4, HEIGHT // 4, WIDTH * 3 // 4, HEIGHT * 3 // 4))
        if name == "mask":  # transparent where the picture is to change
            picture.putalpha(picture.convert("L").point(lambda level: 255 - level))
        picture.save(workspace.folder / f"{name}.png")


def creates(server):
    """Path and body of the requests for a task; an uploaded picture shows as its file's name."""
    return [
        (request["path"], {name: _named(server, v) for name, v in request["body"].items()})
        for request in server.state()["requests"]
        if request["method"] == "POST"
        and "/files/" not in request["path"]
        and not request["path"].endswith("/price_quotes")
    ]


def _named(server, value):
    if isinstance(value, list):
        return [_named(server, item) for item in value]
    is_ours = isinstance(value, str) and value.startswith(f"{server.url}/files/")
    return value.rpartition("/")[2] if is_ours else value


@pytest.mark.parametrize("name", CELLS)
def test_each_model_through_the_magics(kernel, server, name):
    """What is sent is what was asked for, and pictures of the right size and kind come and show."""
    code, path, body, pictures = CELLS[name]
    prompt = f"a hill, painted by {name}"
    words = {"prompt": prompt} if "WHAT" in code else {}
    before = len(creates(server))
    cell = kernel.run_ok(code.replace("WHAT", prompt))
    kernel.run_ok("await made")
    assert creates(server)[before:] == [(path, body | words | {"model": name.split()[0]})]
    found = kernel.value("[(image.size, image.pil().mode) for image in made.images]")
    assert found == pictures
    assert kernel.wait_for_images(cell)
    assert "Traceback" not in cell.text
    assert cell.stream("stderr") == ""


def test_every_model_and_action_has_a_cell():
    """A model or an action that joins the catalogue must be tried here too."""
    known = {
        model.name + (" edit" if edits else "")
        for model in CATALOGUE
        for edits in (False, True)
        if model.action(with_sources=edits)
    }
    assert {" ".join(name.split()[:2]) for name in CELLS} == known


def test_a_background_becomes_transparent(kernel, server):
    """Recraft's picture is a PNG with nothing at its corner, shown as a PNG too."""
    cell = kernel.run_ok("%gpt_edit -m recraft-remove-background -o alone ./hat.png")
    kernel.run_ok("await alone")
    corner = kernel.value("alone.image.pil().getchannel('A').getpixel((2, 2))")
    middle = kernel.value("alone.image.pil().getchannel('A').getpixel((48, 32))")
    assert (corner, middle) == (0, 255)
    (picture,) = kernel.wait_for_images(cell)
    assert "image/png" in picture["data"]


THREE = """
seen = []
three = %gpt_image -m gpt-4o-image -a 1:1 -n 3 three hills
def note():
    seen.extend((part.count, part.progress) for part in three.parts if part.progress)
stop = three.subscribe(note)
"""


def test_three_pictures_of_4o(tmp_path):
    """Three pictures become tasks of two and one; the service's progress reaches each part."""
    with serve_simulator("--speed", "6") as server:
        environment = clean_environment(tmp_path, RUNAPI_BASE_URL=server.url, RUNAPI_API_KEY=KEY)
        with start_kernel(tmp_path, environment, "%load_ext runapi_magic") as kernel:
            kernel.run_ok(THREE)
            kernel.run_ok("await three")
            assert kernel.value("[part.count for part in three.parts]") == [2, 1]
            assert kernel.value("[image.size for image in three.images]") == [(1024, 1024)] * 3
            seen = kernel.value("sorted(set(seen))")
        asked = [body.get("output_count") for _, body in creates(server)]
    assert sorted(asked, key=str) == [2, None]
    assert {count for count, _ in seen} == {1, 2}
    assert all(0 < share <= 1 for _, share in seen)
