"""What weights are kept in: pack, unpack and sizes of every storage."""
