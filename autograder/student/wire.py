"""Plain data as bytes and back, for two processes of which one does not trust the other.

Every value is a tag byte and its payload; nothing in a message names code. Decoding is total: a message is decoded within the limits or
refused with a `WireError`, and nothing is allocated that the message itself does not pay for in bytes.
"""

import math
import re
import struct
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from autograder.errors import WireError
from autograder.student.limits import DEFAULTS, Limits
from autograder.student.observe import tensor_to_array

MAGIC = b"W1"
_DTYPE = re.compile(r"[<>|][biufcU][0-9]{1,6}\Z")
_MAX_NDIM = 32
_MAX_SIZE = 1 << 40
_MAX_INT = 1024  # bytes of one integer: beyond 4,300 digits Python refuses to print it, in the middle of a report
_MOST_NUMBERS = 256  # keys of one dictionary that has others than texts
_NODE_BYTES = 80  # of memory, what a value takes besides its bytes
_U32 = struct.Struct("<I")
_I64 = struct.Struct("<q")
_F64 = struct.Struct("<d")
_C128 = struct.Struct("<dd")


def encode(obj: Any, *, limits: Limits = DEFAULTS) -> bytes:
    """`obj` as a message.

    Parameters
    ----------
    obj : None, bool, int, float, complex, str, arrays of kinds b i u f c U, torch tensors, lists, tuples, and dicts with keys of text,
        or with a few integers among them

    Raises
    ------
    WireError : for anything else, and beyond the limits

    Examples
    --------
    >>> decode(encode({"loss": [0.5, None]}))
    {'loss': [0.5, None]}
    """
    writer = _Writer(limits)
    writer.put(obj, 0)
    return b"".join(writer.parts)


def decode(data: bytes, *, limits: Limits = DEFAULTS, tensors: bool = False) -> Any:
    """The value of a message; arrays are read-only and own their memory.

    Parameters
    ----------
    tensors : give back what was a torch tensor as a tensor, not as an array

    Raises
    ------
    WireError : for any string of bytes that `encode` could not have written within the limits
    """
    return decode_with_cost(data, limits=limits, tensors=tensors)[0]


def decode_with_cost(data: bytes, *, limits: Limits = DEFAULTS, tensors: bool = False) -> tuple[Any, int]:
    """Like `decode`, and about how many bytes of memory the value takes: an empty list is 5 bytes of message and 64 of memory."""
    if len(data) > limits.message:
        raise WireError(f"a message of {len(data)} bytes, of at most {limits.message}")
    if bytes(data[:2]) != MAGIC:
        raise WireError("not a message")
    reader = _Reader(memoryview(data), limits, tensors)
    value = reader.value(0)
    if reader.at != len(data):
        raise WireError(f"{len(data) - reader.at} bytes too many")
    return value, len(data) + _NODE_BYTES * reader.nodes


class _Writer:
    """Collects the parts of a message."""

    def __init__(self, limits: Limits) -> None:
        self.parts: list[bytes] = [MAGIC]
        self.limits = limits
        self.nodes = self.size = 0

    def add(self, part: bytes) -> None:
        self.size += len(part)
        if self.size + len(MAGIC) > self.limits.message:
            raise WireError(f"the value takes more than {self.limits.message} bytes")
        self.parts.append(part)

    def put(self, obj: Any, depth: int) -> None:
        self.nodes += 1
        if depth > self.limits.depth:
            raise WireError("the value nests too deep")
        if self.nodes > self.limits.nodes:
            raise WireError(f"the value has more than {self.limits.nodes} parts")
        put = _PUT.get(type(obj))
        if put:
            put(self, obj, depth)
        elif isinstance(obj, (np.ndarray, np.generic)):
            self.array(b"a", np.asarray(obj))
        elif type(obj).__module__.partition(".")[0] == "torch" and hasattr(obj, "detach"):
            self.array(b"t", tensor_to_array(obj))
        else:
            raise WireError(f"a {type(obj).__name__} does not travel")

    def array(self, tag: bytes, array: np.ndarray) -> None:
        if array.dtype.itemsize == 0:  # text of no width
            array = array.astype("U1")
        name = array.dtype.str.encode()
        if array.dtype.kind not in "biufcU" or not _DTYPE.match(array.dtype.str):
            raise WireError(f"an array of dtype {array.dtype} does not travel")
        shape = struct.pack(f"<{array.ndim}Q", *array.shape)
        if self.size + array.nbytes > self.limits.message:
            raise WireError(f"the value takes more than {self.limits.message} bytes")
        self.add(b"".join((tag, bytes([len(name)]), name, bytes([array.ndim]), shape, array.tobytes())))


