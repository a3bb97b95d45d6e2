"""Drawn images: sizes, repeatability, differences, transparency, and the drawing threads."""

import threading

import pytest
from PIL import Image, ImageChops, ImageStat

from runapi_magic.simulator.art import painting, scenes, subjects

PROMPTS = ["a red fox", "a city at night", "teal sea", "nothing in particular", ""]


def distance(one: Image.Image, other: Image.Image) -> float:
    """Return the mean difference per channel, 0 to 255, of two images at a small size."""
    small = [image.convert("RGB").resize((64, 64)) for image in (one, other)]
    return sum(ImageStat.Stat(ImageChops.difference(*small)).mean) / 3


def draw(prompt, size=(240, 160), **options):
    """Draw a small image."""
    return painting.draw(prompt, size, model="gpt-image-2", **options)


@pytest.mark.parametrize(
    ("ratio", "long_side", "size"),
    [
        ("1:1", 1024, (1024, 1024)),
        ("3:2", 1024, (1024, 683)),
        ("2:3", 1024, (683, 1024)),
        ("16:9", 4096, (4096, 2304)),
        ("9:21", 2048, (878, 2048)),
        ("3:1", 4096, (4096, 1365)),
    ],
)
def test_sizes_are_exact(ratio, long_side, size):
    """The long side matches the resolution; the other side matches the ratio."""
    assert painting.image_size(ratio, long_side) == size


def test_auto_selects_a_ratio_by_the_prompt():
    """Auto always gives the same ratio for a prompt, and different ratios for many prompts."""
    sizes = [painting.image_size("auto", 1024, prompt=str(n)) for n in range(40)]
    assert painting.image_size("auto", 1024, prompt="7") == sizes[7]
    assert len(set(sizes)) > 3


@pytest.mark.parametrize("prompt", PROMPTS)
def test_the_same_prompt_gives_the_same_image(prompt):
    """The same prompt gives the same pixels."""
    assert draw(prompt).tobytes() == draw(prompt).tobytes()


@pytest.mark.parametrize("scene", sorted(scenes.SCENES))
def test_every_scene_can_be_drawn_wide_and_tall(scene):
    """Each scene fills a wide and a tall image with more than 100 colours."""
    for size in ((300, 100), (100, 300)):
        image = draw(scene, size)
        assert image.size == size
        assert len(image.getcolors(100_000)) > 100


@pytest.mark.parametrize("subject", sorted(subjects.SUBJECTS))
def test_every_subject_is_visible(subject):
    """Each subject covers a part of its box, but not all of it."""
    alpha = subjects.paint(subject, 100, None).getchannel("A")
    covered = ImageStat.Stat(alpha).mean[0] / 255
    assert 0.1 < covered < 0.85


def test_other_words_models_and_variations_give_other_images():
    """A different prompt, model or variation gives a different image."""
    first = draw("hills")
    others = [
        draw("mountains"),
        painting.draw("hills", (240, 160), model="flux-kontext-pro"),
        draw("hills", variation=1),
    ]
    assert all(distance(first, other) > 4 for other in others)


def test_resolution_changes_the_size_only():
    """The same prompt gives the same scene at a low and at a high resolution."""
    small, large = draw("a red fox", (480, 320)), draw("a red fox", (1920, 1280))
    assert distance(small, large) < 4


@pytest.mark.parametrize(("word", "channel"), [("red", 0), ("green", 1), ("blue", 2)])
def test_a_colour_word_sets_the_palette(word, channel):
    """The named colour is the strongest channel of the image."""
    means = ImageStat.Stat(draw(f"{word} silk flow")).mean
    assert means[channel] == max(means)


def test_a_colour_word_before_a_subject_is_the_subjects_colour():
    """In "a blue cat" the cat is blue. In "a blue sea ... a cat" it has its default colour."""
    assert subjects.own_colour("a blue cat by the sea", "cat") is not None
    assert subjects.own_colour("a blue sea and in it, somewhere, a cat", "cat") is None


def test_night_is_dark():
    """A scene at night is darker than the same scene by day."""
    night, day = (
        ImageStat.Stat(draw(f"hills at {t}").convert("L")).mean[0] for t in ("night", "noon")
    )
    assert night < 0.6 * day


def test_a_transparent_background_is_transparent():
    """The image is RGBA: transparent in the upper corners, opaque in the middle."""
    image = draw("a perfume bottle", (200, 200), transparent=True)
    assert image.mode == "RGBA"
    corners = [image.getpixel(spot)[3] for spot in ((0, 0), (199, 0), (100, 100))]
    assert corners == [0, 0, 255]


def test_gpt_image_2_makes_transparent_backgrounds_when_asked(api):
    """With "transparent background" in the prompt, gpt-image-2 returns RGBA."""
    assert api.fetch_image(api.create_image(prompt="a cat")).mode == "RGB"
    url = api.create_image(prompt="a cat, transparent background", aspect_ratio="3:4")
    image = api.fetch_image(url)
    assert (image.mode, image.size) == ("RGBA", (768, 1024))


@pytest.mark.parametrize(("resolution", "side"), [("1k", 1024), ("2k", 2048), ("4k", 4096)])
def test_an_output_has_the_requested_resolution(api, resolution, side):
    """The long side of an output matches the requested resolution."""
    url = api.create_image(output_resolution=resolution, aspect_ratio="21:9")
    assert api.fetch_image(url).size == (side, round(side * 9 / 21))


def test_the_same_request_again_gives_another_image(api):
    """Two equal requests without an idempotency key give different images."""
    first, second = api.create_image(), api.create_image()
    assert distance(api.fetch_image(first), api.fetch_image(second)) > 2


def test_four_images_of_one_task_differ(api):
    """gpt-4o-image with output_count 4 makes four different images."""
    path = "/api/v1/gpt_4o_image/text_to_image"
    fields = {"model": "gpt-4o-image", "aspect_ratio": "3:2", "output_count": 4}
    task_id = api.create(path, prompt="hills", **fields)
    api.finish()
    task = api.status(task_id)
    contents = {api.get(image["url"]).content for image in task["images"]}
    assert (len(contents), task["usage"]) == (4, {"cost": 0.08, "generated_images": 4})


def test_images_are_drawn_off_the_event_loop(api, monkeypatch):
    """The renderer draws and encodes in its own threads, once per image."""
    threads = []
    encode = painting.encode

    def spy(image, suffix):
        threads.append(threading.current_thread().name)
        return encode(image, suffix)

    monkeypatch.setattr(painting, "encode", spy)
    url = api.create_image()
    assert api.get(url).content == api.get(url).content
    assert [name.rpartition("_")[0] for name in threads] == ["simulator-art"]


def test_the_cache_has_a_maximum_size(api):
    """The cache removes the oldest images. The same image is drawn again on demand."""
    from runapi_magic.simulator.renderer import Renderer

    first, second = (api.sim.tasks[api.create(prompt=p)] for p in ("hills", "sea"))
    renderer = Renderer(api.sim, cache_bytes=1)
    before = renderer._output(first, 0)
    renderer._output(second, 0)
    assert list(renderer._cache) == [(second.id, 0)]
    assert renderer._output(first, 0) == before
