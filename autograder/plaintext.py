"""Text from a submission, made fit to be printed, stored and shown anywhere."""

_INVISIBLE = (*range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x206A), 0xFEFF)  # or they turn the direction of writing
_CONTROL = {n: "\ufffd" for n in (*range(32), *range(127, 160), *_INVISIBLE) if chr(n) not in "\n\t"}


def clean(text: str, most: int) -> str:
    """The first `most` characters: half a surrogate pair breaks files, a control character a terminal or a database."""
    short = text if len(text) <= most else text[:most] + "…"
    return short.encode("utf-8", "replace").decode().translate(_CONTROL)
