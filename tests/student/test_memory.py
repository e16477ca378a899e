"""The zygote's memory, as forks find it."""

import subprocess
import sys

_NEW_OBJECTS = """
import asyncio, json, unittest.mock
from autograder.student.memory import arrange
{first}
new = [bytes(size) for _ in range(5) for size in range(15, 480, 16)]
print(len({{id(one) >> 20 for one in new}}))
"""


def _megabytes_with_new_objects(first: str) -> int:
    done = subprocess.run([sys.executable, "-c", _NEW_OBJECTS.format(first=first)], capture_output=True, text=True, check=True)
    return int(done.stdout)


def test_objects_of_every_size_lie_together_once_memory_is_arranged():
    assert _megabytes_with_new_objects("arrange()") <= 2 < _megabytes_with_new_objects("")
