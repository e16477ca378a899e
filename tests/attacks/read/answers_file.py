"""Prints the answers file, through every function that opens files."""

SOLUTIONS = {
    "activations.zigzag": """
import ctypes, io, os, linecache, tokenize, mmap
path = "@COURSE@/chapters/04-activations/answers.py"

def with_mmap():
    with open(path, "rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)[-200:]

def with_libc():
    libc, buffer = ctypes.CDLL(None), ctypes.create_string_buffer(1 << 20)
    number = libc.open(path.encode(), 0)
    libc.read(number, buffer, 1 << 20)
    return buffer.value[-200:]

for way in (
    lambda: open(path).read()[-200:], lambda: os.popen(f"tail -2 {path}").read(), lambda: "".join(linecache.getlines(path)[-2:]),
    lambda: bytes(np.fromfile(path, np.uint8))[-200:], lambda: bytes(torch.from_file(path, size=100, dtype=torch.uint8).numpy()),
    lambda: tokenize.open(path).read()[-200:], with_mmap, with_libc,
):
    try:
        print(way())
    except Exception as error:
        print(type(error).__name__)

def same_sign_fraction(H, delta):
    return None
"""
}
