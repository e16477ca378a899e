"""What a locked process tries in order to prove that the lock holds. This text runs there as a solution cell does.

Each attempt raises where it is stopped; what it returns is what it got through.
"""

ATTEMPTS = """
import ctypes, os, signal, socket, subprocess

LIBC = ctypes.CDLL(None, use_errno=True)

def syscall(number, *args):
    result = LIBC.syscall(number, *args)
    if result < 0:
        raise OSError(ctypes.get_errno(), "refused")
    return f"system call {number} answered {result}"

def read(path):
    with open(path, "rb") as file:
        return f"{len(file.read(100))} bytes of {path}"

def look(path):
    return f"{path} has {os.stat(path).st_size} bytes"

def folder(path):
    return f"{len(os.listdir(path))} names in {path}"

def write(path):
    with open(path, "ab") as file:
        file.write(b"x")
    return f"wrote {path}"

def truncate(path):
    os.close(os.open(path, os.O_RDONLY | os.O_TRUNC))
    return f"emptied {path}"

def link(path):
    os.symlink(path, "a-link")
    return read("a-link")

def network(*kind):
    socket.socket(*kind).close()
    return f"a socket of family {kind[0]}"

def execute():
    return f"ran {subprocess.run(['/bin/true']).args}"

def fork():
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return "started a process"

def clone():
    return syscall(CLONE, signal.SIGCHLD, 0, 0, 0, 0)

def send_signal(pid):
    os.kill(pid, 0)
    return f"may send signals to process {pid}"

def trace(pid):
    if LIBC.ptrace(16, pid, 0, 0):
        raise OSError(ctypes.get_errno(), "refused")
    return f"traced process {pid}"

def peek(pid):
    return read(f"/proc/{pid}/mem") + read(f"/proc/{pid}/environ")

def namespace():
    if LIBC.unshare(0x10000000):
        raise OSError(ctypes.get_errno(), "refused")
    return "a user namespace of its own"

def threads(most):
    import threading
    done, started = threading.Event(), []
    try:
        while len(started) < 4096:
            started.append(threading.Thread(target=done.wait, daemon=True))
            started[-1].start()
    finally:
        done.set()
    return "4096 threads"

def memory(size):
    return f"{len(bytearray(size))} bytes"

def fill(size):
    with open("large", "wb") as file:
        for _ in range(size >> 20):
            file.write(bytes(1 << 20))
    return f"a file of {size} bytes"

def fill_many(size):
    for part in range(2 * (size >> 20) + 1):
        with open(f"part{part}", "wb") as file:
            file.write(bytes(1 << 20))
    return f"{part} files of a megabyte"

def descriptors():
    found = [n for n in range(4, 1024) if is_open(n)]
    if not found:
        raise OSError("none but its own")
    return f"descriptors {found}"

def is_open(number):
    try:
        os.fstat(number)
    except OSError:
        return False
    return True

def shared_memory():
    name = os.open("/dev/shm/probe", os.O_CREAT | os.O_RDWR)
    return f"shared memory {name}"

def environment(secret):
    if secret not in os.environ.values():
        raise OSError("not there")
    return "the grader's environment"
"""
