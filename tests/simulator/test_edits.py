"""Edits: they start from the source, follow the instruction and have a visible effect."""

import base64
import io

import pytest
from PIL import Image, ImageChops, ImageStat

from runapi_magic.simulator.art import edits, painting, stickers

from .conftest import png_bytes
from .test_art import distance

SIZE = (240, 180)
EDIT = "/api/v1/gpt_image_2/edit_image"


@pytest.fixture(scope="module")
def source():
    """Return an image with a subject."""
    return painting.draw("a cat in a green meadow", SIZE, model="m")


def body(image):
    """Return the image without its footer, where every edit writes."""
    rgb = image.convert("RGB")
    return rgb.crop((0, 0, rgb.width, rgb.height - painting.footer_height(rgb.size)))


def edit(source, instruction, **options):
    """Edit the source at its own size."""
    return edits.edit([source], instruction, options.pop("size", SIZE), **options)


def mean(image):
    """Return mean red, green and blue."""
    return ImageStat.Stat(body(image)).mean


def test_inverting_inverts(source):
    """Every pixel above the footer is inverted."""
    expected = ImageChops.invert(body(source))
    assert body(edit(source, "invert the colours")).tobytes() == expected.tobytes()


@pytest.mark.parametrize("instruction", ["make it greyscale", "black and white please"])
def test_grey_is_grey(source, instruction):
    """Red, green and blue are equal everywhere."""
    red, green, blue = body(edit(source, instruction)).split()
    assert red.tobytes() == green.tobytes() == blue.tobytes()


@pytest.mark.parametrize(("colour", "channel"), [("red", 0), ("green", 1), ("blue", 2)])
def test_a_colour_word_tints(source, colour, channel):
    """An instruction such as "make it blue" shifts the image towards that colour."""
    before, after = mean(source), mean(edit(source, f"make it {colour}"))
    assert after[channel] - sum(after) / 3 > before[channel] - sum(before) / 3


def test_warm_cool_bright_dark(source):
    """Each instruction shifts the mean colours in its direction."""
    before = mean(source)
    warm, cool = mean(edit(source, "warmer")), mean(edit(source, "cooler"))
    assert warm[0] - warm[2] > before[0] - before[2] > cool[0] - cool[2]
    assert sum(mean(edit(source, "brighter"))) > sum(before)
    assert sum(mean(edit(source, "make it darker"))) < sum(before)


def test_blur_and_sharpen(source):
    """Blurring weakens edges. Sharpening strengthens them."""

    def edges(image):
        grey = body(image).convert("L")
        return ImageStat.Stat(ImageChops.difference(grey, ImageChops.offset(grey, 1, 0))).mean[0]

    assert edges(edit(source, "softer")) < edges(source) < edges(edit(source, "sharpen it"))


def test_mirror_mirrors(source):
    """Mirroring twice gives the source."""
    flipped = edit(source, "mirror it")
    assert body(flipped).transpose(Image.Transpose.FLIP_LEFT_RIGHT).tobytes() == (
        body(source).tobytes()
    )


@pytest.mark.parametrize(
    "instruction",
    [
        "sepia",
        "rotate it",
        "zoom in",
        "pixel art",
        "add a frame",
        "at night",
        "at sunset",
        "in winter",
        "more contrast",
        "a pencil sketch",
        "as a comic",
        "upside down",
        "add sunglasses",
        "add a hat",
        "add a sun",
        "put a star there",
        "add a unicorn",
        "change the text to HELLO",
        'it says "SALE"',
        "something nobody understands",
        "",
    ],
)
def test_every_instruction_has_a_visible_effect(source, instruction):
    """An edit differs from its source, with known words or without. It is repeatable."""
    after = edit(source, instruction)
    assert after.size == SIZE
    assert distance(body(after), body(source)) > 0.5
    assert after.tobytes() == edit(source, instruction).tobytes()


@pytest.mark.parametrize("thing", stickers.THINGS)
def test_every_thing_can_be_added(source, thing):
    """Each sticker changes a part of the image."""
    assert distance(body(edit(source, f"add a {thing}")), body(source)) > 0.5


