"""How glibc's memory allocator behaves in a replica; it reads its settings when a process starts.

As it comes it gives buffers of megabytes back to the kernel and faults them in again with every
message, which costs more than all copies of an embedding. With these settings it keeps them, in one
arena. A replica's memory stays at its peak, which is what it was given.
"""

ALLOCATOR = {
    "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_ARENA_MAX": "1",
}
