"""What a compiled model needs to run; imports nothing of the compiler."""
