"""Something that displays as HTML on a page and as a line of text elsewhere."""

from dataclasses import dataclass, field


@dataclass(frozen=True, repr=False)
class Shown:
    """What `display` gets: HTML for front ends, text for terminals and processes without a kernel.

    Attributes
    ----------
    html : str
    text : str
    """

    html: str = field(repr=False)
    text: str

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return self.text
