"""How much of the machine one submission may use."""

import mmap
from dataclasses import dataclass

MB = 1 << 20
#: Bytes of what the judge and the zygote tell each other.
MAX_REQUEST = 1 << 16


def address_space() -> int:
    """Bytes of it that this process has; 0 where that is not told."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[0]) * mmap.PAGESIZE
    except OSError:
        return 0


@dataclass(frozen=True)
class Limits:
    """Limits of one submission's process. A chapter raises what it needs with `dataclasses.replace`.

    Attributes
    ----------
    memory : bytes of address space beyond what the zygote has
    cpu : seconds of processor time for the whole life of one process
    cell : seconds by the clock for the set-up cell and the solution cell together
    call : seconds by the clock for one call
    ask : seconds by the clock for all calls of one question
    life : seconds by the clock for everything that is asked of one exercise, however often its process is lost
    output : bytes of printed text that are kept of a cell, for each of stdout and stderr
    display : bytes of figures and other rich output that are kept of a cell
    files : bytes that the work folder may hold
    open_files : open descriptors
    threads : threads (the process can start no other process)
    message : bytes of one message
    replies : bytes of memory that all answers to one question take
    nodes : values in one message, counting each element of a container
    depth : how deep a message nests
    oracle_calls : how often one call may ask an oracle
    oracle_seconds : seconds that oracles may take for one call
    """

    memory: int = 2048 * MB
    cpu: float = 60.0
    cell: float = 30.0
    call: float = 10.0
    ask: float = 60.0
    life: float = 180.0
    output: int = 64 << 10
    display: int = 4 * MB
    files: int = 64 * MB
    open_files: int = 64
    threads: int = 64
    message: int = 32 * MB
    replies: int = 128 * MB
    nodes: int = 200_000
    depth: int = 32
    oracle_calls: int = 10_000
    oracle_seconds: float = 10.0


DEFAULTS = Limits()
