"""The crimes that tools/attack runs, one program each. Read by Bazel, and by Python as it is.

A crime is (class, program, source without .cc, function, SIZE, COUNT).
"""

def _crimes(group, source, functions, sizes = [64], counts = [1]):
    return [
        (group, "%s_%s_%d_%d" % (source, function.lower(), size, count), source, function, size, count)
        for function in functions.split(" ")
        for size in sizes
        for count in counts
    ]

_ALL_SIZES = [64, 4096, 262144]
_OVERFLOWS = [1, 2, 8, 16, 64, 256]

CONTROL = ("control", "control", "control", "Correct", 64, 1)
PREDICT = ("predict", "predict", "predict", "Values", 64, 1)

# What an allocator can notice. The figure is how often it does.
MISUSES = (
    _crimes("double free", "double_free", "Immediate Interleaved Overwritten ReallocToZero", _ALL_SIZES) +
    _crimes("double free", "double_free", "Delayed", _ALL_SIZES, [10]) +
    _crimes("double free", "double_free", "Delayed", [64, 4096], [1000]) +
    _crimes("double free, slot perhaps re-used", "double_free", "AfterReuse", _ALL_SIZES, [1, 10]) +
    _crimes("double free, threads", "double_free", "OwnerThenThread ThreadThenOwner ThreadThenThread", _ALL_SIZES) +
    _crimes("invalid free", "invalid_free", "Interior Middle Misaligned1 Misaligned8", _ALL_SIZES) +
    _crimes("invalid free", "invalid_free", "Misaligned1 Misaligned8", [16]) +
    _crimes("invalid free, foreign", "invalid_free", "Stack Global Mapping") +
    _crimes("house of spirit", "invalid_free", "SpiritStack SpiritGlobal SpiritMapping", [16] + _ALL_SIZES) +
    _crimes("house of spirit", "invalid_free", "SpiritBlock", [16, 64]) +
    _crimes("stale realloc", "stale", "ReallocSame ReallocSmaller ReallocLarger ReallocInterior ReallocArray", _ALL_SIZES) +
    _crimes("stale usable_size", "stale", "UsableSize UsableSizeInterior", _ALL_SIZES) +
    [
        crime
        for count in _OVERFLOWS
        for crime in _crimes("overflow small, %d B" % count, "overflow", "Memset Strcpy", [24, 64, 1000], [count])
    ] +
    _crimes("overflow small, stray or memcpy", "overflow", "Stray Memcpy", [24, 64, 1000], [1, 3, 8]) +
    _crimes("overflow large, 1-16 B", "overflow", "Memset Strcpy", [300000], [1, 2, 8, 16]) +
    _crimes("overflow large, 64-65536 B", "overflow", "Memset Memcpy", [300000], [64, 256, 4096, 65536]) +
    _crimes("underflow", "overflow", "Below", [64, 1000, 300000], [1, 8, 16, 64]) +
    _crimes("underflow, only victim freed", "overflow", "BelowVictimOnly", [64, 1000], [1, 8, 16, 64]) +
    _crimes("zero-size write", "overflow", "Memset", [0], [1, 8, 16, 64]) +
    _crimes("write after free, at 0", "use_after_free", "Write WriteLater", [8, 64, 512], [0]) +
    _crimes("write after free, at 8, 16", "use_after_free", "Write WriteLater", [8, 64, 512], [8, 16]) +
    _crimes(
        "mismatched delete",
        "mismatch",
        "MallocDelete MallocDeleteArray NewFree NewArrayFree NewDeleteArray NewArrayDelete " +
        "AlignedNewDelete NewAlignedDelete NewRealloc",
    ) +
    _crimes("wrong sized delete", "mismatch", "SizeTooSmall SizeTooLarge", [64, 4096])
)

# What an attacker wants. The figure is how often it works.
EXPLOITS = (
    _crimes("read a freed secret", "leak", "FreedSecret", [64, 1024, 4096, 16384, 262144]) +
    _crimes("read a freed pointer of the heap", "leak", "FreedPointer", [64, 1024, 4096]) +
    _crimes("secret in new memory", "leak", "UninitialisedSecret GrownSecret", [64, 1024, 4096, 16384], [1, 256]) +
    _crimes("heap pointer in new memory", "leak", "UninitialisedPointer", [64, 1024, 4096], [256]) +
    _crimes("over-read of a neighbour's secret", "leak", "OverRead", [64, 1000], [64, 256, 4096]) +
    _crimes("double free: live overlap", "overlap", "Twice Dup DupPastCache KeyOverwritten TwoThreads", [64, 1024], [8, 1024]) +
    _crimes("free of a dangling pointer: overlap", "overlap", "Dangling", [64, 1024], [8, 1024]) +
    [
        crime
        for count in [1, 16, 256, 4096]
        for crime in _crimes("use after free: spray of %d" % count, "spray", "FunctionPointer Vtable", [64, 512], [count])
    ] +
    _crimes("use after free: flush, spray of 256", "spray", "Flushed", [64, 512], [256]) +
    _crimes("use after free: flush, spray of 4096", "spray", "Flushed", [64, 512], [4096]) +
    [
        crime
        for count in [16, 32, 64, 256]
        for crime in _crimes("overflow of %d B: neighbour" % count, "groom", "Neighbour NeighbourInAHole", [56, 64], [count])
    ] +
    _crimes("overflow, then free: neighbour", "groom", "NeighbourAfterFree", [56, 64], [32, 64, 256]) +
    _crimes("forged free list: chosen address", "forge", "Link HiddenLink", [64, 256], [1, 2, 16, 64]) +
    _crimes("unsafe unlink", "forge", "Unlink", [1056]) +
    _crimes("leaked canary of another slot", "replay", "OtherCanary", [40, 56, 64], [8, 16, 24]) +
    _crimes("leaked canary of the same slot", "replay", "OwnCanary", [40, 56, 64], [8, 16, 24]) +
    _crimes("leaked link of another slot", "replay", "Link", [64], [1024]) +
    _crimes("fork server: next addresses", "fork_server", "Addresses", [64, 1024], [3]) +
    _crimes("fork server: leaked canary", "fork_server", "Canary", [40, 64], [4096])
)

CRIMES = [CONTROL, PREDICT] + MISUSES + EXPLOITS
