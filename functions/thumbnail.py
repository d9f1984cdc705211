"""Pictures in, small WebP pictures out: `photos/cat.jpg` becomes `thumbnails/photos/cat.jpg.webp`."""

from __future__ import annotations

import io
from dataclasses import dataclass, field

from runtime.context import Context, ObjectEvent
from runtime.errors import BadInput, ObjectMissing

OBJECT_LIMIT = 64 * 2**20
"""Bytes of the largest file that is read."""

PIXEL_LIMIT = 50_000_000
"""Pixels of the largest picture that is unpacked: up to 800 MB of memory, by its format."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A picture that has no thumbnail. `reason` names the cause and the mend."""

    bucket: str
    key: str
    etag: str
    reason: str


@dataclass(frozen=True, slots=True)
class Thumbnails:
    """What became of a batch: the keys that were written and removed, and the pictures that could not be read."""

    written: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    failed: list[Failed] = field(default_factory=list)


def thumbnail(
    objects: list[ObjectEvent], prefix: str = "thumbnails/", pixels: int = 320, *, context: Context
) -> Thumbnails:
    """Write a thumbnail of each picture, at most `pixels` wide and high, under `prefix` in the picture's own bucket.

    A picture that is removed takes its thumbnail along. One that cannot be read loses it, is listed in `failed`, and
    holds no other up.
    """
    done = Thumbnails()
    for found in objects:
        key = f"{prefix}{found.key}.webp"
        if found.event == "removed":
            context.store.delete(found.bucket, key)
            done.removed.append(key)
            continue
        etag = found.etag or ""
        try:
            stored = context.store.get(found.bucket, found.key, limit=OBJECT_LIMIT)
            etag = stored.etag
            context.store.put(found.bucket, key, shrink(stored.data, pixels), content_type="image/webp")
            done.written.append(key)
        except ObjectMissing:
            continue  # gone meanwhile: the trigger tells of that, too
        except BadInput as error:
            context.store.delete(found.bucket, key)
            done.failed.append(Failed(found.bucket, found.key, etag, f"{found.key}: {error}"))
    return done


def shrink(data: bytes, pixels: int) -> bytes:
    """A picture as WebP, upright, at most `pixels` wide and high, never enlarged. Raises BadInput."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data)) as picture:
            picture.draft(None, (pixels, pixels))  # a JPEG is unpacked at about the size that is needed
            if picture.width * picture.height > PIXEL_LIMIT:
                raise BadInput(f"The picture unpacks to more than {PIXEL_LIMIT:,} pixels. Send a smaller one.")
            mode = "RGBA" if picture.has_transparency_data else "RGB"
            small = picture if picture.mode == mode else picture.convert(mode)
            small.thumbnail((pixels, pixels))
            output = io.BytesIO()
            ImageOps.exif_transpose(small).save(output, "WEBP", quality=80)
            return output.getvalue()
    except UnidentifiedImageError as error:
        raise BadInput("This is no picture that can be read. Send a JPEG, PNG, GIF, WebP, TIFF or BMP.") from error
    except Image.DecompressionBombError as error:
        raise BadInput(f"{error} Send a smaller picture.") from error
    except (OSError, SyntaxError, ValueError, EOFError, IndexError) as error:
        # What Pillow raises on damaged files differs by format.
        raise BadInput(f"The picture is damaged ({error}). Send it again.") from error
