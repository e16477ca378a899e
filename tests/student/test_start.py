"""How the zygote starts."""

from autograder.student.process import Zygote
from autograder.student.start import own_code


def test_the_code_of_the_student_process_is_read_whole():
    names = {code.co_filename.rpartition("/")[2] for code in own_code()}
    assert {"serve.py", "cells.py", "wire.py", "forbidden.py", "zygote.py"} <= names


def test_a_zygote_imports_all_that_it_is_asked_for_and_tells_what_is_missing():
    with Zygote(sandbox="none", imports=["colorsys", "no_such_module"]) as zygote:
        assert zygote.greeting["missing"] == ["no_such_module"]
        with zygote.submission("", "import sys\nprint('colorsys' in sys.modules)", name="a.b") as student:
            assert student.load().stdout == "True\n"
