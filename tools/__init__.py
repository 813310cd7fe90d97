"""Command-line tools and the benchmark harness: thin mains over the rest."""
