"""Videos that tests make: each frame has a colour that tells its index."""

import struct

import cv2
import numpy as np
from PIL import Image


def picture(index, size=(64, 48)):
    """A frame whose red channel is 10 x index, brighter in its upper half."""
    image = np.zeros((size[1], size[0], 3), np.uint8)
    image[..., 0] = 10 * index
    image[: size[1] // 2, :, 1] = 200
    return image


def write_video(path, count, fps=10.0, codec="mp4v"):
    """A video at an even rate."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), fps, (64, 48))
    for index in range(count):
        writer.write(cv2.cvtColor(picture(index), cv2.COLOR_RGB2BGR))
    writer.release()
    return path


def write_gif(path, durations_ms):
    """A video at an uneven rate."""
    first, *rest = [Image.fromarray(picture(index)) for index in range(len(durations_ms))]
    first.save(path, save_all=True, append_images=rest, duration=durations_ms, loop=0)
    return path


def turn(path):
    """Say in an MP4's track header that it is to be shown turned by a quarter to the right, as phones do."""
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 4 + 4 + 20 + 8 + 8
    data[matrix : matrix + 36] = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 48 << 16, 0, 1 << 30)
    path.write_bytes(bytes(data))
    return path


def write_matroska(path, times_ms, sound_ms=()):
    """A video as a browser records it, of unknown length; its sound, of silence, is another track, before it."""

    def element(kind, content):
        data = content if isinstance(content, bytes) else content.to_bytes(8, "big")
        return bytes.fromhex(kind) + bytes([1]) + len(data).to_bytes(7, "big") + data

    def block(track, time_ms, data):
        cluster = bytes.fromhex("1f43b67501ffffffffffffff") + element("e7", time_ms // 1000 * 1000)
        return time_ms, cluster + element("a3", struct.pack(">BhB", 0x80 | track, time_ms % 1000, 0x80) + data)

    shape = element("b0", 64) + element("ba", 48)
    tracks = element("d7", 7) + element("73c5", 7) + element("83", 1) + element("86", b"V_MJPEG") + element("e0", shape)
    heard = element("d7", 2) + element("73c5", 2) + element("83", 2) + element("86", b"A_PCM/INT/LIT")
    heard += element("e1", element("b5", struct.pack(">d", 8000)) + element("9f", 1) + element("6264", 16))
    frames = [cv2.imencode(".jpg", picture(index)[..., ::-1])[1].tobytes() for index in range(len(times_ms))]
    blocks = [block(7, *frame) for frame in zip(times_ms, frames, strict=True)]
    blocks += [block(2, time_ms, bytes(160)) for time_ms in sound_ms]
    content = element("1549a966", element("2ad7b1", 1_000_000))
    content += element("1654ae6b", (element("ae", heard) if sound_ms else b"") + element("ae", tracks))
    content += b"".join(data for _, data in sorted(blocks))
    path.write_bytes(
        element("1a45dfa3", element("4282", b"matroska")) + bytes.fromhex("1853806701ffffffffffffff") + content
    )
    return path


def edit(path, *edits):
    """Give an MP4 an edit list: durations in ms, and where in the video each begins, in its ticks, -1 for nothing."""

    def box(kind, content):
        return struct.pack(">I4s", len(content) + 8, kind) + content

    data = path.read_bytes()
    old = data.index(b"edts") - 4
    (length,) = struct.unpack_from(">I", data, old)
    listed = struct.pack(">II", 0, len(edits)) + b"".join(struct.pack(">IiI", *each, 1 << 16) for each in edits)
    grown = bytearray(data[:old] + box(b"edts", box(b"elst", listed)) + data[old + length :])
    for kind in (b"moov", b"trak"):  # frames lie before them
        place = grown.index(kind) - 4
        (whole,) = struct.unpack_from(">I", grown, place)
        struct.pack_into(">I", grown, place, whole + len(grown) - len(data))
    path.write_bytes(bytes(grown))
    return path


def block_times(path):
    """When the pictures of a Matroska file are shown, s, in that order; it has one track."""
    data = path.read_bytes()
    holders = {0x18538067, 0x1F43B675, 0xA0}
    times, cluster, place = [], 0, 0
    while place < len(data):
        parts = []
        for marked in (True, False):
            length = 9 - data[place].bit_length()
            value = int.from_bytes(data[place : place + length], "big")
            parts.append(value if marked else value - (1 << 7 * length))
            place += length
        kind, size = parts
        if kind == 0xE7:
            cluster = int.from_bytes(data[place : place + size], "big")
        if kind in (0xA1, 0xA3):
            times.append((cluster + struct.unpack_from(">h", data, place + 1)[0]) / 1000)
        place += 0 if kind in holders else size
    return sorted(times)
