"""The error that a user can act on; it lies below every module, so the runtime needs no compiler for it."""


class EspalierError(Exception):
    """Bad input: the message is complete as it stands, and tools print it alone, with exit code 1."""
