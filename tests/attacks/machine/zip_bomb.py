"""Uploads a zip of a few kilobytes that unpacks to gigabytes, in layers."""

import io
import zipfile


def handout(place):
    data = b" " * (30 << 20)
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(4):
            archive.writestr(f"bomb{i}.ipynb", data)
    outer = io.BytesIO()
    with zipfile.ZipFile(outer, "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(20):
            archive.writestr(f"layer{i}.zip", inner.getvalue())
    return {"eve_1_2_layers.zip": outer.getvalue(), "eve_3_4_bomb.ipynb": data}


def success(seen):
    total = sum(p.stat().st_size for p in (seen.ground.root / "submitted").rglob("*.ipynb") if "bomb" in str(p) or "eve" in str(p))
    return f"{total >> 20} MB were unpacked" if total > 21 << 20 else ""
