"""The per-layer report of a compiled model: data, terminal table, HTML page."""
