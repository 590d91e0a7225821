import base64
import io
import os
import shutil
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefer.errors import InputError
from edgefer.images import ImageSet, open_images
from edgefer.images.decode import Undecodable, decode
from edgefer.images.image_formats import declared_size
from edgefer.images.image_set import listed

SHARED = Path(__file__).parents[3] / "shared" / "data"

# 8 x 8 pixels of one colour, RGB (200, 40, 90) before conversion.
CMYK_JPEG = base64.b64decode(
    "/9j/7gAOQWRvYmUAZAAAAAAA/9sAQwADAgIDAgIDAwMDBAMDBAUIBQUEBAUKBwcGCAwKDAwLCgsLDQ4SEA0OEQ4LCxAWEBETFBUVFQwPFxgWFBgS"
    "FBUU/8AAFAgACAAIBEMRAE0RAFkRAEsRAP/EABYAAQEBAAAAAAAAAAAAAAAAAAgHCf/EABQQAQAAAAAAAAAAAAAAAAAAAAD/2gAOBEMATQBZAEsA"
    "AD8AYAKI01Tf/9k="
)


def picture(seed: int = 0, height: int = 24, width: int = 32) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    return np.kron(coarse, np.ones((8, 8, 1), np.uint8))


def encoded(image: np.ndarray, suffix: str = ".png") -> bytes:
    return cv2.imencode(suffix, image[..., ::-1] if image.ndim == 3 else image)[1].tobytes()


