"""What micro-kernels compute beforehand: tiles, items and tables. Numpy only."""
