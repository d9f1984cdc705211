"""The thumbnailer: what it makes of pictures of every kind, and the way of one through a real trigger."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from PIL import Image

from functions.thumbnail import Thumbnails, shrink, thumbnail
from runtime.config.settings import StoreSettings
from runtime.context import Context, ObjectEvent
from runtime.errors import BadInput
from runtime.testing import fake_context
from tests.trying import trial
from tests.workers import until


def picture(kind: str = "PNG", size: tuple[int, int] = (600, 400), mode: str = "RGB", **options: Any) -> bytes:
    """A picture whose left half is darker than its right one."""
    image = Image.new("L", size, 40)
    image.paste(200, (size[0] // 2, 0, size[0], size[1]))
    output = io.BytesIO()
    image.convert(mode).save(output, kind, **options)
    return output.getvalue()


def opened(data: bytes) -> Image.Image:
    found = Image.open(io.BytesIO(data))
    assert found.format == "WEBP"
    return found


def brightness(image: Image.Image, x: int, y: int) -> int:
    found = image.convert("L").getpixel((x, y))
    assert isinstance(found, int)
    return found


@pytest.mark.parametrize(
    ("kind", "mode"),
    [("JPEG", "RGB"), ("JPEG", "CMYK"), ("JPEG", "L"), ("PNG", "RGBA"), ("PNG", "P"), ("GIF", "P"), ("TIFF", "1")],
)
def test_every_kind_of_picture_becomes_a_small_one(kind: str, mode: str) -> None:
    small = opened(shrink(picture(kind, mode=mode), 300))
    assert small.size == (300, 200)
    assert brightness(small, 30, 100) < 100 < brightness(small, 270, 100)


def test_a_small_picture_is_not_enlarged() -> None:
    assert opened(shrink(picture(size=(60, 40)), 300)).size == (60, 40)


def test_what_is_seen_through_stays_so() -> None:
    clear = io.BytesIO()
    Image.new("RGBA", (50, 50), (255, 0, 0, 0)).save(clear, "PNG")
    assert opened(shrink(clear.getvalue(), 20)).mode == "RGBA"


def test_a_picture_from_a_camera_on_its_side_is_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn it by 90° to the right
    small = opened(shrink(picture("JPEG", exif=exif), 300))
    assert small.size == (200, 300)
    assert brightness(small, 100, 30) < 100 < brightness(small, 100, 270)


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (lambda: b"", "no picture that can be read"),
        (lambda: b"%PDF-1.4", "no picture that can be read"),
        (lambda: picture("JPEG", (2000, 2000))[:-2000], "damaged"),
        (lambda: picture(size=(8000, 7000), mode="1"), "more than 50,000,000 pixels"),
        (lambda: picture(size=(13_500, 13_500), mode="1"), "bomb"),
    ],
)
def test_what_is_no_picture_says_why(made: Callable[[], bytes], reason: str) -> None:
    with pytest.raises(BadInput, match=reason):
        shrink(made(), 300)


def test_a_large_photo_is_unpacked_small() -> None:
    assert opened(shrink(picture("JPEG", (10_000, 7000), "L"), 300)).size == (300, 210)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "TIFF", "WEBP"])
def test_a_damaged_picture_is_a_failure_and_never_an_error(kind: str) -> None:
    chance, whole = random.Random(kind), picture(kind, (64, 48))
    for _ in range(300):
        broken = bytearray(whole)
        for _ in range(chance.randint(1, 20)):
            broken[chance.randrange(len(broken))] = chance.randrange(256)
        try:
            shrink(bytes(broken[: chance.randint(1, len(broken))]), 30)
        except BadInput as error:
            assert str(error)


@pytest.fixture
def context() -> Context:
    return fake_context("thumbnail")


def call(context: Context, *keys: str, event: str = "created") -> Thumbnails:
    return thumbnail([ObjectEvent("pics", key, event) for key in keys], context=context)  # type: ignore[arg-type]


def names(context: Context) -> list[str]:
    return [info.key for info in context.store.list("pics", "thumbnails/")]


def test_one_bad_picture_holds_up_no_other(context: Context) -> None:
    context.store.put("pics", "a b/ü.png", picture())
    bad = context.store.put("pics", "bad.png", b"text")
    done = call(context, "bad.png", "gone.png", "a b/ü.png")
    assert done.written == names(context) == ["thumbnails/a b/ü.png.webp"]
    [failed] = done.failed
    assert (failed.bucket, failed.key, failed.etag) == ("pics", "bad.png", bad)
    assert failed.reason == "bad.png: This is no picture that can be read. Send a JPEG, PNG, GIF, WebP, TIFF or BMP."
    assert context.store.head("pics", done.written[0]).content_type == "image/webp"


def test_twice_is_once_and_a_removal_takes_the_thumbnail(context: Context) -> None:
    context.store.put("pics", "a.png", picture())
    call(context, "a.png")
    first = context.store.get("pics", "thumbnails/a.png.webp")
    call(context, "a.png")
    again = context.store.get("pics", "thumbnails/a.png.webp")
    assert (again.data, again.etag) == (first.data, first.etag)
    assert call(context, "a.png", event="removed").removed == ["thumbnails/a.png.webp"]
    assert not names(context)


def test_a_picture_that_becomes_unreadable_loses_its_thumbnail(context: Context) -> None:
    context.store.put("pics", "a.png", picture())
    call(context, "a.png")
    context.store.put("pics", "a.png", b"text")
    assert len(call(context, "a.png").failed) == 1
    assert not names(context)


def test_through_a_real_trigger(
    redis_client: redis.Redis, broker_url: str, store_settings: StoreSettings, tmp_path: Path
) -> None:
    function = {"handler": "functions.thumbnail:thumbnail"}
    trigger = {"prefix": "photos/", "suffix": [".png"], "with": {"pixels": 100}}
    house = trial(redis_client, broker_url, store_settings, tmp_path, function, trigger)
    store, bucket, small = house.store, house.bucket, "thumbnails/photos/ü 1.png.webp"
    with house.running():
        store.put(bucket, "photos/ü 1.png", picture())
        store.put(bucket, "photos/bad.png", b"text")
        assert small in house.result("photos/ü 1.png")["written"]
        assert opened(store.get(bucket, small).data).size == (100, 67)
        assert "no picture" in until(lambda: house.entry("photos/bad.png", "dead")).reason
        store.delete(bucket, "photos/ü 1.png")
        house.result("photos/ü 1.png", "removed")
        assert not list(store.list(bucket, "thumbnails/"))