def png(
    rows: np.ndarray, color_type: int, depth: int = 8, palette: bytes = b"", size: tuple[int, int] = (0, 0)
) -> bytes:
    """A PNG as the standard describes it, for the kinds that OpenCV does not write."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    width, height = size if size != (0, 0) else (rows.shape[1], rows.shape[0])
    header = struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    body = chunk(b"IHDR", header) + (chunk(b"PLTE", palette) if palette else b"")
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def write_folder(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def write_zip(path: Path, files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def write_npz(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        open_images(path)
    assert caught.value.message.startswith(str(path))
    return caught.value.message


CLASSES = {
    "happy/b.png": encoded(picture(1)),
    "happy/a.png": encoded(picture(2)),
    "angry/c.jpg": encoded(picture(3), ".jpg"),
}


def test_class_folders_are_labels_and_names_are_sorted(tmp_path: Path) -> None:
    faces = open_images(write_folder(tmp_path / "faces", CLASSES))
    assert faces.source == "faces"
    assert faces.names == ("angry/c.jpg", "happy/a.png", "happy/b.png")
    assert faces.label_names == ("angry", "happy")
    assert faces.labels is not None
    assert faces.labels.tolist() == [0, 1, 1]
    np.testing.assert_array_equal(faces.read(1), picture(2))


def test_a_flat_folder_has_no_labels(tmp_path: Path) -> None:
    faces = open_images(write_folder(tmp_path, {"2.png": encoded(picture(2)), "1.png": encoded(picture(1))}))
    assert (faces.names, faces.labels, faces.label_names) == (("1.png", "2.png"), None, ())


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_is_the_same_set_as_the_folder_it_was_made_from(tmp_path: Path, compression: int) -> None:
    folder = open_images(write_folder(tmp_path / "faces", CLASSES))
    reordered = dict(reversed(CLASSES.items()))
    plain = open_images(write_zip(tmp_path / "plain.zip", reordered, compression))
    wrapped = open_images(write_zip(tmp_path / "wrapped.zip", {f"faces/{k}": v for k, v in CLASSES.items()}))
    assert folder.sha256 == plain.sha256 == wrapped.sha256
    assert folder.names == plain.names == wrapped.names
    np.testing.assert_array_equal(wrapped.read(2), folder.read(2))


def test_the_hash_follows_content_names_and_labels_but_not_the_clock(tmp_path: Path) -> None:
    original = open_images(write_folder(tmp_path / "a", CLASSES)).sha256
    os.utime(tmp_path / "a" / "happy" / "a.png", (0, 0))
    assert open_images(tmp_path / "a").sha256 == original
    changes = [
        {**CLASSES, "happy/a.png": encoded(picture(9))},
        {**CLASSES, "happy/d.png": encoded(picture(9))},
        {name.replace("angry", "sad"): data for name, data in CLASSES.items()},
    ]
    hashes = {open_images(write_folder(tmp_path / str(i), files)).sha256 for i, files in enumerate(changes)}
    assert len(hashes) == len(changes)
    assert original not in hashes


def test_select_keeps_images_with_their_labels(tmp_path: Path) -> None:
    faces = open_images(write_folder(tmp_path, CLASSES))
    part = faces.select([2, 0])
    assert part.names == ("happy/b.png", "angry/c.jpg")
    assert part.labels is not None
    assert part.labels.tolist() == [1, 0]
    np.testing.assert_array_equal(part.read(0), faces.read(2))
    assert part.sha256 != faces.sha256
    assert len(faces.select([])) == 0


def test_files_that_are_no_images_are_ignored(tmp_path: Path) -> None:
    litter = ["README.md", "LICENSE", ".DS_Store", "happy/Thumbs.db", "__MACOSX/happy/._a.png", ".cache/x.png"]
    write_folder(tmp_path, {**CLASSES, **dict.fromkeys(litter, b"text")})
    faces = open_images(tmp_path)
    assert len(faces) == 3
    assert faces.skipped == ()
    assert faces.passed_over == {".md": 1, "without a suffix": 1}


def test_pictures_that_are_not_read_are_counted_by_kind(tmp_path: Path) -> None:
    others = dict.fromkeys(["happy/1.heic", "happy/2.HEIC", "angry/3.heic", "4.ico", "clip.mp4"], b"not read")
    for faces in (
        open_images(write_folder(tmp_path / "set", {**CLASSES, **others})),
        open_images(write_zip(tmp_path / "set.zip", {**CLASSES, **others})),
    ):
        assert len(faces) == 3
        expected = "passed over, as no images that can be read: 3 .heic, 1 .ico, 1 .mp4"
        assert faces.passed_over_lines() == (expected,)
    assert "holds no images that can be read, but 3 .heic, 1 .ico, 1 .mp4" in refusal(
        write_folder(tmp_path / "none", others)
    )


def test_many_kinds_are_summed_up() -> None:
    assert listed({f".{number:03}": 1 for number in range(1000)} | {".heic": 2}) == (
        "2 .heic, 1 .000, 1 .001, 1 .002, 1 .003, 1 .004, 995 of other kinds"
    )


def test_content_decides_what_an_image_is_not_its_name(tmp_path: Path) -> None:
    png_bytes, jpeg = encoded(picture(1)), encoded(picture(2), ".jpg")
    heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40)
    files = {"a.gif": png_bytes, "b.jfif": jpeg, "c": png_bytes, "d.bak": jpeg, "e.jpg": heic, "f.txt": b"BM P5 text"}
    faces = open_images(write_folder(tmp_path, files))
    assert faces.names == ("a.gif", "b.jfif", "c", "d.bak")
    np.testing.assert_array_equal(faces.read(0), picture(1))
    assert faces.skipped_lines() == ("skipped e.jpg: is HEIC, which OpenCV does not read",)
    assert faces.passed_over == {".txt": 1}


def test_a_camera_s_own_file_is_not_taken_for_the_tiff_that_it_begins_like(tmp_path: Path) -> None:
    tiff = encoded(picture(1), ".tif")
    faces = open_images(write_folder(tmp_path, {"a.tif": tiff, "b.nef": tiff}))
    assert (faces.names, faces.passed_over) == (("a.tif",), {".nef": 1})


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".avif", ".png"])
def test_of_what_moves_the_first_frame_counts(tmp_path: Path, suffix: str) -> None:
    if not (hasattr(cv2, "imencodeanimation") and cv2.haveImageWriter(f"x{suffix}")):
        pytest.skip(f"this OpenCV ({cv2.__version__}) writes no moving {suffix}")
    moving = cv2.Animation()
    red, blue = np.zeros((24, 32, 3), np.uint8), np.zeros((24, 32, 3), np.uint8)
    red[..., 2], blue[..., 0] = 255, 255
    moving.frames, moving.durations = [red, blue], [100, 100]
    faces = open_images(write_folder(tmp_path, {f"a{suffix}": cv2.imencodeanimation(suffix, moving)[1].tobytes()}))
    assert np.abs(faces.read(0).astype(int) - (255, 0, 0)).max() <= 8


@pytest.mark.parametrize("suffix", [".gif", ".avif", ".jp2"])
def test_half_a_picture_of_the_newer_formats_is_skipped_and_silent(
    tmp_path: Path, suffix: str, capfd: pytest.CaptureFixture[str]
) -> None:
    if not cv2.haveImageWriter(f"x{suffix}"):
        pytest.skip(f"this OpenCV ({cv2.__version__}) does not know {suffix}")
    whole = encoded(picture(1, 64, 64), suffix)
    capfd.readouterr()
    files = {f"half{suffix}": whole[: len(whole) // 2], f"whole{suffix}": whole}
    faces = open_images(write_folder(tmp_path, files))
    assert (faces.names, [image.name for image in faces.skipped]) == ((f"whole{suffix}",), [f"half{suffix}"])
    faces.read(0)
    assert capfd.readouterr() == ("", "")


def test_an_opencv_that_cannot_read_a_format_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "haveImageWriter", lambda name: False)
    monkeypatch.setattr(cv2, "imdecode", lambda data, flags: None)
    assert "is GIF, which this OpenCV (" in refusal(write_folder(tmp_path, {"a.gif": b"GIF89a\x08\0\x08\0"}))


NESTED = {
    "train/happy/a.png": encoded(picture(1)),
    "train/angry/b.png": encoded(picture(2)),
    "test/happy/c.png": encoded(picture(3)),
    "d.png": encoded(picture(4)),
}


def test_where_labels_mean_nothing_every_folder_is_a_class_and_every_image_counts(tmp_path: Path) -> None:
    faces = open_images(write_folder(tmp_path / "set", NESTED), labelled=False)
    assert faces.names == ("d.png", "test/happy/c.png", "train/angry/b.png", "train/happy/a.png")
    assert faces.label_names == (".", "test/happy", "train/angry", "train/happy")
    flat = open_images(write_folder(tmp_path / "flat", CLASSES), labelled=False)
    assert flat.sha256 == open_images(tmp_path / "flat").sha256


@pytest.mark.parametrize("labels", [[0.5, np.nan], [["a", "b"], ["c", "d"]], ["wut", "ekel"], np.array([None, {}])])
def test_labels_that_are_none_are_left_out_where_they_mean_nothing(tmp_path: Path, labels: Any) -> None:
    path = write_npz(tmp_path / "set.npz", images=GRAY, labels=labels)
    faces = open_images(path, labelled=False)
    assert (len(faces), faces.labels) == (2, None)
    assert "labels" in refusal(path)


def test_damaged_images_are_skipped_named_and_silent(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    jpeg, image = encoded(picture(1, 80, 120), ".jpg"), encoded(picture(1, 80, 120))
    bad_code = bytearray(jpeg)
    bad_code[len(jpeg) // 2 : len(jpeg) // 2 + 60] = bytes((b * 7 + 3) & 255 for b in jpeg[len(jpeg) // 2 :][:60])
    bad_pixels = bytearray(image)
    bad_pixels[len(image) // 2] ^= 255
    damaged = {
        "bad_code.jpg": bytes(bad_code),
        "bad_pixels.png": bytes(bad_pixels),
        "empty.jpg": b"",
        "half.jpg": jpeg[: len(jpeg) // 2],
        "half.png": image[: len(image) // 2],
        "text.jpg": b"not an image",
    }
    faces = open_images(write_folder(tmp_path, {**damaged, "good.png": image}))
    assert faces.names == ("good.png",)
    assert [image.name for image in faces.skipped] == sorted(damaged)
    assert faces.skipped_lines(2) == (
        "skipped bad_code.jpg: is damaged: premature end of data segment",
        "skipped bad_pixels.png: is damaged or truncated",
        "skipped 4 more",
    )
    assert capfd.readouterr() == ("", "")


def test_an_image_with_a_harmless_flaw_is_kept_and_silent(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    jpeg = encoded(picture(1, 80, 120), ".jpg")
    padded = jpeg[:-2] + b"\0" * 12 + jpeg[-2:]
    faces = open_images(write_folder(tmp_path, {"padded.jpg": padded}))
    np.testing.assert_array_equal(faces.read(0), decode(jpeg))
    assert capfd.readouterr() == ("", "")


def test_standard_error_still_works_after_a_set_was_opened(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    open_images(write_folder(tmp_path, CLASSES))
    os.write(2, b"heard")
    assert capfd.readouterr().err == "heard"


def test_nothing_readable_is_an_error_that_names_the_first_cause(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a.jpg": b"", "b.jpg": b"x"})
    assert "none of 2 images can be read; a.jpg: is empty" in refusal(tmp_path)


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    assert "holds no images" in refusal(tmp_path)


def test_an_image_outside_the_class_folders_is_skipped(tmp_path: Path) -> None:
    faces = open_images(write_folder(tmp_path, {**CLASSES, "stray.png": encoded(picture())}))
    assert len(faces) == 3
    assert faces.skipped_lines() == ("skipped stray.png: lies outside the class folders",)


def test_a_file_that_changes_after_opening_is_an_error(tmp_path: Path) -> None:
    faces = open_images(write_folder(tmp_path, CLASSES))
    (tmp_path / "happy" / "a.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"happy/a\.png changed while in use"):
        faces.read(1)


def test_links_in_a_circle_end_and_links_to_images_are_followed(tmp_path: Path) -> None:
    write_folder(tmp_path / "set", CLASSES)
    (tmp_path / "set" / "happy" / "again").symlink_to(tmp_path / "set")
    (tmp_path / "set" / "happy" / "self.png").symlink_to("self.png")
    (tmp_path / "set" / "happy" / "z.png").symlink_to("a.png")
    os.mkfifo(tmp_path / "set" / "happy" / "pipe.png")
    faces = open_images(tmp_path / "set")
    assert faces.names == ("angry/c.jpg", "happy/a.png", "happy/b.png", "happy/z.png")
    assert [image.name for image in faces.skipped] == ["happy/pipe.png", "happy/self.png"]


def test_a_hostile_zip_is_only_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgefer.images.stored.MAX_FILE_BYTES", 100_000)
    files = {"../../a/up.png": encoded(picture(1)), "/a/b.png": encoded(picture(2)), "a/bomb.png": bytes(200_000)}
    path = write_zip(tmp_path / "set.zip", {**files, "..": encoded(picture(3))})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(zipfile.ZipInfo(""), encoded(picture(4)))
    faces = open_images(path)
    assert faces.names == ("b.png", "up.png")
    assert [image.name for image in faces.skipped] == ["bomb.png"]
    assert "the limit is 100,000" in faces.skipped[0].reason
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set.zip"]


def test_an_image_that_declares_too_many_pixels_is_never_decoded(tmp_path: Path) -> None:
    bomb = png(np.zeros((1, 1), np.uint8), 0, size=(60_000, 60_000))
    faces = open_images(write_folder(tmp_path, {"bomb.png": bomb, "good.png": encoded(picture())}))
    assert faces.skipped_lines() == ("skipped bomb.png: declares 60000 x 60000 pixels; the limit is 64 megapixels",)


def test_names_cannot_write_to_the_terminal(tmp_path: Path) -> None:
    faces = open_images(write_zip(tmp_path / "set.zip", {"\x1b[31m.jpg": b"", "good.png": encoded(picture())}))
    assert faces.skipped[0].name == "\\x1b[31m.jpg"


@pytest.mark.parametrize("keep", [0, 30, -30])
def test_a_truncated_zip_is_named(tmp_path: Path, keep: int) -> None:
    path = write_zip(tmp_path / "set.zip", CLASSES)
    path.write_bytes(path.read_bytes()[:keep])
    assert "not a readable zip" in refusal(path)


def test_a_member_that_does_not_unpack_is_skipped(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "set.zip", {"a.png": encoded(picture(1)), "b.png": encoded(picture(2))})
    data = bytearray(path.read_bytes())
    data[40:60] = bytes(20)
    path.write_bytes(data)
    faces = open_images(path)
    assert faces.names == ("b.png",)
    assert faces.skipped[0].reason.startswith("cannot be unpacked")


def test_a_missing_path_says_what_an_image_set_is(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        open_images(tmp_path / "faces")
    assert "no such file or folder" in caught.value.message
    assert "one subfolder per class" in caught.value.remedy


def test_one_image_and_other_files_are_no_image_sets(tmp_path: Path) -> None:
    write_folder(tmp_path, {"face.png": encoded(picture()), "notes.txt": b"x"})
    assert "is one image" in refusal(tmp_path / "face.png")
    assert "not an image set" in refusal(tmp_path / "notes.txt")


GRAY = np.arange(2 * 4 * 6, dtype=np.uint8).reshape(2, 4, 6)


def test_gray_arrays_become_three_equal_channels(tmp_path: Path) -> None:
    faces = open_images(write_npz(tmp_path / "set.npz", images=GRAY, labels=[1, 0], label_names=["sad", "happy"]))
    assert faces.label_names == ("sad", "happy")
    assert faces.labels is not None
    assert faces.labels.tolist() == [1, 0]
    np.testing.assert_array_equal(faces.read(1), np.stack([GRAY[1]] * 3, axis=-1))


def test_reading_gives_a_copy(tmp_path: Path) -> None:
    faces = open_images(write_npz(tmp_path / "set.npz", images=np.zeros((1, 4, 4, 3), np.uint8)))
    faces.read(0)[:] = 9
    assert not faces.read(0).any()


def test_compression_does_not_change_the_hash_of_arrays(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "small.npz", images=GRAY)
    small, plain = open_images(tmp_path / "small.npz"), open_images(write_npz(tmp_path / "plain.npz", images=GRAY))
    assert small.sha256 == plain.sha256
    assert open_images(write_npz(tmp_path / "other.npz", images=GRAY + 1)).sha256 != plain.sha256
    assert open_images(write_npz(tmp_path / "labels.npz", images=GRAY, labels=[0, 1])).sha256 != plain.sha256


def test_labels_without_names_are_named_by_their_number(tmp_path: Path) -> None:
    faces = open_images(write_npz(tmp_path / "set.npz", images=GRAY, labels=[7, 3]))
    assert faces.label_names == ("3", "7")
    assert faces.labels is not None
    assert faces.labels.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"pixels": GRAY}, "holds no array `images`"),
        ({"images": GRAY.astype(np.float32)}, r"must be uint8 \(N, H, W\)"),
        ({"images": GRAY[0]}, r"`images` is uint8 \(4, 6\)"),
        ({"images": np.zeros((2, 4, 6, 4), np.uint8)}, "must be uint8"),
        ({"images": GRAY[:0]}, "no pixels"),
        ({"images": np.zeros((1, 1, 40_000), np.uint8)}, "declares 40000 x 1 pixels"),
        ({"images": np.array([None])}, "`images` is not readable"),
        ({"images": GRAY, "labels": [0.0, np.nan]}, r"must be integers \(2,\)"),
        ({"images": GRAY, "labels": [0]}, r"must be integers \(2,\)"),
        ({"images": GRAY, "labels": [0, 2], "label_names": ["a", "b"]}, "must be 0 to 1"),
        ({"images": GRAY, "labels": [-1, 0], "label_names": ["a", "b"]}, "`labels` are -1 to 0"),
        ({"images": GRAY, "labels": [0, 1], "label_names": [1, 2]}, "must be a list of strings"),
        ({"images": GRAY, "labels": [0, 1], "label_names": ["a", "a"]}, "repeats a name"),
    ],
)
def test_arrays_of_the_wrong_kind_are_refused(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_images(write_npz(tmp_path / "set.npz", **arrays))


def test_an_array_that_declares_more_than_it_holds_takes_no_memory(tmp_path: Path) -> None:
    header = io.BytesIO()
    shape = {"descr": "|u1", "fortran_order": False, "shape": (1 << 20, 1 << 10, 1 << 10)}
    np.lib.format.write_array_header_1_0(header, shape)
    assert "declares 1,099,511,627,776 bytes" in refusal(
        write_zip(tmp_path / "set.npz", {"images.npy": header.getvalue()})
    )


def test_arrays_over_the_limit_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgefer.images.arrays.MAX_ARRAY_BYTES", 100)
    assert "the limit is 100" in refusal(write_npz(tmp_path / "set.npz", images=GRAY))


@given(st.integers(0, 2**32), st.floats(0, 1))
def test_a_damaged_npz_is_refused_or_read_never_a_crash(
    tmp_path_factory: pytest.TempPathFactory, seed: int, cut: float
) -> None:
    path = write_npz(tmp_path_factory.getbasetemp() / "damaged.npz", images=GRAY, labels=[0, 1])
    data = bytearray(path.read_bytes())
    rng = np.random.default_rng(seed)
    data[rng.integers(len(data))] ^= int(rng.integers(1, 256))
    path.write_bytes(data[: round(len(data) * cut)] if seed % 2 else data)
    try:
        assert isinstance(open_images(path), ImageSet)
    except InputError as error:
        assert str(path) in error.message


def test_color_modes_become_rgb() -> None:
    gray = picture(5)[:, :, 0]
    rgb = picture(6)
    as_rgb = np.stack([gray] * 3, axis=-1)
    palette = bytes(range(256)) * 3
    indexed = np.frombuffer(palette, np.uint8).reshape(256, 3)[gray]
    alpha = np.full_like(gray, 7)
    cases = {
        "gray": (png(gray, 0), as_rgb),
        "gray and alpha": (png(np.dstack([gray, alpha]).reshape(24, -1), 4, size=(32, 24)), as_rgb),
        "RGB and alpha": (png(np.dstack([rgb, alpha]).reshape(24, -1), 6, size=(32, 24)), rgb),
        "palette": (png(gray, 3, palette=palette), indexed),
        "16 bits": (png((gray.astype(">u2") * 257).astype(">u2"), 0, depth=16), as_rgb),
    }
    for kind, (data, expected) in cases.items():
        np.testing.assert_array_equal(decode(data), expected, err_msg=kind)
    assert np.abs(decode(CMYK_JPEG).astype(int) - (200, 40, 90)).max() <= 4


def test_exif_orientation_turns_the_image() -> None:
    jpeg = encoded(picture(7), ".jpg")
    tiff = b"MM\0*\0\0\0\x08\0\x01" + struct.pack(">HHIHH", 0x112, 3, 1, 6, 0) + bytes(4)
    exif = b"Exif\0\0" + tiff
    turned = jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]
    np.testing.assert_array_equal(decode(turned), np.rot90(decode(jpeg), -1))


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp", ".tiff", ".ppm", ".gif", ".avif"])
@given(height=st.integers(1, 40), width=st.integers(1, 40))
def test_the_declared_size_is_the_decoded_one(suffix: str, height: int, width: int) -> None:
    data = encoded(np.full((height, width, 3), 80, np.uint8), suffix)
    assert declared_size(data) == (height, width) == decode(data).shape[:2]


def test_the_declared_size_of_jpeg_2000_is_the_decoded_one() -> None:
    data = encoded(picture(1, 64, 80), ".jp2")
    codestream = data[data.index(b"\xff\x4f\xff\x51") :]
    assert declared_size(data) == declared_size(codestream) == (64, 80) == decode(data).shape[:2]


@given(
    st.sampled_from(
        [
            b"\xff\xd8\xff",
            b"\x89PNG\r\n\x1a\n",
            b"BM",
            b"RIFF....WEBPVP8 ",
            b"II*\0",
            b"MM\0*",
            b"P6 ",
            b"GIF89a",
            b"\0\0\0\x10ftypavif",
            b"",
        ]
    ),
    st.binary(),
)
def test_any_bytes_decode_or_are_undecodable(magic: bytes, rest: bytes) -> None:
    try:
        assert decode(magic + rest).ndim == 3
    except Undecodable as error:
        assert str(error)


@pytest.mark.skipif(not SHARED.exists(), reason="needs the shared data sets beside the repository")
def test_real_sets_open_completely(tmp_path: Path) -> None:
    faces = open_images(SHARED / "faces_rgb.zip")
    assert (len(faces), faces.skipped) == (613, ())
    assert faces.label_names == ("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")
    shutil.unpack_archive(SHARED / "faces_rgb.zip", tmp_path)
    assert open_images(tmp_path).sha256 == faces.sha256
    assert len(open_images(SHARED / "fer2013_calibration.npz")) == 490