def _put_int(out: _Writer, obj: int, depth: int) -> None:
    if -(1 << 63) <= obj < 1 << 63:
        return out.add(b"i" + _I64.pack(obj))
    size = obj.bit_length() // 8 + 1
    if size > _MAX_INT:
        raise WireError(f"an integer of {size} bytes, of at most {_MAX_INT}")
    return out.add(b"I" + _U32.pack(size) + obj.to_bytes(size, "little", signed=True))


def _put_str(out: _Writer, obj: str, depth: int) -> None:
    data = obj.encode("utf-8", "surrogatepass")
    out.add(b"s" + _U32.pack(len(data)) + data)


def _put_sequence(tag: bytes) -> Callable[[_Writer, Any, int], None]:
    def put(out: _Writer, obj: Any, depth: int) -> None:
        out.add(tag + _U32.pack(len(obj)))
        for item in obj:
            out.put(item, depth + 1)

    return put


def _put_dict(out: _Writer, obj: dict, depth: int) -> None:
    out.add(b"d" + _U32.pack(len(obj)))
    for key, item in obj.items():
        if not _is_key(key, len(obj)):
            raise WireError(f"a key of type {type(key).__name__} does not travel, or not with so many others")
        out.put(key, depth + 1)
        out.put(item, depth + 1)


def _is_key(key: Any, count: int) -> bool:
    """Whether this may be one of `count` keys. Integers can be chosen to meet in the table, and 100,000 of them take minutes to fill it."""
    return type(key) is str or (count <= _MOST_NUMBERS and (type(key) is bool or (type(key) is int and -(1 << 63) <= key < 1 << 63)))


_PUT: dict[type, Callable[[_Writer, Any, int], None]] = {
    type(None): lambda out, obj, depth: out.add(b"N"),
    bool: lambda out, obj, depth: out.add(b"T" if obj else b"F"),
    int: _put_int,
    float: lambda out, obj, depth: out.add(b"f" + _F64.pack(obj)),
    complex: lambda out, obj, depth: out.add(b"c" + _C128.pack(obj.real, obj.imag)),
    str: _put_str,
    list: _put_sequence(b"l"),
    tuple: _put_sequence(b"u"),
    dict: _put_dict,
}


class _Reader:
    """Walks through a message; `at` is the next byte, `nodes` how many values there were."""

    def __init__(self, data: memoryview, limits: Limits, tensors: bool) -> None:
        self.data, self.tensors = data, tensors
        self.at, self.end = len(MAGIC), len(data)
        self.nodes, self.most_nodes, self.most_depth = 0, limits.nodes, limits.depth

    def take(self, count: int) -> memoryview:
        start = self.skip(count)
        return self.data[start : self.at]

    def skip(self, count: int) -> int:
        """Where the next `count` bytes begin; they count as read."""
        start = self.at
        self.at = at = start + count
        if at > self.end:
            raise WireError("the message ends too early")
        return start

    def number(self, kind: struct.Struct) -> Any:
        return kind.unpack_from(self.data, self.skip(kind.size))[0]

    def count(self) -> int:
        """How many values or bytes follow. Each takes at least a byte, so no count can exceed what is left."""
        (count,) = _U32.unpack_from(self.data, self.skip(4))
        if count > self.end - self.at:
            raise WireError("the message ends too early")
        return count

    def value(self, depth: int) -> Any:
        self.nodes = nodes = self.nodes + 1
        if nodes > self.most_nodes:
            raise WireError(f"more than {self.most_nodes} values")
        if depth > self.most_depth:
            raise WireError("nested too deep")
        get = _GET.get(self.data[self.skip(1)])
        if get is None:
            raise WireError("an unknown tag")
        return get(self, depth)

    def values(self, depth: int) -> list:
        count = self.count()
        if self.nodes + count > self.most_nodes:
            raise WireError(f"more than {self.most_nodes} values")
        return [self.value(depth + 1) for _ in range(count)]


