"""Edits: they start from the source, do what the words say, and are seen."""

import base64
import io

import pytest
from PIL import Image, ImageChops, ImageStat

from runapi_magic.simulator.art import edits, stickers
from runapi_magic.simulator.art import painting as art

from .conftest import picture_bytes
from .test_art import distance

SIZE = (240, 180)
EDIT = "/api/v1/gpt_image_2/edit_image"


@pytest.fixture(scope="module")
def source():
    """A picture with something in front."""
    return art.draw("a cat in a green meadow", SIZE, model="m")


def body(picture):
    """The picture without its foot, where every edit writes."""
    rgb = picture.convert("RGB")
    return rgb.crop((0, 0, rgb.width, rgb.height - art.footer_height(rgb.size)))


def edited(source, instruction, **options):
    """The source, edited, at its own size."""
    return edits.edit([source], instruction, options.pop("size", SIZE), **options)


def mean(picture):
    """Mean red, green and blue."""
    return ImageStat.Stat(body(picture)).mean


def test_inverting_inverts(source):
    """Every pixel above the foot is the source's negative."""
    expected = ImageChops.invert(body(source))
    assert body(edited(source, "invert the colours")).tobytes() == expected.tobytes()


@pytest.mark.parametrize("instruction", ["make it greyscale", "black and white please"])
def test_grey_is_grey(source, instruction):
    """Red, green and blue are equal everywhere."""
    red, green, blue = body(edited(source, instruction)).split()
    assert red.tobytes() == green.tobytes() == blue.tobytes()


@pytest.mark.parametrize(("colour", "channel"), [("red", 0), ("green", 1), ("blue", 2)])
def test_a_colour_tints(source, colour, channel):
    """An instruction such as "make it blue" moves the picture towards that colour."""
    before, after = mean(source), mean(edited(source, f"make it {colour}"))
    assert after[channel] - sum(after) / 3 > before[channel] - sum(before) / 3


def test_warm_cool_bright_dark(source):
    """Each moves the means in its direction."""
    before = mean(source)
    warm, cool = mean(edited(source, "warmer")), mean(edited(source, "cooler"))
    assert warm[0] - warm[2] > before[0] - before[2] > cool[0] - cool[2]
    assert sum(mean(edited(source, "brighter"))) > sum(before)
    assert sum(mean(edited(source, "make it darker"))) < sum(before)


def test_blur_and_sharpen(source):
    """Blurring takes away edges, sharpening adds to them."""

    def edges(picture):
        grey = body(picture).convert("L")
        return ImageStat.Stat(ImageChops.difference(grey, ImageChops.offset(grey, 1, 0))).mean[0]

    assert edges(edited(source, "softer")) < edges(source) < edges(edited(source, "sharpen it"))


def test_mirror_mirrors(source):
    """A flipped picture flipped back is the source."""
    flipped = edited(source, "mirror it")
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
def test_every_instruction_is_seen(source, instruction):
    """Understood or not, an edit differs from its source and is the same each time."""
    after = edited(source, instruction)
    assert after.size == SIZE
    assert distance(body(after), body(source)) > 0.5
    assert after.tobytes() == edited(source, instruction).tobytes()


@pytest.mark.parametrize("thing", stickers.THINGS)
def test_every_thing_can_be_added(source, thing):
    """Each sticker changes a part of the picture."""
    assert distance(body(edited(source, f"add a {thing}")), body(source)) > 0.5


def test_several_words_all_apply(source):
    """Inverted and grey is both."""
    both = body(edited(source, "invert it, black and white"))
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
    """Quoted text, or what follows "text to" and the like; apostrophes are no quotes."""
    assert edits._wording(instruction) == wording


def test_another_variation_is_another_picture(source):
    """The same edit asked for again differs from the first."""
    assert distance(edited(source, "sepia"), edited(source, "sepia", variation=1)) > 1


@pytest.mark.parametrize("kind", ["transparent", "white"])
def test_a_mask_limits_the_edit(source, kind):
    """Only where the mask is transparent, or white, is the picture changed."""
    if kind == "white":
        mask = Image.new("L", SIZE, 0)
        mask.paste(255, (0, 0, 120, 180))
    else:
        mask = Image.new("RGBA", SIZE, (0, 0, 0, 255))
        mask.paste((0, 0, 0, 0), (0, 0, 120, 180))
    after = body(edited(source, "invert", mask=mask))
    left, right = (0, 0, 110, after.height), (130, 0, 240, after.height)
    assert after.crop(right).tobytes() == source.crop(right).tobytes()
    assert after.crop(left).tobytes() == ImageChops.invert(source.crop(left)).tobytes()


def test_removing_the_background(source):
    """The corners become transparent and the middle stays."""
    for cut in (edits.remove_background(source), edited(source, "remove the background")):
        assert cut.mode == "RGBA"
        assert [cut.getpixel(spot)[3] for spot in ((0, 0), (239, 0), (120, 90))] == [0, 0, 255]


def test_a_picture_of_one_colour_still_has_a_middle():
    """A background that is everything leaves the middle rather than nothing."""
    cut = edits.remove_background(Image.new("RGB", (100, 100), "teal"))
    assert [cut.getpixel(spot)[3] for spot in ((0, 0), (50, 50))] == [0, 255]


