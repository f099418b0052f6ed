"""Image files of many kinds, usual and hostile, each with what must come out: pixels, or one line."""

import io
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import h5py
import numpy as np
from PIL import Image

from tumorcls.data.windowing import to_uint8

RNG = np.random.default_rng(0)
GREY = (np.add.outer(np.arange(24) * 5, np.arange(30) * 4) % 240).astype(np.uint8)
GREY[:4] = 0
COLOUR = np.stack([GREY, GREY[::-1], np.roll(GREY, 7, 1)], axis=2)
DEEP = GREY.astype(np.uint16) * 16 + 5  # 12 bits
DEEP_COLOUR = COLOUR.astype(np.uint16) * 16 + 5
ALPHA = (np.arange(24 * 30).reshape(24, 30) % 256).astype(np.uint8)


@dataclass(frozen=True)
class Kind:
    """A file: `pixels` must come out (within `tolerance`), or where None one line whose text matches `message`."""

    name: str
    content: bytes
    pixels: Any = None
    message: str = "."
    tolerance: int = 0


def rgb(values: Any) -> Any:
    values = to_uint8(np.asarray(values))
    return values if values.ndim == 3 else np.repeat(values[:, :, None], 3, axis=2)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(values: Any, colour_type: int, depth: int = 8, extra: bytes = b"", size: tuple[int, int] | None = None) -> bytes:
    """Writes a PNG by hand; `extra` stands before its pixels."""
    height, width = size or values.shape[:2]
    if depth < 8:
        bits = np.unpackbits(values[:, :, None].astype(np.uint8), axis=2)[:, :, 8 - depth :].reshape(len(values), -1)
        rows = np.packbits(bits, axis=1)
    else:
        rows = values.astype(">u2" if depth == 16 else np.uint8)
    body = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    end = chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + end


def tiff(
    values: Any,
    photometric: int | None,
    *,
    bits: int | None = None,
    kind: int = 1,
    extras: Sequence[int] = (),
    planar: int = 1,
    big_endian: bool = False,
    tags: Sequence[tuple[int, int, Sequence[int]]] = (),
    tile: int = 0,
    compressed: bool = False,
    data: bytes | None = None,
    next_page: int = 0,
) -> bytes:
    """Writes a TIFF by hand, of one strip (or one tile, or one plane a sample)."""
    order = ">" if big_endian else "<"
    height, width = values.shape[:2]
    samples = values.shape[2] if values.ndim == 3 else 1
    planes = samples if planar == 2 else 1
    if data is None:
        parts = [values] if planes == 1 else list(values.transpose(2, 0, 1))
        if tile:
            parts = [np.pad(part, [(0, tile - height), (0, tile - width)] + [(0, 0)] * (part.ndim - 2)) for part in parts]
        stored = [np.ascontiguousarray(part).astype(part.dtype.newbyteorder(order)).tobytes() for part in parts]
        stored = [zlib.compress(part) for part in stored] if compressed else stored
    else:
        stored = [data]
    entries = [(256, 4, [width]), (257, 4, [height]), (258, 3, [bits or values.dtype.itemsize * 8] * samples)]
    entries += [(259, 3, [8 if compressed else 1]), (277, 3, [samples]), (284, 3, [planar]), (339, 3, [kind] * samples)]
    entries += [(262, 3, [photometric])] if photometric is not None else []
    entries += [(338, 3, extras)] if extras else []
    entries += [(322, 4, [tile]), (323, 4, [tile])] if tile else [(278, 4, [height])]
    offsets, counts = (324, 325) if tile else (273, 279)
    entries += [(offsets, 4, [0] * planes), (counts, 4, [len(part) for part in stored])]
    taken = {tag for tag, _, _ in tags}
    entries = sorted([entry for entry in entries if entry[0] not in taken] + list(tags))
    at = 8 + 2 + 12 * len(entries) + 4
    places, sizes = {}, {3: 2, 4: 4}
    for tag, size, numbers in entries:
        if sizes[size] * len(numbers) > 4:
            places[tag] = at
            at += sizes[size] * len(numbers) + sizes[size] * len(numbers) % 2
    starts = [at + sum(map(len, stored[:number])) for number in range(planes)]
    head = struct.pack(f"{order}2sHIH", b"MM" if big_endian else b"II", 42, 8, len(entries))
    tail = b""
    for tag, size, numbers in entries:
        numbers = starts if tag == offsets and tag not in taken else numbers
        raw = struct.pack(f"{order}{len(numbers)}{'H' if size == 3 else 'I'}", *numbers)
        if tag in places:
            tail += raw + b"\0" * (len(raw) % 2)
            raw = struct.pack(f"{order}I", places[tag])
        head += struct.pack(f"{order}HHI", tag, size, len(numbers)) + raw.ljust(4, b"\0")
    return head + struct.pack(f"{order}I", next_page) + tail + b"".join(stored)


