"""Whole networks out of other people's packages, dense and pruned, against PyTorch.

    python -m espalier.tools.networks --out DIR                   every network, hours; goes on where it was
    python -m espalier.tools.networks --only 'bert*,timm:*' --out DIR
    python -m espalier.tools.networks --out DIR --table           what DIR holds, as a table

Each network is built, pruned, compiled and timed in a process of its own, so that a crash or an endless
compilation is a row as well. ``DIR/networks.csv`` has a row a network, ``DIR/NAME.json`` the reports on both
compiled models. Ends with 1 where a network is not equal to PyTorch.
"""
