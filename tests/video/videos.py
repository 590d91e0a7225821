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
