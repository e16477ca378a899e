"""Uploads a zip that says its names are UTF-8, which they are not: reading its list of names raises."""

import io
import zipfile


def handout(place):
    box = io.BytesIO()
    with zipfile.ZipFile(box, "w") as archive:
        archive.writestr("ÄÄactivations.ipynb", b"{}")
    data = bytearray(box.getvalue())
    at = data.rfind("ÄÄ".encode())
    data[at : at + 2] = b"\xff\xff"
    return {"aaron_56_78_work.zip": bytes(data)}
