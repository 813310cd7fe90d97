"""What several tests need: harnesses, fakes, the command line in this process."""
