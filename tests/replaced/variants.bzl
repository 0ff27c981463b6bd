"""Which functions the programs of this test define themselves: bits of REPLACED in forms.cc."""

VARIANTS = {
    "none": "0",
    "basic": "NEW+DELETE+HEADER",
    "new": "NEW",
    "delete": "DELETE",
    "array": "NEW_ARRAY+DELETE_ARRAY",
    "nothrow": "NEW_NOTHROW",
    "delete_nothrow": "DELETE_NOTHROW",
    "sized": "DELETE_SIZED",
    "array_sized": "DELETE_ARRAY_SIZED",
    "aligned": "ALIGNED_NEW+ALIGNED_DELETE",
    "aligned_array": "ALIGNED_NEW_ARRAY+ALIGNED_DELETE_ARRAY",
    "aligned_sized": "ALIGNED_DELETE_SIZED",
    "aligned_nothrow": "ALIGNED_NEW_NOTHROW",
    "all": "MALLOC-1",
    "malloc": "MALLOC",
}

# A program that the library is linked into has its malloc.
LINKED_VARIANTS = [v for v in VARIANTS if v not in ("malloc",)]