def saved(values: Any, form: str, mode: str | None = None, **options: Any) -> bytes:
    """Writes what Pillow writes."""
    image = values if isinstance(values, Image.Image) else Image.fromarray(values)
    buffer = io.BytesIO()
    (image.convert(mode) if mode else image).save(buffer, form, **options)
    return buffer.getvalue()


def portable(kind: int, values: Any, top: int | None, comment: str = "") -> bytes:
    head = f"P{kind}\n{comment}{values.shape[1]} {values.shape[0]}\n" + ("" if top is None else f"{top}\n")
    if kind < 4:
        return head.encode() + b" ".join(b"%d" % value for value in np.ravel(values).tolist())
    return head.encode() + (values if kind == 4 else values.astype(">u2" if top and top > 255 else np.uint8)).tobytes()


def over_black(values: Any, alpha: Any, top: int) -> Any:
    return np.rint(values.astype(np.float64) * (alpha[..., None] if values.ndim == 3 else alpha) / top).astype(values.dtype)


def images() -> list[Kind]:
    return [*_pngs(), *_tiffs(), *_maps(), *_others(), *_bad()]


def _pngs() -> list[Kind]:
    deep_alpha = ALPHA.astype(np.uint16) * 257
    with_alpha = np.dstack([DEEP_COLOUR, deep_alpha])
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
    key = DEEP_COLOUR[9, 9]
    keyed = np.where((key == DEEP_COLOUR).all(axis=2, keepdims=True), 0, DEEP_COLOUR).astype(np.uint16)
    ramp = np.arange(256, dtype=np.uint8)
    return [
        Kind("grey8.png", png(GREY, 0), rgb(GREY)),
        Kind("grey1.png", png(GREY > 99, 0, 1), rgb((GREY > 99) * np.uint8(255))),
        Kind("grey2.png", png(GREY >> 6, 0, 2), rgb((GREY >> 6) * np.uint8(85))),
        Kind("grey4.png", png(GREY >> 4, 0, 4), rgb((GREY >> 4) * np.uint8(17))),
        Kind("grey16.png", png(DEEP, 0, 16), rgb(DEEP)),
        Kind("rgb8.png", png(COLOUR, 2), COLOUR),
        Kind("rgb16.png", png(DEEP_COLOUR, 2, 16), rgb(DEEP_COLOUR)),
        Kind("rgb16-alike.png", png(np.dstack([DEEP] * 3), 2, 16), rgb(DEEP)),
        Kind("rgba16.png", png(with_alpha, 6, 16), rgb(over_black(DEEP_COLOUR, deep_alpha, 65535)), tolerance=1),
        Kind("la16.png", png(np.dstack([DEEP, deep_alpha]), 4, 16), rgb(over_black(DEEP, deep_alpha, 65535)), tolerance=1),
        Kind("la8.png", png(np.dstack([GREY, ALPHA]), 4), rgb(over_black(GREY, ALPHA, 255)), tolerance=1),
        Kind("rgba8.png", png(np.dstack([COLOUR, ALPHA]), 6), over_black(COLOUR, ALPHA, 255), tolerance=1),
        Kind("rgb16-sbit.png", png(DEEP_COLOUR, 2, 16, chunk(b"sBIT", b"\x0c\x0c\x0c")), rgb(DEEP_COLOUR)),
        Kind("rgb16-gama.png", png(DEEP_COLOUR, 2, 16, chunk(b"gAMA", struct.pack(">I", 45455))), rgb(DEEP_COLOUR)),
        Kind("rgb16-key.png", png(DEEP_COLOUR, 2, 16, chunk(b"tRNS", struct.pack(">3H", *key))), rgb(keyed)),
        Kind(
            "grey16-key.png", png(DEEP, 0, 16, chunk(b"tRNS", struct.pack(">H", DEEP[9, 9]))), rgb(DEEP * (DEEP[9, 9] != DEEP))
        ),
        Kind("rgb16-turned.png", png(DEEP_COLOUR, 2, 16, turned), rgb(np.rot90(DEEP_COLOUR, -1))),
        Kind("grey16-turned.png", png(DEEP, 0, 16, turned), rgb(np.rot90(DEEP, -1))),
        Kind("interlaced.png", saved(COLOUR, "PNG"), COLOUR),
        Kind(
            "palette.png",
            png(GREY, 3, 8, chunk(b"PLTE", np.stack([ramp[::-1], ramp, ramp], 1).tobytes())),
            np.stack([255 - GREY, GREY, GREY], 2),
        ),
        Kind("clear.png", png(np.dstack([GREY, GREY * 0]), 4), None, "wholly transparent"),
        Kind("clear16.png", png(np.dstack([DEEP_COLOUR, DEEP * 0]), 6, 16), None, "wholly transparent"),
        Kind("animated.png", saved(GREY, "PNG", save_all=True, append_images=[Image.fromarray(255 - GREY)]), rgb(GREY)),
    ]


