"""The benchmark harness: a measuring core, engines to measure, and ways to show the result."""
