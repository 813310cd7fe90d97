"""What executes a compiled model on this machine."""