def _tiffs() -> list[Kind]:
    alpha16 = ALPHA.astype(np.uint16) * 257
    rgba16 = np.dstack([DEEP_COLOUR, alpha16])
    ramp16, ramp8 = np.arange(256) * 257, np.arange(256)
    floats = DEEP.astype(np.float32) / 4096
    holes = floats.copy()
    holes[0, 0], holes[1, 1] = np.nan, np.inf
    filled = floats.copy()
    filled[0, 0], filled[1, 1] = floats.min(), floats.max()
    thumbnail = tiff(GREY[:8, :8], 1, tags=[(254, 4, [1])])
    signed = DEEP.astype(np.int16) - 2000
    unsigned = DEEP.astype(np.uint32) * 1_000_000
    return [
        Kind("grey8.tif", tiff(GREY, 1), rgb(GREY)),
        Kind("white-is-zero8.tif", tiff(255 - GREY, 0), rgb(GREY)),
        Kind("white-is-zero16.tif", tiff(65535 - DEEP, 0), rgb(DEEP)),
        Kind("white-is-zero16-deflate.tif", tiff(65535 - DEEP, 0, compressed=True), rgb(DEEP)),
        Kind("white-is-zero16-big.tif", tiff(65535 - DEEP, 0, big_endian=True), None, "image"),
        Kind("white-is-zero-float.tif", tiff(-floats, 0, kind=3), rgb(floats)),
        Kind("grey16.tif", tiff(DEEP, 1), rgb(DEEP)),
        Kind("grey16-big.tif", tiff(DEEP, 1, big_endian=True), rgb(DEEP)),
        Kind("grey16-tiled.tif", tiff(DEEP, 1, tile=32), rgb(DEEP)),
        Kind("grey16-deflate.tif", tiff(DEEP, 1, compressed=True), rgb(DEEP)),
        Kind("int16.tif", tiff(signed, 1, kind=2), rgb(signed)),
        Kind("int8.tif", tiff((GREY.astype(np.int16) - 128).astype(np.int8), 1, kind=2), rgb(GREY.astype(np.int16) - 128)),
        Kind("uint32.tif", tiff(unsigned, 1), rgb(unsigned)),
        Kind("float32.tif", tiff(floats, 1, kind=3), rgb(floats)),
        Kind("float32-holes.tif", tiff(holes, 1, kind=3), rgb(filled), tolerance=3),
        Kind("float32-nan.tif", tiff(floats * np.nan, 1, kind=3), None, "finite"),
        Kind("float64.tif", tiff(DEEP.astype(np.float64), 1, kind=3), None, "image"),
        Kind("rgb8.tif", tiff(COLOUR, 2), COLOUR),
        Kind("rgb8-planar.tif", tiff(COLOUR, 2, planar=2), COLOUR),
        Kind("rgb16.tif", tiff(DEEP_COLOUR, 2), rgb(DEEP_COLOUR)),
        Kind("rgb16-big.tif", tiff(DEEP_COLOUR, 2, big_endian=True), rgb(DEEP_COLOUR)),
        Kind("rgb16-deflate.tif", tiff(DEEP_COLOUR, 2, compressed=True), rgb(DEEP_COLOUR)),
        Kind("rgb16-tiled.tif", tiff(DEEP_COLOUR, 2, tile=32), rgb(DEEP_COLOUR)),
        Kind("rgb16-planar.tif", tiff(DEEP_COLOUR, 2, planar=2), None, "deep colours must be plain"),
        Kind("rgba16.tif", tiff(rgba16, 2, extras=[2]), rgb(over_black(DEEP_COLOUR, alpha16, 65535)), tolerance=1),
        Kind("rgbx16.tif", tiff(rgba16, 2, extras=[0]), rgb(DEEP_COLOUR)),
        Kind("rgb-premultiplied16.tif", tiff(rgba16, 2, extras=[1]), None, "deep colours must be plain"),
        Kind("la16.tif", tiff(rgba16[:, :, 2:], 1, extras=[2]), None, "image"),
        Kind("cmyk16.tif", tiff(rgba16, 5), None, "deep colours must be plain"),
        Kind("float-rgb.tif", tiff(DEEP_COLOUR.astype(np.float32), 2, kind=3), None, "image"),
        *(
            Kind(f"rgb16-turned{number}.tif", tiff(DEEP_COLOUR, 2, tags=[(274, 3, [number])]), rgb(turn))
            for number, turn in _turned(DEEP_COLOUR)
        ),
        *(
            Kind(f"grey16-turned{number}.tif", tiff(DEEP, 1, tags=[(274, 3, [number])]), rgb(turn))
            for number, turn in _turned(DEEP)
        ),
        Kind("palette.tif", tiff(GREY, 3, tags=[(320, 3, [*ramp16, *ramp16, *ramp16])]), rgb(GREY)),
        Kind(
            "palette8.tif", tiff(GREY, 3, tags=[(320, 3, [*ramp8, *ramp8, *ramp8[::-1]])]), np.dstack([GREY, GREY, 255 - GREY])
        ),
        Kind("no-meaning.tif", tiff(GREY, None), None, "must say what its values mean"),
        Kind("pages.tif", saved(GREY, "TIFF", save_all=True, append_images=[Image.fromarray(255 - GREY)]), None, "one picture"),
        Kind("thumbnail-only.tif", thumbnail, rgb(GREY[:8, :8])),
        Kind("huge-tile.tif", tiff(GREY, 1, tile=32, tags=[(322, 4, [2**20]), (323, 4, [2**20])]), None, "at most"),
        Kind("huge-claim.tif", tiff(GREY, 1, tags=[(256, 4, [60_000]), (257, 4, [60_000])]), None, "at most"),
        Kind("strip-outside.tif", tiff(GREY, 1, tags=[(273, 4, [2**31])]), None, "image"),
        Kind("strip-short.tif", tiff(GREY, 1, data=GREY.tobytes()[:99]), None, "image"),
        Kind("loop.tif", tiff(GREY, 1, next_page=8), rgb(GREY)),
        Kind("many-samples.tif", tiff(GREY, 1, tags=[(277, 3, [60_000])]), None, "image"),
    ]


