"""What code is made for: one entry a core."""
