"""The documentation's pages that are made when the site is built: ``mkdocs build`` asks ``site.py`` for them.

    reference.py    passes, pipelines and the dialect, from docstrings
    interfaces.py   the command line, from its own parser; Python, by mkdocstrings; C, from espalier.h
    tutorial.py     one convolution through every pass, its IR printed by the passes themselves
    examples.py     the code blocks of pages, which a test runs
"""
