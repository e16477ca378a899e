"""Text from a submission, made fit to be printed, stored and shown anywhere."""

#: Characters that control a terminal, turn the direction of writing, or hide: what is shown shall be what is there.
_UNSEEN = (
    *range(0x00, 0x20), *range(0x7F, 0xA0), 0x061C, *range(0x200B, 0x2010), *range(0x2028, 0x202F), *range(0x2060, 0x2070), 0xFEFF,
    *range(0xE0000, 0xE0080),
)  # fmt: skip
_REPLACED = {n: "\ufffd" for n in _UNSEEN if chr(n) not in "\n\t"}


def visible(text: str) -> str:
    """Text in which every character can be seen: hidden ones are replaced by �, as are half characters, which break files."""
    return text.encode("utf-8", "replace").decode().translate(_REPLACED)


def cut(text: str, most: int) -> str:
    """The first `most` characters, with a sign if there are more."""
    return text if len(text) <= most else text[:most] + "…"


def clean(text: str, most: int) -> str:
    """The first `most` characters, visible."""
    return visible(cut(text, most))