def _turned(values: Any) -> list[tuple[int, Any]]:
    swapped = values.swapaxes(0, 1)
    turns = [
        values[:, ::-1],
        values[::-1, ::-1],
        values[::-1],
        swapped,
        np.rot90(values, -1),
        np.rot90(swapped, 2),
        np.rot90(values),
    ]
    return list(enumerate(turns, start=2))


def _maps() -> list[Kind]:
    return [
        Kind("p1.pbm", portable(1, (GREY < 99) * 1, None), rgb((GREY >= 99) * np.uint8(255))),
        Kind(
            "p4.pbm",
            portable(4, GREY < 99, None)[:-720] + np.packbits(GREY < 99, axis=1).tobytes(),
            rgb((GREY >= 99) * np.uint8(255)),
        ),
        Kind("p2.pgm", portable(2, GREY, 255, "# comment\n"), rgb(GREY)),
        Kind("p3.ppm", portable(3, COLOUR, 255), COLOUR),
        Kind("p5.pgm", portable(5, GREY, 255), rgb(GREY)),
        Kind("p5-100.pgm", portable(5, GREY // 3, 100), rgb(np.rint(GREY // 3 * 2.55).astype(np.uint8)), tolerance=1),
        Kind("p5-4095.pgm", portable(5, DEEP, 4095), rgb(DEEP)),
        Kind("p5-65535.pgm", portable(5, DEEP, 65535), rgb(DEEP)),
        Kind("p6.ppm", portable(6, COLOUR, 255), COLOUR),
        Kind("p6-4095.ppm", portable(6, DEEP_COLOUR, 4095), rgb(DEEP_COLOUR)),
        Kind("p6-65535.ppm", portable(6, DEEP_COLOUR, 65535), rgb(DEEP_COLOUR)),
        Kind("p3-65535.ppm", portable(3, DEEP_COLOUR, 65535), rgb(DEEP_COLOUR)),
        Kind("p6-short.ppm", portable(6, COLOUR, 255)[:-1], None, "truncated"),
        Kind("p2-short.pgm", portable(2, GREY, 255)[:-4], None, "truncated"),
        Kind("p5-above.pgm", portable(5, GREY, 100), None, "above the largest"),
        Kind("p2-words.pgm", b"P2 2 2 9 1 2 x y", None, "no number"),
        Kind("p5-huge.pgm", b"P5 99999 99999 255 x", None, "at most"),
        Kind("p5-zero.pgm", b"P5 0 9 255 x", None, "without a size"),
        Kind("float.pfm", b"Pf\n30 24\n-1.0\n" + DEEP[::-1].astype("<f4").tobytes(), rgb(DEEP.astype(np.float32))),
    ]


def _others() -> list[Kind]:
    exif = Image.Exif()
    exif[0x0112] = 6
    whole = np.zeros((64, 64), np.uint8)
    whole[16:48, 16:48] = 200
    cmyk = np.dstack([255 - np.dstack([whole] * 3), np.zeros_like(whole)])
    plain_cmyk = saved(Image.fromarray(cmyk, "CMYK"), "JPEG", quality=95)
    rgb565 = cv2.imencode(".bmp", COLOUR)[1].tobytes()
    stacked = [Image.fromarray(255 - whole)]
    return [
        Kind("grey.jpg", saved(whole, "JPEG", quality=95), rgb(whole), tolerance=12),
        Kind("progressive.jpg", saved(whole, "JPEG", quality=95, progressive=True), rgb(whole), tolerance=12),
        Kind("cmyk.jpg", plain_cmyk, rgb(whole), tolerance=12),
        Kind("turned.jpg", saved(whole[:32], "JPEG", quality=95, exif=exif), rgb(np.rot90(whole[:32], -1)), tolerance=12),
        Kind("named.jpg", saved(COLOUR, "PNG"), COLOUR),  # the content decides, not the name
        Kind("rgb.bmp", rgb565, COLOUR[:, :, ::-1]),
        Kind("rgbx.bmp", saved(np.dstack([COLOUR, ALPHA]), "BMP"), COLOUR),
        Kind("grey.bmp", saved(GREY, "BMP"), rgb(GREY)),
        Kind("lossless.webp", saved(COLOUR, "WEBP", lossless=True), COLOUR),
        Kind("animated.webp", saved(rgb(whole), "WEBP", save_all=True, append_images=stacked, lossless=True), rgb(whole)),
        Kind("grey.gif", saved(GREY, "GIF"), rgb(GREY)),
        Kind("animated.gif", saved(whole, "GIF", save_all=True, append_images=stacked), rgb(whole)),
    ]


def _bad() -> list[Kind]:
    whole = saved(COLOUR, "PNG")
    scans = saved(GREY, "JPEG", progressive=True)
    scan = scans[scans.index(b"\xff\xda") : scans.index(b"\xff\xda", scans.index(b"\xff\xda") + 2)]
    return [
        Kind("empty.png", b"", None, "empty"),
        Kind("text.png", b"no picture", None, "image"),
        Kind("page.png", b"<html><body>not found</body></html>", None, "image"),
        Kind("cut.png", whole[: len(whole) // 2], None, "image"),
        Kind("zeroed.png", whole[:60] + bytes(len(whole) - 60), None, "image"),
        Kind("huge.png", png(GREY, 0, size=(60_000, 60_000)), None, "at most"),
        Kind("bomb.png", png(GREY, 0, size=(4096, 4096)), None, "image"),
        Kind("bomb16.png", png(GREY, 6, 16, size=(4096, 4096)), None, "image"),
        Kind("text-bomb.png", png(GREY, 0, extra=chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(2**25)))), None, "image"),
        Kind("scans.jpg", scans[:-2] + scan * 300 + b"\xff\xd9", None, "at most 200 scans"),
        Kind("cut.jpg", saved(COLOUR, "JPEG")[:-40], None, "image"),
        Kind("cut.gif", saved(GREY, "GIF")[:60], None, "image"),
        Kind("cut.webp", saved(COLOUR, "WEBP")[:60], None, "image"),
        Kind("cut.bmp", saved(COLOUR, "BMP")[:90], None, "image"),
        Kind("vector.png", b"<svg xmlns='http://www.w3.org/2000/svg'/>", None, "image"),
        Kind("postscript.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", None, "image"),
        Kind("jpeg2000.png", b"\x00\x00\x00\x0cjP  \r\n\x87\n" + bytes(40), None, "image"),
        Kind("radiance.png", b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 9 +X 9\n", None, "image"),
    ]


def slices() -> list[Kind]:
    """Returns ``.mat`` files; the first are good."""
    image = DEEP.astype(np.int16)
    upright = rgb(image)
    floats = image.astype(np.float64)
    overflow = np.where(GREY > 99, 1e308, -1e308)

    def mat(name: str, message: str = "must", pixels: Any = None, **fields: Any) -> Kind:
        values = {"image": image.T, "label": np.array([[1.0]]), "PID": np.array([[49], [50]], np.uint16), **fields}
        buffer = io.BytesIO()
        with h5py.File(buffer, "w") as file:
            struct = file.create_group("cjdata")
            for key, value in values.items():
                if callable(value):
                    value(struct)
                elif value is not None:
                    struct[key] = value
        return Kind(f"{name}.mat", buffer.getvalue(), pixels, message)

    def create(*args: Any, **options: Any) -> Any:
        return lambda struct: struct.create_dataset("image", *args, **options)

    def bomb(struct: Any) -> None:
        array = struct.create_dataset("image", (64, 64), "i2", chunks=(64, 64), compression="gzip")
        array.id.write_direct_chunk((0, 0), zlib.compress(bytes(2**26)))

    virtual = h5py.VirtualLayout(shape=(9, 9), dtype="u1")
    virtual[:] = h5py.VirtualSource("/etc/passwd", "x", shape=(9, 9))
    text = h5py.string_dtype()
    one = np.array([[1.0]])
    return [
        mat("plain", pixels=upright),
        mat("doubles", pixels=rgb(floats), image=floats.T),
        mat("gzip", pixels=upright, image=create(data=image.T, compression="gzip", shuffle=True)),
        mat("overflow", pixels=rgb(overflow), image=overflow.T),
        mat("external-storage", "names other files", image=create((9, 9), "u1", external=[("/etc/passwd", 0, 81)])),
        mat("virtual", "names other files", image=lambda struct: struct.create_virtual_dataset("image", virtual)),
        mat("external-link", "no link to elsewhere", image=h5py.ExternalLink("/etc/passwd", "/x")),
        mat("soft-link", "no link to elsewhere", image=h5py.SoftLink("/cjdata/PID")),
        mat("claims-16-gib", "at most", image=create((2**17, 2**17), "u1")),
        mat("claims-2-gib", "at most", image=create((2**15, 2**15), "i2", chunks=(2**15, 2**14))),
        mat(
            "many-large",
            "at most",
            more=lambda struct: [struct.create_dataset(f"x{i}", (2**12, 2**12), "u1") for i in range(20)],
        ),
        mat("one-huge-chunk", "chunks", image=create((8, 8), "i2", chunks=(2**15, 2**15), maxshape=(None, None))),
        mat("tiny-chunks", "chunks", image=create((1024, 1024), "i2", chunks=(1, 1))),
        mat("gzip-bomb", "a chunk must", image=bomb),
        mat("lzf", "gzip", image=create(data=image.T, compression="lzf")),
        mat("too-many-pixels", "at most", image=create((5000, 5000), "u1")),
        mat("compound", image=create(data=np.zeros((4, 4), [("a", "i2"), ("b", "f4")]))),
        mat("complex", image=image.T.astype(complex)),
        mat("strings", image=create(data=np.array([["a", "b"]], object), dtype=text)),
        mat("fixed-strings", image=np.array([[b"a", b"b"]])),
        mat("references", image=create((2, 2), h5py.ref_dtype)),
        mat("vector", "matrix", image=image[0]),
        mat("cube", "matrix", image=np.zeros((4, 4, 4))),
        mat("scalar", "matrix", image=5),
        mat("no-rows", "matrix", image=np.zeros((0, 4))),
        mat("null", image=h5py.Empty("f4")),
        mat("all-nan", "finite", image=np.full((4, 4), np.nan)),
        mat("group", image=lambda struct: struct.create_group("image")),
        mat("no-image", image=None),
        mat("label-infinite", "label must be one of", label=one * np.inf),
        mat("label-nan", "label must be one of", label=one * np.nan),
        mat("label-fraction", "label must be one of", label=one * 1.5),
        mat("label-negative", "label must be one of", label=-one),
        mat("label-huge", "label must be one of", label=one * 1e300),
        mat("label-many", "label must be one of", label=np.ones((1, 9))),
        mat("label-empty", "label must be one of", label=np.zeros((0, 0))),
        mat("label-text", label=b"glioma"),
        mat("patient-negative", "PID", PID=np.array([[-5]])),
        mat("patient-huge", "PID", PID=np.array([[2**62]])),
        mat("patient-nan", "PID", PID=one * np.nan),
        mat("patient-long", "PID", PID=np.full((1, 5000), 65, np.uint16)),
        mat("patient-empty", "PID", PID=np.zeros((0, 0))),
        mat("patient-lines", "PID", PID=np.array([[65], [10], [66]], np.uint16)),
        mat("patient-surrogate", "PID", PID=np.array([[0xD800]], np.uint16)),
        mat("no-struct", cjdata=None, image=None, label=None, PID=None),
        Kind("old.mat", b"MATLAB 5.0 MAT-file" + bytes(200), None, "must be an HDF5 file"),
        Kind("empty.mat", b"", None, "empty"),
        Kind("picture.mat", saved(GREY, "PNG"), None, "must be an HDF5 file"),
    ]