def test_several_words_are_all_applied(source):
    """The words "invert" and "black and white" give an inverted grey image."""
    both = body(edit(source, "invert it, black and white"))
    grey = ImageChops.invert(body(source)).convert("L").convert("RGB")
    assert both.tobytes() == grey.tobytes()


@pytest.mark.parametrize(
    ("instruction", "wording"),
    [
        ("change the text to HELLO", "HELLO"),
        ('make the label say "AURORA"', "AURORA"),
        ("a sign that reads open late, in red", "open late"),
        ("it's the cat's hat", ""),
    ],
)
def test_the_wording_is_found(instruction, wording):
    """The text is quoted or follows "text to" and similar words. Apostrophes are not quotes."""
    assert edits._wording(instruction) == wording


def test_another_variation_is_another_image(source):
    """Repeating an edit gives another image."""
    assert distance(edit(source, "sepia"), edit(source, "sepia", variation=1)) > 1


@pytest.mark.parametrize("kind", ["transparent", "white"])
def test_a_mask_limits_the_edit(source, kind):
    """The image changes only where the mask is transparent or white."""
    if kind == "white":
        mask = Image.new("L", SIZE, 0)
        mask.paste(255, (0, 0, 120, 180))
    else:
        mask = Image.new("RGBA", SIZE, (0, 0, 0, 255))
        mask.paste((0, 0, 0, 0), (0, 0, 120, 180))
    after = body(edit(source, "invert", mask=mask))
    left, right = (0, 0, 110, after.height), (130, 0, 240, after.height)
    assert after.crop(right).tobytes() == source.crop(right).tobytes()
    assert after.crop(left).tobytes() == ImageChops.invert(source.crop(left)).tobytes()


def test_removing_the_background(source):
    """The corners become transparent and the middle stays opaque."""
    for cut in (edits.remove_background(source), edit(source, "remove the background")):
        assert cut.mode == "RGBA"
        assert [cut.getpixel(spot)[3] for spot in ((0, 0), (239, 0), (120, 90))] == [0, 0, 255]


def test_an_image_of_one_colour_still_has_a_middle():
    """If the whole image looks like background, the middle stays."""
    cut = edits.remove_background(Image.new("RGB", (100, 100), "teal"))
    assert [cut.getpixel(spot)[3] for spot in ((0, 0), (50, 50))] == [0, 255]


def test_transparency_survives_an_edit():
    """An edit keeps the transparent background of its source."""
    clear = painting.draw("a cat", (200, 200), model="m", transparent=True)
    after = edits.edit([clear], "make it blue", (200, 200))
    assert (after.mode, after.getpixel((0, 0))[3]) == ("RGBA", 0)


@pytest.mark.parametrize(("factor", "size"), [(1, (60, 40)), (2, (120, 80)), (4, (240, 160))])
def test_enlarging(factor, size):
    """The image gets larger by the factor. Factor 1 sharpens."""
    small = painting.draw("a cat", (60, 40), model="m")
    large = edits.enlarge(small, factor)
    assert large.size == size
    assert distance(large, small) < 12
    assert large.tobytes() != small.tobytes()


def test_enlarging_ends_at_a_limit():
    """The long side is at most 8192 pixels."""
    assert edits.enlarge(Image.new("RGB", (4096, 64)), 4).size == (8192, 128)


def test_a_broken_source_gets_a_placeholder():
    """A source that cannot be decoded does not stop an edit."""
    assert edits.decode(b"\x89PNG\r\n\x1a\n broken", "https://x.org/cat.png").size == (1024, 768)


# Over HTTP


def upload(api, content):
    """Upload an image and return its URL."""
    data = base64.b64encode(content).decode()
    return api.post("/api/v1/files", {"source": {"type": "base64", "data": data}}).json()["url"]


def test_an_edit_starts_from_an_uploaded_image(api):
    """A mirrored teal upload is still teal and keeps its ratio."""
    url = upload(api, png_bytes((300, 200), "teal"))
    image = api.fetch_image(api.create_image(EDIT, prompt="mirror it", source_image_urls=[url]))
    assert image.size == (1024, 683)
    assert image.getpixel((500, 300)) == (0, 128, 128)


