import os
import threading
import time


def where(seconds: float = 0.0, megabytes: int = 0) -> dict[str, int]:
    """Where this runs, after some time and with some memory taken."""
    taken = bytearray(os.urandom(1) * (megabytes * 2**20))
    time.sleep(seconds)
    return {"pid": os.getpid(), "thread": threading.get_ident(), "taken": len(taken)}
