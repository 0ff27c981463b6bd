"""Whether this kernel has guards as advice."""

import mmap


def kernel_has_guards():
    """Whether madvise() knows MADV_GUARD_INSTALL."""
    page = mmap.mmap(-1, mmap.PAGESIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    try:
        page.madvise(102)
    except OSError:
        return False
    return True