def _get_int(reader: _Reader, depth: int) -> int:
    count = reader.count()
    if not 9 <= count <= _MAX_INT:
        raise WireError(f"an integer of {count} bytes")
    return int.from_bytes(reader.take(count), "little", signed=True)


def _get_str(reader: _Reader, depth: int) -> str:
    try:
        return str(reader.take(reader.count()), "utf-8", "surrogatepass")
    except UnicodeDecodeError:
        raise WireError("text that is not UTF-8") from None


def _get_dict(reader: _Reader, depth: int) -> dict:
    found: dict[str | int, Any] = {}
    count = reader.count()
    for _ in range(count):
        key = reader.value(depth + 1)
        if not _is_key(key, count) or key in found:
            raise WireError("a key that is double, or no text or small integer")
        found[key] = reader.value(depth + 1)
    return found


def _get_array(reader: _Reader, depth: int) -> np.ndarray:
    dtype = _dtype(bytes(reader.take(reader.data[reader.skip(1)])))
    ndim = reader.data[reader.skip(1)]
    if ndim > _MAX_NDIM:
        raise WireError(f"an array of {ndim} dimensions")
    shape = struct.unpack(f"<{ndim}Q", reader.take(8 * ndim))
    if math.prod(length or 1 for length in shape) > _MAX_SIZE:
        raise WireError(f"an array of shape {shape}")  # NumPy overflows on (0, 2**60), empty as it is
    return _checked(np.frombuffer(reader.take(math.prod(shape) * dtype.itemsize), np.uint8), dtype, shape)


@lru_cache(64)
def _dtype(name: bytes) -> np.dtype:
    text = name.decode("latin-1")
    if not _DTYPE.match(text):
        raise WireError("an unknown dtype")
    try:
        dtype = np.dtype(text)
    except TypeError:
        raise WireError(f"an unknown dtype {text}") from None
    if dtype.str != text or dtype.itemsize == 0:
        raise WireError(f"an unknown dtype {text}")
    return dtype


def _checked(raw: np.ndarray, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    """A read-only array of its own memory. Bytes that no honest array holds are refused: they are a trap for who reads the values."""
    if dtype.kind == "b":
        array = (raw != 0).reshape(shape)
    else:
        array = np.empty(shape, dtype)
        array.reshape(-1).view(np.uint8)[:] = raw
    if dtype.kind == "U" and raw.size and array.reshape(-1).view(dtype.str[0] + "u4").max() > 0x10FFFF:
        raise WireError("text that is not Unicode")
    array.flags.writeable = False
    return array


def _get_tensor(reader: _Reader, depth: int) -> Any:
    array = _get_array(reader, depth)
    if not reader.tensors:
        return array
    import torch

    try:
        return torch.from_numpy(array.copy())
    except TypeError:
        raise WireError(f"no tensor has dtype {array.dtype}") from None


_GET: dict[int, Callable[[_Reader, int], Any]] = {
    ord("N"): lambda reader, depth: None,
    ord("T"): lambda reader, depth: True,
    ord("F"): lambda reader, depth: False,
    ord("i"): lambda reader, depth: reader.number(_I64),
    ord("I"): _get_int,
    ord("f"): lambda reader, depth: reader.number(_F64),
    ord("c"): lambda reader, depth: complex(*_C128.unpack(reader.take(16))),
    ord("s"): _get_str,
    ord("l"): lambda reader, depth: reader.values(depth),
    ord("u"): lambda reader, depth: tuple(reader.values(depth)),
    ord("d"): _get_dict,
    ord("a"): _get_array,
    ord("t"): _get_tensor,
}
