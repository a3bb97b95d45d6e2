"""Each model and action of the catalog, used once through the magics in a real kernel."""

from __future__ import annotations

import pytest
from PIL import Image

from runapi_magic.core.catalog import CATALOGUE
from tests.conftest import KEY, clean_environment, serve_simulator
from tests.kernel.kernels import start_kernel

WIDTH, HEIGHT = 96, 64  # of the source files
SAME_SHAPE = (1024, 683)  # of an edit that keeps the aspect ratio of the source files

FOUR_O = "-m gpt-4o-image -a 1:1 -n 2"
FLUX = (
    "-p output_format=png -p watermark=me -p enable_translation=false"
    " -p enable_prompt_expansion=true -p safety_tolerance=6"
)

# For each model: the cell (PROMPT is replaced by a prompt), the request's path, its body without
# model and prompt, and the sizes and modes of the images.
CELLS = {
    "gpt-image-2": (
        "%%gpt_image -m gpt-image-2 -a 3:4 -r 2k -o made\nPROMPT",
        "/api/v1/gpt_image_2/text_to_image",
        {"aspect_ratio": "3:4", "output_resolution": "2k"},
        [((1536, 2048), "RGB")],
    ),
    "gpt-image-2 edit": (
        "%%gpt_edit ./cat.png ./hat.png -m gpt-image-2 -a 16:9 -o made\nPROMPT",
        "/api/v1/gpt_image_2/edit_image",
        {"aspect_ratio": "16:9", "source_image_urls": ["cat.png", "hat.png"]},
        [((1024, 576), "RGB")],
    ),
    "gpt-image-2-text-to-image": (
        "%%gpt_image -m gpt-image-2-text-to-image -a 1:1 -r 1k -o made\nPROMPT",
        "/v1/text_to_image",
        {"aspect_ratio": "1:1", "output_resolution": "1k"},
        [((1024, 1024), "RGB")],
    ),
    "gpt-image-2-image-to-image edit": (
        "%%gpt_edit ./cat.png -m gpt-image-2-image-to-image -o made\nPROMPT",
        "/v1/edit_image",
        {"source_image_urls": ["cat.png"]},
        [(SAME_SHAPE, "RGB")],
    ),
    "gpt-image-2.5-flare": (
        "%%gpt_image -m gpt-image-2.5-flare -a 1:1 -r 2k -o made\nPROMPT",
        "/api/v1/gpt_image_2_5/text_to_image",
        {"aspect_ratio": "1:1", "output_resolution": "2k"},
        [((2048, 2048), "RGB")],
    ),
    "gpt-image-2.5-flare edit": (
        "%%gpt_edit ./cat.png -m gpt-image-2.5-flare -a 1:3 -o made\nPROMPT",
        "/api/v1/gpt_image_2_5/edit_image",
        {"aspect_ratio": "1:3", "source_image_urls": ["cat.png"]},
        [((341, 1024), "RGB")],
    ),
    "gpt-image-2.5-sunburst": (
        "%%gpt_image -m gpt-image-2.5-sunburst -a 4:5 -o made\nPROMPT",
        "/api/v1/gpt_image_2_5/text_to_image",
        {"aspect_ratio": "4:5"},
        [((819, 1024), "RGB")],
    ),
    "gpt-image-2.5-sunburst edit": (
        "%%gpt_edit ./cat.png -m gpt-image-2.5-sunburst -o made\nPROMPT",
        "/api/v1/gpt_image_2_5/edit_image",
        {"source_image_urls": ["cat.png"]},
        [(SAME_SHAPE, "RGB")],
    ),
    "gpt-image-1.5": (
        "%%gpt_image -m gpt-image-1.5 -a 2:3 -p quality=high -o made\nPROMPT",
        "/api/v1/gpt_image/text_to_image",
        {"aspect_ratio": "2:3", "quality": "high"},
        [((683, 1024), "RGB")],
    ),
    "gpt-image-1.5 edit": (
        "%%gpt_edit ./cat.png -m gpt-image-1.5 -a 1:1 -p quality=medium -o made\nPROMPT",
        "/api/v1/gpt_image/edit_image",
        {"aspect_ratio": "1:1", "quality": "medium", "source_image_urls": ["cat.png"]},
        [((1024, 1024), "RGB")],
    ),
    "gpt-4o-image": (
        "%%gpt_image -m gpt-4o-image -a 3:2 -n 4 -p enable_prompt_expansion=true -o made\nPROMPT",
        "/api/v1/gpt_4o_image/text_to_image",
        {"aspect_ratio": "3:2", "output_count": 4, "enable_prompt_expansion": True},
        [((1024, 683), "RGB")] * 4,
    ),
    "gpt-4o-image edit": (
        f"%%gpt_edit ./cat.png -i ./hat.png --mask ./mask.png {FOUR_O} -o made\nPROMPT",
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
        f"%%gpt_image -m flux-kontext-pro -a 21:9 {FLUX} -o made\nPROMPT",
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
        "%%gpt_edit ./cat.png -m flux-kontext-pro -p safety_tolerance=2 -o made\nPROMPT",
        "/api/v1/flux_kontext/text_to_image",
        {"safety_tolerance": 2, "source_image_url": "cat.png"},
        [(SAME_SHAPE, "RGB")],
    ),
    "flux-kontext-max": (
        "%%gpt_image -m flux-kontext-max -p output_format=jpeg -o made\nPROMPT",
        "/api/v1/flux_kontext/text_to_image",
        {"output_format": "jpeg"},
        [((1024, 576), "RGB")],
    ),
    "flux-kontext-max edit": (
        "%%gpt_edit ./cat.png -m flux-kontext-max -a 1:1 -o made\nPROMPT",
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
def _sources(workspace):
    """Save source images in the kernel's folder."""
    for name, colour in (("cat", "orange"), ("hat", "navy"), ("mask", "black")):
        image = Image.new("RGB", (WIDTH, HEIGHT), "white")
        image.paste(colour, (WIDTH // 4, HEIGHT // 4, WIDTH * 3 // 4, HEIGHT * 3 // 4))
        if name == "mask":  # transparent where the edit may change the image
            image.putalpha(image.convert("L").point(lambda level: 255 - level))
        image.save(workspace.folder / f"{name}.png")


def created_tasks(server):
    """Return path and body of the requests for a task, with file names for uploaded images."""
    return [
        (
            request["path"],
            {name: _with_file_names(server, v) for name, v in request["body"].items()},
        )
        for request in server.state()["requests"]
        if request["method"] == "POST"
        and "/files/" not in request["path"]
        and not request["path"].endswith("/price_quotes")
    ]


def _with_file_names(server, value):
    if isinstance(value, list):
        return [_with_file_names(server, item) for item in value]
    is_uploaded = isinstance(value, str) and value.startswith(f"{server.url}/files/")
    return value.rpartition("/")[2] if is_uploaded else value


@pytest.mark.parametrize("name", CELLS)
def test_model_through_the_magics(kernel, server, name):
    """A cell sends the expected request and shows images of the expected size and mode."""
    code, path, body, images = CELLS[name]
    prompt = f"a hill, painted by {name}"
    words = {"prompt": prompt} if "PROMPT" in code else {}
    before = len(created_tasks(server))
    cell = kernel.run_ok(code.replace("PROMPT", prompt))
    kernel.run_ok("await made")
    assert created_tasks(server)[before:] == [(path, body | words | {"model": name.split()[0]})]
    found = kernel.value("[(image.size, image.pil().mode) for image in made.images]")
    assert found == images
    assert kernel.wait_for_images(cell)
    assert "Traceback" not in cell.text
    assert cell.stream("stderr") == ""


def test_every_model_and_action_has_a_cell():
    """CELLS has a cell for each model and action of the catalog."""
    known = {
        model.name + (" edit" if edits else "")
        for model in CATALOGUE
        for edits in (False, True)
        if model.action(with_sources=edits)
    }
    assert {" ".join(name.split()[:2]) for name in CELLS} == known


def test_removed_background_is_transparent(kernel, server):
    """Recraft's image is transparent at its corner, and the notebook shows it as a PNG."""
    cell = kernel.run_ok("%gpt_edit -m recraft-remove-background -o alone ./hat.png")
    kernel.run_ok("await alone")
    corner = kernel.value("alone.image.pil().getchannel('A').getpixel((2, 2))")
    middle = kernel.value("alone.image.pil().getchannel('A').getpixel((48, 32))")
    assert (corner, middle) == (0, 255)
    (image,) = kernel.wait_for_images(cell)
    assert "image/png" in image["data"]


THREE = """
seen = []
three = %gpt_image -m gpt-4o-image -a 1:1 -n 3 three hills
def note():
    seen.extend((task.count, task.progress) for task in three.tasks if task.progress)
stop = three.subscribe(note)
"""


def test_three_images_of_4o(tmp_path):
    """Three images are two tasks, of two and of one, and each task has the service's progress."""
    with serve_simulator("--speed", "6") as server:
        environment = clean_environment(tmp_path, RUNAPI_BASE_URL=server.url, RUNAPI_API_KEY=KEY)
        with start_kernel(tmp_path, environment, "%load_ext runapi_magic") as kernel:
            kernel.run_ok(THREE)
            kernel.run_ok("await three")
            assert kernel.value("[task.count for task in three.tasks]") == [2, 1]
            assert kernel.value("[image.size for image in three.images]") == [(1024, 1024)] * 3
            seen = kernel.value("sorted(set(seen))")
        counts = [body.get("output_count") for _, body in created_tasks(server)]
    assert sorted(counts, key=str) == [2, None]
    assert {count for count, _ in seen} == {1, 2}
    assert all(0 < share <= 1 for _, share in seen)
