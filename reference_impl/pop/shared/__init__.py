"""One flag store for all workers of a PoP: bytes in shared memory, written by one process and read by all."""
