"""A verdict can be shown whatever a submission said."""

import json

from autograder.card import lines
from autograder.verdict import Verdict

STRANGE = "\x1b]0;planted\x07\u202eright to left\u202c\ud800\x00" + "'" * 10**6


def test_words_of_a_submission_are_cleaned_and_cut():
    verdict = Verdict("a.b", 0.0, 1.0, "failed", (), STRANGE, STRANGE, STRANGE, STRANGE, where=(STRANGE,) * 100, notes=(STRANGE,) * 100)
    shown = verdict._repr_html_() + "\n".join(lines(verdict)) + json.dumps(verdict.as_json(), ensure_ascii=False)
    assert not set("\x1b\x07\x00\u202e\u202c\ud800") & set(shown)
    assert len(shown) < 3 * 10**6
    shown.encode()
