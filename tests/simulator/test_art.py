"""Pictures from words: sizes, repetition, difference, transparency, where they are drawn."""

import threading

import pytest
from PIL import Image, ImageChops, ImageStat

from runapi_magic.simulator.art import painting as art
from runapi_magic.simulator.art import scenes, subjects

PROMPTS = ["a red fox", "a city at night", "teal sea", "nothing in particular", ""]


def distance(one: Image.Image, other: Image.Image) -> float:
    """Mean difference per channel, 0 to 255, of two pictures at a small size."""
    small = [picture.convert("RGB").resize((64, 64)) for picture in (one, other)]
    return sum(ImageStat.Stat(ImageChops.difference(*small)).mean) / 3


def drawn(prompt, size=(240, 160), **options):
    """A small picture."""
    return art.draw(prompt, size, model="gpt-image-2", **options)


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
    """The long side is the resolution's, the other within a pixel of the ratio."""
    assert art.picture_size(ratio, long_side) == size


def test_auto_takes_a_ratio_by_the_prompt():
    """Auto is one ratio for one prompt and several for many."""
    sizes = [art.picture_size("auto", 1024, prompt=str(n)) for n in range(40)]
    assert art.picture_size("auto", 1024, prompt="7") == sizes[7]
    assert len(set(sizes)) > 3


@pytest.mark.parametrize("prompt", PROMPTS)
def test_the_same_prompt_gives_the_same_picture(prompt):
    """Drawing again gives the same pixels."""
    assert drawn(prompt).tobytes() == drawn(prompt).tobytes()


@pytest.mark.parametrize("scene", sorted(scenes.SCENES))
def test_every_scene_can_be_drawn_wide_and_tall(scene):
    """Each scene fills its picture with more than one colour."""
    for size in ((300, 100), (100, 300)):
        picture = drawn(scene, size)
        assert picture.size == size
        assert len(picture.getcolors(100_000)) > 100


@pytest.mark.parametrize("subject", sorted(subjects.SUBJECTS))
def test_every_subject_is_seen(subject):
    """Each subject covers a part of its box and not all of it."""
    alpha = subjects.paint(subject, 100, None).getchannel("A")
    covered = ImageStat.Stat(alpha).mean[0] / 255
    assert 0.1 < covered < 0.85


def test_other_words_models_and_variations_give_other_pictures():
    """Prompt, model and variation each change the picture."""
    first = drawn("hills")
    others = [
        drawn("mountains"),
        art.draw("hills", (240, 160), model="flux-kontext-pro"),
        drawn("hills", variation=1),
    ]
    assert all(distance(first, other) > 4 for other in others)


def test_resolution_changes_the_size_only():
    """4k shows what 1k shows."""
    small, large = drawn("a red fox", (480, 320)), drawn("a red fox", (1920, 1280))
    assert distance(small, large) < 4


@pytest.mark.parametrize(("word", "channel"), [("red", 0), ("green", 1), ("blue", 2)])
def test_a_colour_word_sets_the_palette(word, channel):
    """The named colour is the strongest channel of the picture."""
    means = ImageStat.Stat(drawn(f"{word} silk flow")).mean
    assert means[channel] == max(means)


def test_a_colour_before_a_thing_is_the_things_own():
    """A blue cat is blue; a blue sea with a cat leaves the cat its colour."""
    assert subjects.own_colour("a blue cat by the sea", "cat") is not None
    assert subjects.own_colour("a blue sea and in it, somewhere, a cat", "cat") is None


def test_night_is_dark():
    """A night scene is darker than the same place by day."""
    night, day = (
        ImageStat.Stat(drawn(f"hills at {t}").convert("L")).mean[0] for t in ("night", "noon")
    )
    assert night < 0.6 * day


def test_a_transparent_background_is_transparent():
    """RGBA with nothing in the upper corners and something in the middle."""
    picture = drawn("a perfume bottle", (200, 200), transparent=True)
    assert picture.mode == "RGBA"
    corners = [picture.getpixel(spot)[3] for spot in ((0, 0), (199, 0), (100, 100))]
    assert corners == [0, 0, 255]


def test_gpt_image_2_makes_transparent_backgrounds_when_asked(api):
    """A prompt with the words "transparent background" gives RGBA from gpt-image-2."""
    assert api.image(api.picture(prompt="a cat")).mode == "RGB"
    picture = api.image(api.picture(prompt="a cat, transparent background", aspect_ratio="3:4"))
    assert (picture.mode, picture.size) == ("RGBA", (768, 1024))


@pytest.mark.parametrize(("resolution", "side"), [("1k", 1024), ("2k", 2048), ("4k", 4096)])
def test_the_resolution_asked_for_is_served(api, resolution, side):
    """A task's file has the long side that its resolution promises."""
    url = api.picture(output_resolution=resolution, aspect_ratio="21:9")
    assert api.image(url).size == (side, round(side * 9 / 21))


def test_the_same_request_again_gives_another_picture(api):
    """Two equal requests without a key in common differ, as from a real service."""
    first, second = api.picture(), api.picture()
    assert distance(api.image(first), api.image(second)) > 2


def test_four_pictures_of_one_task_differ(api):
    """gpt-4o-image with output_count 4 makes four different pictures."""
    path = "/api/v1/gpt_4o_image/text_to_image"
    fields = {"model": "gpt-4o-image", "aspect_ratio": "3:2", "output_count": 4}
    task_id = api.create(path, prompt="hills", **fields)
    api.finish()
    task = api.status(task_id)
    contents = {api.get(image["url"]).content for image in task["images"]}
    assert (len(contents), task["usage"]) == (4, {"cost": 0.08, "generated_images": 4})


def test_pictures_are_drawn_off_the_event_loop(api, monkeypatch):
    """Drawing and encoding happen on the gallery's own threads, once per picture."""
    threads = []
    encode = art.encode

    def spy(picture, suffix):
        threads.append(threading.current_thread().name)
        return encode(picture, suffix)

    monkeypatch.setattr(art, "encode", spy)
    url = api.picture()
    assert api.get(url).content == api.get(url).content
    assert [name.rpartition("_")[0] for name in threads] == ["simulator-art"]


def test_few_pictures_are_kept(api):
    """The cache forgets the oldest beyond its size, and draws the same again."""
    from runapi_magic.simulator.renderer import Gallery

    first, second = (api.sim.tasks[api.create(prompt=p)] for p in ("hills", "sea"))
    gallery = Gallery(api.sim, cache_bytes=1)
    before = gallery._output(first, 0)
    gallery._output(second, 0)
    assert list(gallery._kept) == [(second.id, 0)]
    assert gallery._output(first, 0) == before
