import io
import pickle
import tarfile

import cv2
import numpy as np
import pytest

from edgefer.errors import InputError
from edgefer.images import known, open_images, stored


def png(seed):
    image = np.random.default_rng(seed).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    return cv2.imencode(".png", image)[1].tobytes()


def write_tar(path, files, format=tarfile.PAX_FORMAT, alter=lambda info: None):
    with tarfile.open(path, "w", format=format) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            alter(info)
            archive.addfile(info, io.BytesIO(data))
    return path


def refusal(path):
    with pytest.raises(InputError) as caught:
        open_images(path)
    assert str(path) in caught.value.message
    return caught.value.message


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_tar_is_the_same_set_as_the_folder_it_was_made_from(tmp_path, format):
    files = {"angry/a.png": png(1), "happy/b.png": png(2), f"happy/{'c' * 90}.png": png(3)}
    for name, data in files.items():
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / name).write_bytes(data)
    packed, folder = open_images(write_tar(tmp_path / "set.tar", files, format)), open_images(tmp_path / "set")
    assert packed.sha256 == folder.sha256
    assert all(np.array_equal(packed.read(index), folder.read(index)) for index in range(3))


def test_shards_say_in_sidecars_what_images_are(tmp_path):
    (tmp_path / "set").mkdir()
    write_tar(tmp_path / "set" / "0.tar", {"a.png": png(1), "a.cls": b"1", "b.png": png(2), "b.cls": b"0\n"})
    described = b'{"label": "happy", "valence": 0.5, "note": "x"}'
    write_tar(tmp_path / "set" / "1.tar", {"c.png": png(3), "c.json": described, "d.png": png(4), "d.txt": b"sad"})
    write_tar(
        tmp_path / "set" / "2.tar", {"e.png": png(5), "f.png": png(6), "f.json": b"{", "g.png": png(7), "g.cls": b"9"}
    )
    (tmp_path / "set" / "classes.txt").write_text("angry\nhappy\n")
    faces = open_images(tmp_path / "set")
    labels = dict(zip(faces.names, (faces.label_names[label] for label in faces.labels), strict=True))
    assert labels == {"a.png": "happy", "b.png": "angry", "c.png": "happy", "d.png": "sad"}
    np.testing.assert_array_equal(faces.arrays["valence"], [np.nan, np.nan, 0.5, np.nan])
    reasons = {image.name: image.reason for image in faces.skipped}
    assert reasons["e.png"] == "no sidecar says what it is"
    assert "cannot be read" in reasons["f.png"]
    assert "class 9, and classes.txt names 2" in reasons["g.png"]


def test_what_leads_out_of_a_tar_is_never_followed(tmp_path):
    def alter(info):
        if info.name.startswith("link"):
            info.type, info.linkname, info.size = tarfile.SYMTYPE, "/etc/passwd", 0
        if info.name.startswith("pipe"):
            info.type, info.size = tarfile.FIFOTYPE, 0

    files = {"../up.png": png(1), "/root.png": png(2), "link.png": b"", "pipe.png": b"", "good.png": png(3)}
    faces = open_images(write_tar(tmp_path / "set.tar", files, alter=alter))
    assert faces.names == ("good.png",)
    reasons = {image.name: image.reason for image in faces.skipped}
    assert reasons["../up.png"] == reasons["/root.png"] == "has a name that leads out of the archive"
    assert reasons["link.png"] == reasons["pipe.png"] == "is a link, or no file, which is not followed"
    assert [path.name for path in tmp_path.iterdir()] == ["set.tar"]


def test_sparse_files_are_not_unfolded(tmp_path):
    path = write_tar(tmp_path / "set.tar", {"good.png": png(1)})
    sparse = tarfile.TarInfo("big.png")
    sparse.pax_headers = {"GNU.sparse.major": "0", "GNU.sparse.map": "0,0", "GNU.sparse.size": str(1 << 40)}
    with tarfile.open(path, "a", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(sparse, io.BytesIO())
    assert [image.reason for image in open_images(path).skipped] == ["is stored sparsely"]


def test_a_header_that_is_larger_than_any_honest_one_is_refused(tmp_path):
    def alter(info):
        info.type = tarfile.XHDTYPE

    path = write_tar(tmp_path / "set.tar", {"x": bytes(2_000_000), "a.png": png(1)}, alter=alter)
    assert "a header of 2,000,384 bytes" in refusal(path)


@pytest.mark.parametrize("cut", [100, 600, 1100])
def test_a_truncated_tar_is_named(tmp_path, cut):
    path = write_tar(tmp_path / "set.tar", {"a.png": png(1), "b.png": png(2)}, tarfile.USTAR_FORMAT)
    path.write_bytes(path.read_bytes()[:cut])
    assert "not a readable tar" in refusal(path) or "damaged" in refusal(path)


def test_damage_between_files_is_not_taken_for_the_end(tmp_path):
    path = write_tar(tmp_path / "set.tar", {"a.png": png(1), "b.png": png(2)}, tarfile.USTAR_FORMAT)
    data = bytearray(path.read_bytes())
    data[data.index(b"b.png") + 150] ^= 1
    path.write_bytes(data)
    assert "damaged at byte" in refusal(path)


def test_compressed_tars_and_keys_that_repeat_are_refused(tmp_path):
    with tarfile.open(tmp_path / "set.tar.gz", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("a.png"))
    assert "compressed by gzip" in refusal(tmp_path / "set.tar.gz")
    (tmp_path / "set").mkdir()
    for shard in "01":
        write_tar(tmp_path / "set" / f"{shard}.tar", {"a.png": png(1)})
    with pytest.raises(InputError, match=r"1\.tar: holds a second a\.png"):
        open_images(tmp_path / "set")


def test_files_that_did_not_change_are_not_read_again(tmp_path, monkeypatch):
    monkeypatch.setattr(known, "FEWEST", 3)
    for index in range(4):
        (tmp_path / f"{index}.png").write_bytes(png(index))
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    first = open_images(tmp_path)
    read = []
    fetch = stored.FolderFile.__call__
    monkeypatch.setattr(
        stored.FolderFile, "__call__", lambda file, count: read.append(file.path.name) or fetch(file, count)
    )
    again = open_images(tmp_path)
    assert read == []
    assert (again.sha256, again.skipped) == (first.sha256, first.skipped)
    (tmp_path / "2.png").write_bytes(png(9) + b" ")
    third = open_images(tmp_path)
    assert read == ["2.png"]
    assert third.sha256 != first.sha256


def test_images_are_sent_by_their_place_or_with_their_bytes(tmp_path):
    faces = open_images(write_tar(tmp_path / "set.tar", {f"{index}.png": png(index) for index in range(3)}))
    by_place, carried = (pickle.dumps(faces.sent([1], carried=carried)) for carried in (False, True))
    expected = faces.read(1)
    assert np.array_equal(pickle.loads(by_place).read(0), expected)
    write_tar(tmp_path / "set.tar", {f"{index}.png": png(index + 5) for index in range(3)})
    assert np.array_equal(pickle.loads(carried).read(0), expected)
    with pytest.raises(InputError, match=r"1\.png changed while in use"):
        pickle.loads(by_place).read(0)