def test_an_edit_starts_from_an_output(api):
    """An edit of an output changes the pixels of that output."""
    url = api.create_image(aspect_ratio="4:3")
    after = api.fetch_image(api.create_image(EDIT, prompt="invert", source_image_urls=[url]))
    assert distance(body(after), ImageChops.invert(body(api.fetch_image(url)))) < 2


def test_an_edit_survives_the_expiry_of_its_source(api):
    """A source that expires after the create request is still used."""
    first = api.create_image()
    second = api.create_image(EDIT, prompt="sepia", source_image_urls=[first])
    third = api.create(EDIT, prompt="invert", source_image_urls=[second])
    api.finish()
    api.sim.tasks[second.split("/")[4]].files_expired = True
    assert api.fetch_image(api.status(third)["images"][0]["url"]).width == 1024


def test_a_ratio_crops_and_a_resolution_enlarges(api):
    """Edits follow aspect_ratio and output_resolution."""
    url = upload(api, png_bytes((300, 200)))
    fields = {"aspect_ratio": "1:1", "output_resolution": "2k", "source_image_urls": [url]}
    assert api.fetch_image(api.create_image(EDIT, prompt="sepia", **fields)).size == (2048, 2048)


def test_all_sources_are_in_the_image(api):
    """A second source changes the result of the same instruction."""
    urls = [upload(api, png_bytes(colour=colour)) for colour in ("teal", "orange")]
    images = [
        api.fetch_image(api.create_image(EDIT, prompt="mirror it", source_image_urls=urls[:count]))
        for count in (1, 2)
    ]
    assert distance(*images) > 2


def test_a_mask_goes_through_the_service(api):
    """gpt-4o-image's mask_url protects the opaque area of the mask."""
    mask = Image.new("RGBA", (90, 60), (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), (0, 0, 45, 60))
    out = io.BytesIO()
    mask.save(out, "PNG")
    urls = [upload(api, png_bytes((300, 200), "teal")), upload(api, out.getvalue())]
    fields = {"model": "gpt-4o-image", "aspect_ratio": "3:2", "source_image_urls": urls[:1]}
    path = "/api/v1/gpt_4o_image/text_to_image"
    image = api.fetch_image(api.create_image(path, prompt="invert", mask_url=urls[1], **fields))
    colours = [image.getpixel(spot) for spot in ((100, 300), (900, 300))]
    assert colours == [(255, 127, 127), (0, 128, 128)]


@pytest.mark.parametrize(
    ("path", "model", "fields", "expected"),
    [
        ("topaz/upscale_image", "topaz-upscale-image", {"upscale_factor": 2}, ("RGB", (128, 96))),
        ("recraft/upscale_image", "recraft-crisp-upscale", {}, ("RGB", (256, 192))),
        ("recraft/remove_background", "recraft-remove-background", {}, ("RGBA", (64, 48))),
    ],
)
def test_tools(api, path, model, fields, expected):
    """Upscaling enlarges. Removing the background gives RGBA of the source's size."""
    url = upload(api, png_bytes((64, 48)))
    made = api.create_image(f"/api/v1/{path}", model=model, source_image_url=url, **fields)
    image = api.fetch_image(made)
    assert (image.mode, image.size) == expected


def test_the_guides_edit_route(api):
    """POST /v1/edit_image accepts the guide's model name, and flux with image_url."""
    url = upload(api, png_bytes())
    guide = {"model": "gpt-image-2-image-to-image", "prompt": "sepia", "source_image_urls": [url]}
    flux = {"model": "flux-kontext-pro", "prompt": "sepia", "image_url": url}
    for request in (guide, flux):
        task_id = api.post("/v1/edit_image", request).json()["task_id"]
        api.finish()
        found = api.get(f"/v1/edit_image/{task_id}").json()
        assert api.fetch_image(found["images"][0]["url"]).size == (1024, 768)
    bare = {"model": "flux-kontext-pro", "prompt": "sepia"}
    assert api.post("/v1/edit_image", bare).status_code == 422
