"""Makes JPEGs with other people's encoders, for the test foreign_jpegs: foreign_jpegs.py FOLDER

Each picture has a grid of colours of its own, 4 across and 3 down, so that no two can be taken for each other, nor one
that is turned for one that is not. Pillow decodes each: that is what screens are compared with. Writes NUMBER.bin for each
and manifest.json, a list of
  name, maker, file,
  says: words that the reason must have where it is not shown; empty: it must be shown,
  grid: the colours as they stand upright, row by row, and size: its width and height; null where nothing is to be shown.
Encoders that are not installed are named on standard error with exit code 3.
"""

import colorsys
import io
import json
import pathlib
import random
import shutil
import struct
import subprocess
import sys

from PIL import Image, ImageOps

ACROSS, DOWN = 4, 3
FOLDER = pathlib.Path(sys.argv[1])
ROWS = []


def base(size=(320, 240)):
    """A picture of the next number: its colours differ from those of every other."""
    colours = random.Random(len(ROWS))
    small = Image.new("RGB", (ACROSS, DOWN))
    for at in range(ACROSS * DOWN):
        hue, saturation, value = colours.random(), colours.uniform(0.3, 0.8), colours.uniform(0.25, 0.9)
        rgb = colorsys.hsv_to_rgb(hue, saturation, value)
        small.putpixel((at % ACROSS, at // ACROSS), tuple(round(255 * part) for part in rgb))
    return small.resize(size, Image.NEAREST)


def run(words, data):
    return subprocess.run(words, input=data, stdout=subprocess.PIPE, check=True).stdout


def ppm(size=(320, 240)):
    file = io.BytesIO()
    base(size).save(file, "PPM")
    return file.getvalue()


def cjpeg(*flags, size=(320, 240)):
    return run(["cjpeg", "-quality", "92", *flags], ppm(size))


def jpegtran(*flags, size=(320, 240)):
    return run(["jpegtran", "-copy", "all", *flags], cjpeg(size=size))


def convert(*flags, size=(320, 240)):
    return run(["convert", "ppm:-", "-quality", "92", *flags, "jpeg:-"], ppm(size))


def ffmpeg(*flags, codec="mjpeg", size=(320, 240)):
    words = ["ffmpeg", "-v", "error", "-f", "image2pipe", "-c:v", "ppm", "-i", "-", "-frames:v", "1", "-c:v", codec]
    return run([*words, "-q:v", "2", *flags, "-f", "image2pipe", "-"], ppm(size))


def pillow(mode="RGB", size=(320, 240), **options):
    file = io.BytesIO()
    base(size).convert(mode).save(file, "JPEG", quality=92, **options)
    return file.getvalue()


def exif(orientation):
    data = Image.Exif()
    data[0x0112] = orientation
    return data


def segments(jpeg):
    """(marker, start, end) up to the first scan, which is the last of them."""
    at = 2
    while True:
        marker = jpeg[at + 1]
        end = at + 2 + struct.unpack(">H", jpeg[at + 2 : at + 4])[0]
        yield marker, at, end
        if marker == 0xDA:
            return
        at = end


def without(jpeg, *markers):
    drop = [(start, end) for marker, start, end in segments(jpeg) if marker in markers]
    for start, end in reversed(drop):
        jpeg = jpeg[:start] + jpeg[end:]
    return jpeg


def segment(marker, body):
    return bytes([0xFF, marker]) + struct.pack(">H", 2 + len(body)) + body


def behind_soi(jpeg, *parts):
    return jpeg[:2] + b"".join(parts) + jpeg[2:]


def thumbnail():
    """An APP1 with EXIF data and a whole JPEG as its thumbnail (IFD1)."""
    small = io.BytesIO()
    Image.new("RGB", (40, 30), (255, 0, 255)).save(small, "JPEG")
    small = small.getvalue()
    ifd0 = struct.pack("<HI", 0, 14)
    ifd1 = struct.pack("<HHHIIHHIII", 2, 0x0201, 4, 1, 44, 0x0202, 4, 1, len(small), 0)
    tiff = b"II*\0" + struct.pack("<I", 8) + ifd0 + ifd1
    return segment(0xE1, b"Exif\0\0" + tiff.ljust(44, b"\0") + small)


def scan_of(jpeg):
    return [end for marker, _, end in segments(jpeg) if marker == 0xDA][0]


def with_byte(jpeg, wanted, offset, value):
    at = [start for marker, start, _ in segments(jpeg) if marker == wanted][0] + offset
    return jpeg[:at] + bytes([value]) + jpeg[at + 1 :]


def noisy(jpeg):
    noise, scan = random.Random(1), scan_of(jpeg)
    middle = scan + (len(jpeg) - scan) // 3
    return jpeg[:middle] + bytes(noise.randrange(255) for _ in jpeg[middle:-2]) + jpeg[-2:]


def grid(picture):
    """The mean colour of the middle of each field."""
    width, height = picture.size
    colours = []
    for at in range(ACROSS * DOWN):
        left, top = at % ACROSS * width / ACROSS, at // ACROSS * height / DOWN
        box = (left + width / ACROSS / 4, top + height / DOWN / 4, left + width / ACROSS * 3 / 4, top + height / DOWN * 3 / 4)
        colours.append(picture.resize((1, 1), Image.BOX, box).getpixel((0, 0)))
    return colours


def row(name, maker, jpeg, says=""):
    number = len(ROWS)
    file = FOLDER / f"{number}.bin"
    file.write_bytes(jpeg)
    picture = None
    if not says:
        picture = ImageOps.exif_transpose(Image.open(io.BytesIO(jpeg[jpeg.index(b"\xff\xd8") :]))).convert("RGB")
    ROWS.append(
        {
            "name": name,
            "maker": maker,
            "file": str(file),
            "says": says,
            "grid": picture and grid(picture),
            "size": picture and picture.size,
        }
    )


def samplings():
    for name, factors in [
        ("4:4:4", "1x1"), ("4:2:2", "2x1"), ("4:2:0", "2x2"), ("4:4:0", "1x2"), ("4:1:1", "4x1"), ("4:4:1", "1x4"),
        ("3x1", "3x1"), ("2x2,2x1,1x1", "2x2,2x1,1x1"), ("2x2,1x2,1x2", "2x2,1x2,1x2"),
    ]:  # fmt: skip
        row(name, "cjpeg", cjpeg("-sample", factors))
    for name in ["4:4:4", "4:2:2", "4:2:0"]:
        row(name, "ffmpeg", ffmpeg("-pix_fmt", f"yuvj{name.replace(':', '')}p"))
    for name, factors in [("4:4:4", "4:4:4"), ("4:2:2", "4:2:2"), ("4:4:0", "4:4:0"), ("4:1:1", "4:1:1")]:
        row(name, "ImageMagick", convert("-sampling-factor", factors))
    for name, value in [("4:4:4", 0), ("4:2:2", 1), ("4:2:0", 2)]:
        row(name, "Pillow", pillow(subsampling=value))


def colours():
    row("grey", "cjpeg", cjpeg("-grayscale"))
    row("grey", "Pillow", pillow("L"))
    row("grey", "ffmpeg", ffmpeg("-pix_fmt", "gray"))
    row("grey", "ImageMagick", convert("-colorspace", "Gray"))
    row("RGB", "cjpeg", cjpeg("-rgb"))
    row("four colours (CMYK)", "Pillow", pillow("CMYK"))
    row("four colours (CMYK)", "ImageMagick", convert("-colorspace", "CMYK"))


def codings():
    row("progressive", "cjpeg", cjpeg("-progressive"))
    row("progressive", "jpegtran", jpegtran("-progressive"))
    row("progressive", "Pillow", pillow(progressive=True))
    row("progressive", "ImageMagick", convert("-interlace", "JPEG"))
    row("progressive, four colours", "Pillow", pillow("CMYK", progressive=True))
    row("arithmetic", "cjpeg", cjpeg("-arithmetic"))
    row("arithmetic, progressive", "jpegtran", jpegtran("-arithmetic", "-progressive"))
    row("restart markers", "cjpeg", cjpeg("-restart", "1"))
    row("restart markers", "jpegtran", jpegtran("-restart", "3B"))
    row("restart markers", "Pillow", pillow(restart_marker_blocks=2))
    row("a scan for each colour", "jpegtran", run(["jpegtran", "-scans", str(scans())], cjpeg()))
    # One after the other: tables of its own must not decode the picture behind it, which has none.
    row("optimised tables", "Pillow", pillow(optimize=True))
    row("without DHT", "cjpeg", without(cjpeg(), 0xC4))
    row("without DHT, 4:2:2", "Pillow", without(pillow(subsampling=1), 0xC4))
    row("without JFIF", "jpegtran", without(jpegtran(), 0xE0))
    row("12-bit", "this script", twelve_bit(), says="12-bit")
    row("12-bit by its header", "cjpeg", with_byte(cjpeg(), 0xC0, 4, 12), says="12-bit")
    row("four colours, 12-bit by its header", "Pillow", with_byte(pillow("CMYK"), 0xC0, 4, 12), says="12-bit")


def twelve_bit():
    """Extended sequential with 12 bits a sample (ITU-T T.81, SOF1), 4:4:4. Each block is of one colour: its DC coefficient.

    Only encoders of libjpeg-turbo 3 and the like can write these, and Debian 12 has none.
    """
    width, height = 320, 240
    picture = base((width, height)).convert("YCbCr")
    bits, before = "", [0, 0, 0]
    for y in range(0, height, 8):
        for x in range(0, width, 8):
            for part, value in enumerate(picture.getpixel((x, y))):
                # The mean of the block, eight times as large, by a quantization table of eights.
                coefficient = 16 * value - 2048
                difference, before[part] = coefficient - before[part], coefficient
                length = abs(difference).bit_length()
                bits += f"{length:04b}"
                if length:
                    bits += f"{difference if difference > 0 else difference + (1 << length) - 1:0{length}b}"
                # The end of the block.
                bits += "0"
    bits += "1" * (-len(bits) % 8)
    scan = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")
    frame = struct.pack(">BHHB", 12, height, width, 3) + bytes([1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0])
    # Fourteen lengths of differences have codes of four bits, the end of a block has one of one bit.
    tables = b"\0" + bytes([0, 0, 0, 14] + 12 * [0]) + bytes(range(14)) + b"\x10" + bytes([1] + 15 * [0]) + b"\0"
    return b"".join(
        [b"\xff\xd8", segment(0xDB, b"\0" + bytes(64 * [8])), segment(0xC1, frame), segment(0xC4, tables),
         segment(0xDA, bytes([3, 1, 0, 2, 0, 3, 0, 0, 63, 0])), scan, b"\xff\xd9"]
    )  # fmt: skip


def scans():
    file = FOLDER / "scans"
    file.write_text("0;\n1;\n2;\n")
    return file


def sizes():
    for width, height in [(1, 1), (49, 37), (319, 241), (641, 479), (33, 1), (240, 321)]:
        row(f"{width}x{height}", "cjpeg", cjpeg(size=(width, height)))
    row("319x241 progressive", "Pillow", pillow(size=(319, 241), progressive=True))
    row("641x479 4:2:2", "ffmpeg", ffmpeg("-pix_fmt", "yuvj422p", size=(641, 479)))
    row("3840x2160", "Pillow", pillow(size=(3840, 2160)))
    row("8208x2160", "Pillow", pillow(size=(8208, 2160)), says="8192x8192")


def attachments():
    for orientation in range(1, 9):
        row(f"EXIF orientation {orientation}", "Pillow", pillow(exif=exif(orientation)))
    row("EXIF orientation 6, progressive", "Pillow", pillow(exif=exif(6), progressive=True))
    row("EXIF orientation 5, 319x241", "Pillow", pillow(exif=exif(5), size=(319, 241)))
    row("EXIF orientation 3, four colours", "Pillow", pillow("CMYK", exif=exif(3)))
    row("EXIF with a thumbnail", "cjpeg", behind_soi(cjpeg(), thumbnail()))
    row("comment and profile", "Pillow", pillow(comment=b"\xff\xd8\xff\xd9", icc_profile=b"\xff\xd9" * 40000))
    row("stray bytes between", "cjpeg", cjpeg() + b"no \xff\xd0 JPEG\r\n")
    row("fill bytes before markers", "cjpeg", behind_soi(cjpeg(), b"\xff\xff\xff"))


def damages():
    row("empty scan", "cjpeg", cjpeg()[: scan_of(cjpeg())] + b"\xff\xd9", says="damaged")
    row("noise in the scan", "cjpeg", noisy(cjpeg("-sample", "2x1")), says="damaged")
    whole = cjpeg()
    row("cut, with an end", "cjpeg", whole[: scan_of(whole) + 300] + b"\xff\xd9", says="damaged")
    row("cut", "cjpeg", whole[: len(whole) // 2], says="damaged|cut short|wrote nothing")
    row("bad DHT", "cjpeg", with_byte(cjpeg(), 0xC4, 6, 255), says="damaged")
    row("without DQT", "cjpeg", without(cjpeg(), 0xDB), says="damaged")
    row("no picture in it", "cjpeg", b"\xff\xd8\xff\xd9", says="damaged|no JPEG")
    row("text in place of a JPEG", "", b"GIF89a is no JPEG" * 9, says="damaged|no JPEG|cut short|no picture")
    row("empty", "", b"", says="cut short|empty|no picture")


needed = ["cjpeg", "jpegtran", "convert", "ffmpeg"]
missing = [program for program in needed if shutil.which(program) is None]
if missing:
    print(f"{', '.join(missing)} not installed", file=sys.stderr)
    sys.exit(3)
damages()
samplings()
colours()
codings()
sizes()
attachments()
(FOLDER / "manifest.json").write_text(json.dumps(ROWS))