def test_transparency_survives_an_edit():
    """A source without background keeps it that way."""
    clear = art.draw("a cat", (200, 200), model="m", transparent=True)
    after = edits.edit([clear], "make it blue", (200, 200))
    assert (after.mode, after.getpixel((0, 0))[3]) == ("RGBA", 0)


@pytest.mark.parametrize(("factor", "size"), [(1, (60, 40)), (2, (120, 80)), (4, (240, 160))])
def test_enlarging(factor, size):
    """So many times larger; factor 1 sharpens."""
    small = art.draw("a cat", (60, 40), model="m")
    large = edits.enlarge(small, factor)
    assert large.size == size
    assert distance(large, small) < 12
    assert large.tobytes() != small.tobytes()


def test_enlarging_ends_at_a_limit():
    """The long side never passes 8192 pixels."""
    assert edits.enlarge(Image.new("RGB", (4096, 64)), 4).size == (8192, 128)


def test_a_broken_source_gets_a_stand_in():
    """Bytes that cannot be decoded do not stop an edit."""
    assert edits.decode(b"\x89PNG\r\n\x1a\n broken", "https://x.org/cat.png").size == (1024, 768)


# Through the service


def upload(api, content):
    """Upload a picture and return its URL."""
    data = base64.b64encode(content).decode()
    return api.post("/api/v1/files", {"source": {"type": "base64", "data": data}}).json()["url"]


def test_an_edit_starts_from_an_uploaded_picture(api):
    """A teal upload, mirrored, is still teal, in the source's ratio."""
    url = upload(api, picture_bytes((300, 200), "teal"))
    picture = api.image(api.picture(EDIT, prompt="mirror it", source_image_urls=[url]))
    assert picture.size == (1024, 683)
    assert picture.getpixel((500, 300)) == (0, 128, 128)


def test_an_edit_starts_from_an_output(api):
    """Editing an own output changes that picture."""
    url = api.picture(aspect_ratio="4:3")
    after = api.image(api.picture(EDIT, prompt="invert", source_image_urls=[url]))
    assert distance(body(after), ImageChops.invert(body(api.image(url)))) < 2


def test_an_edit_of_an_edit_outlives_its_sources_file(api):
    """What was there when the edit was asked for is used even if it expires before the fetch."""
    first = api.picture()
    second = api.picture(EDIT, prompt="sepia", source_image_urls=[first])
    third = api.create(EDIT, prompt="invert", source_image_urls=[second])
    api.finish()
    api.sim.tasks[second.split("/")[4]].files_expired = True
    assert api.image(api.status(third)["images"][0]["url"]).width == 1024


def test_a_ratio_crops_and_a_resolution_enlarges(api):
    """Edits obey aspect_ratio and output_resolution."""
    url = upload(api, picture_bytes((300, 200)))
    fields = {"aspect_ratio": "1:1", "output_resolution": "2k", "source_image_urls": [url]}
    assert api.image(api.picture(EDIT, prompt="sepia", **fields)).size == (2048, 2048)


def test_several_sources_are_all_in_the_picture(api):
    """A second source changes the result of the same instruction."""
    urls = [upload(api, picture_bytes(colour=colour)) for colour in ("teal", "orange")]
    pictures = [
        api.image(api.picture(EDIT, prompt="mirror it", source_image_urls=urls[:count]))
        for count in (1, 2)
    ]
    assert distance(*pictures) > 2


def test_a_mask_goes_through_the_service(api):
    """gpt-4o-image's mask_url keeps what is opaque in it."""
    mask = Image.new("RGBA", (90, 60), (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), (0, 0, 45, 60))
    out = io.BytesIO()
    mask.save(out, "PNG")
    urls = [upload(api, picture_bytes((300, 200), "teal")), upload(api, out.getvalue())]
    fields = {"model": "gpt-4o-image", "aspect_ratio": "3:2", "source_image_urls": urls[:1]}
    path = "/api/v1/gpt_4o_image/text_to_image"
    picture = api.image(api.picture(path, prompt="invert", mask_url=urls[1], **fields))
    colours = [picture.getpixel(spot) for spot in ((100, 300), (900, 300))]
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
    """Upscalers enlarge, the background remover gives RGBA of the source's size."""
    url = upload(api, picture_bytes((64, 48)))
    made = api.picture(f"/api/v1/{path}", model=model, source_image_url=url, **fields)
    picture = api.image(made)
    assert (picture.mode, picture.size) == expected


def test_the_guides_edit_route(api):
    """POST /v1/edit_image edits with the guide's model name, and with flux by its image_url."""
    url = upload(api, picture_bytes())
    guide = {"model": "gpt-image-2-image-to-image", "prompt": "sepia", "source_image_urls": [url]}
    flux = {"model": "flux-kontext-pro", "prompt": "sepia", "image_url": url}
    for request in (guide, flux):
        task_id = api.post("/v1/edit_image", request).json()["task_id"]
        api.finish()
        found = api.get(f"/v1/edit_image/{task_id}").json()
        assert api.image(found["images"][0]["url"]).size == (1024, 768)
    bare = {"model": "flux-kontext-pro", "prompt": "sepia"}
    assert api.post("/v1/edit_image", bare).status_code == 422
