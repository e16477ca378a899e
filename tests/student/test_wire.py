"""Messages between the processes: what goes in comes out, and no string of bytes does harm."""

import contextlib
import struct
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from autograder.errors import WireError
from autograder.student.limits import Limits
from autograder.student.wire import MAGIC, decode, encode

DTYPES = st.one_of(
    hnp.boolean_dtypes(),
    hnp.integer_dtypes(endianness="?"),
    hnp.unsigned_integer_dtypes(endianness="?"),
    hnp.floating_dtypes(endianness="?"),
    hnp.complex_number_dtypes(endianness="?"),
    hnp.unicode_string_dtypes(endianness="?"),
)
ARRAYS = hnp.arrays(DTYPES, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
TEXT = st.text(st.characters(), max_size=20)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.complex_numbers(), TEXT)
PLAIN = st.recursive(
    st.one_of(SCALARS, ARRAYS),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.tuples(inner, inner),
        st.dictionaries(st.one_of(TEXT, st.integers(-(2**63), 2**63 - 1)), inner, max_size=4),
    ),
    max_leaves=8,
)


def same(one: Any, other: Any) -> bool:
    """Equal in type, shape, dtype and every bit."""
    if isinstance(one, np.ndarray):
        return type(other) is np.ndarray and one.shape == other.shape and one.dtype == other.dtype and one.tobytes() == other.tobytes()
    if type(one) is not type(other):
        return False
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[k], other[k]) for k in one)
    return repr(one) == repr(other)


@given(PLAIN)
def test_plain_data_comes_back_as_it_went(value: Any) -> None:
    assert same(value, decode(encode(value)))


@pytest.mark.parametrize(("keys", "travels"), [(range(200), True), (range(300), False), (map(str, range(5000)), True)])
def test_many_keys_are_texts(keys: Any, travels: bool) -> None:
    value = dict.fromkeys(keys)
    if travels:
        assert decode(encode(value)) == value
    else:
        with pytest.raises(WireError, match="others"):
            encode(value)
        rows = b"".join(b"i" + struct.pack("<q", key) + b"N" for key in value)
        with pytest.raises(WireError, match="a key"):
            decode(MAGIC + b"d" + struct.pack("<I", len(value)) + rows)


@given(st.binary(max_size=200))
@settings(max_examples=300)
def test_any_bytes_decode_or_are_refused(data: bytes) -> None:
    for message in (data, MAGIC + data):
        with contextlib.suppress(WireError):
            decode(message)


@given(PLAIN, st.data())
@settings(max_examples=300)
def test_changed_messages_decode_or_are_refused(value: Any, data: st.DataObject) -> None:
    message = bytearray(encode(value))
    for _ in range(data.draw(st.integers(1, 4))):
        message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    for tensors in (False, True):
        with contextlib.suppress(WireError):
            repr(decode(message, tensors=tensors))


@given(PLAIN, st.data())
def test_cut_messages_are_refused(value: Any, data: st.DataObject) -> None:
    message = encode(value)
    with pytest.raises(WireError):
        decode(message[: data.draw(st.integers(0, len(message) - 1))])


def test_bytes_after_the_end_are_refused() -> None:
    with pytest.raises(WireError, match="too many"):
        decode(encode(1) + b"N")


def array(dtype: bytes, shape: tuple[int, ...], raw: bytes) -> bytes:
    """A hand-made message with one array."""
    return MAGIC + b"a" + bytes([len(dtype)]) + dtype + bytes([len(shape)]) + struct.pack(f"<{len(shape)}Q", *shape) + raw


@pytest.mark.parametrize(
    "message",
    [
        array(b"|O8", (1,), bytes(8)),
        array(b"|V8", (1,), bytes(8)),
        array(b"<M8", (1,), bytes(8)),
        array(b"<f3", (1,), bytes(3)),
        array(b"<U999999", (1 << 30,), b""),
        array(b"<f8", (0, 1 << 62), b""),
        array(b"<f8", (0, 1 << 31, 1 << 31), b""),
        array(b"<f8", (1 << 40, 1 << 40), b""),
        array(b"<f8", ((1 << 64) - 1,), b""),
        array(b"<f8", (1,) * 33, bytes(8)),
        array(b"<U1", (1,), b"\xff\xff\xff\xff"),
        MAGIC + b"l" + struct.pack("<I", 0xFFFFFFFF),
        MAGIC + b"s" + struct.pack("<I", 0xFFFFFFFF),
        MAGIC + b"s" + struct.pack("<I", 1) + b"\xff",
        MAGIC + b"d" + struct.pack("<I", 1) + b"NN",
        MAGIC + b"d" + struct.pack("<I", 2) + b"TNTN",
        MAGIC + b"d" + struct.pack("<I", 1) + b"I" + struct.pack("<I", 9) + bytes(8) + b"\x01N",
        MAGIC + b"l\x01\x00\x00\x00" * 5000 + b"N",
        MAGIC + b"I" + struct.pack("<I", 1 << 20) + bytes(1 << 20),
    ],
    ids=lambda message: repr(bytes(message[2:30])),
)
def test_hostile_messages_are_refused(message: bytes) -> None:
    with pytest.raises(WireError):
        decode(message)


def test_a_value_cannot_be_larger_than_its_limits() -> None:
    few = replace(Limits(), nodes=10, message=1000, depth=3)
    for value in ([0] * 11, np.zeros(200), "x" * 1001, [[[[[]]]]]):
        with pytest.raises(WireError):
            encode(value, limits=few)
        with pytest.raises(WireError):
            decode(encode(value), limits=few)


@pytest.mark.parametrize(
    "value",
    [object(), b"bytes", {1.5: 0}, {None: 0}, np.array([None]), lambda: 0, {1, 2}, np.zeros(1, "M8[s]")],
    ids=lambda value: type(value).__name__,
)
def test_what_is_not_plain_does_not_travel(value: Any) -> None:
    with pytest.raises(WireError):
        encode(value)


def test_a_list_that_holds_itself_does_not_travel() -> None:
    loop: list = []
    loop.append(loop)
    with pytest.raises(WireError):
        encode(loop)


def test_arrays_are_read_only_and_own_their_memory() -> None:
    message = bytearray(encode(np.arange(3)))
    value = decode(message)
    message[-1] = 9
    assert value.flags.owndata
    assert not value.flags.writeable
    assert value.tolist() == [0, 1, 2]


def test_booleans_are_zero_or_one_whatever_the_bytes() -> None:
    value = decode(array(b"|b1", (3,), b"\x00\x01\x07"))
    assert value.view(np.uint8).tolist() == [0, 1, 1]


def test_tensors_come_back_as_tensors_only_where_asked() -> None:
    message = encode({"x": torch.ones(2, dtype=torch.bfloat16), "y": torch.tensor([1 + 2j]).conj()})
    assert isinstance(decode(message)["x"], np.ndarray)
    back = decode(message, tensors=True)
    assert torch.equal(back["x"], torch.ones(2))
    assert back["y"].item() == 1 - 2j
