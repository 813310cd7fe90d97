"""Layouts, windows and convolutions as numbers; numpy only."""
