"""A picture to run networks on, drawn so that the repository ships none: an espaliered tree by a hill."""

from __future__ import annotations

import struct
import zlib

import numpy as np

# The channel means and deviations that ImageNet networks are trained with.
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)

_LEAVES = 900
_WIRES = (0.38, 0.54, 0.70)  # heights of the trellis wires, as a share of the picture


def draw(height: int = 224, width: int = 224, seed: int = 0) -> np.ndarray:
    """The picture as uint8 [height, width, 3], red, green, blue."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:1:height * 1j, 0:1:width * 1j]
    sky = np.stack([0.45 + 0.4 * y, 0.65 + 0.25 * y, 0.95 - 0.05 * y], axis=-1)
    picture = sky
    sun = np.clip(1.5 - 18 * np.hypot(x - 0.8, y - 0.16), 0, 1)[..., None]
    picture = picture * (1 - sun) + sun * np.array([1.0, 0.93, 0.65])
    for base, colour in ((0.62, (0.35, 0.52, 0.38)), (0.78, (0.30, 0.45, 0.20))):
        ridge = base + 0.05 * np.sin(7 * x + 9 * base) + 0.02 * np.sin(23 * x)
        slope = np.array(colour) * (1.15 - 0.4 * (y - ridge))[..., None]
        picture = np.where((y > ridge)[..., None], slope, picture)
    for wire in _WIRES:
        picture = np.where((np.abs(y - wire) < 0.003)[..., None], 0.3, picture)
        arm = (np.abs(y - wire + 0.01 * np.sin(9 * x)) < 0.012) & (np.abs(x - 0.45) < 0.36)
        picture = np.where(arm[..., None], np.array([0.36, 0.24, 0.15]), picture)
    trunk = (np.abs(x - 0.45 - 0.008 * np.sin(14 * y)) < 0.022) & (y > _WIRES[0]) & (y < 0.93)
    picture = np.where(trunk[..., None], np.array([0.33, 0.22, 0.14]), picture)
    for _ in range(_LEAVES):
        centre = random.uniform(0.1, 0.8), random.choice(_WIRES) + random.normal(0, 0.03)
        shade = np.array([0.15, 0.5, 0.12]) * random.uniform(0.6, 1.3)
        if random.random() < 0.05:
            shade = np.array([0.8, 0.12, 0.1])  # an apple
        leaf = np.hypot(x - centre[0], y - centre[1]) < 0.011
        picture = np.where(leaf[..., None], shade, picture)
    noisy = picture + random.normal(0, 0.012, picture.shape)
    return (255 * np.clip(noisy, 0, 1)).astype(np.uint8)


def normalised(picture: np.ndarray) -> np.ndarray:
    """uint8 [height, width, 3] as a network takes it: float32 [1, 3, height, width], ImageNet's scaling."""
    scaled = (picture.astype(np.float32) / 255 - MEAN) / DEVIATION
    return np.ascontiguousarray(scaled.transpose(2, 0, 1)[None])


def png(picture: np.ndarray) -> bytes:
    """uint8 [height, width, 3] as a PNG file (each row filtered with type 0, none)."""
    height, width, _ = picture.shape

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = np.concatenate([np.zeros((height, 1), np.uint8), picture.reshape(height, -1)], axis=1)
    header = struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows.tobytes()))
            + chunk(b"IEND", b""))
