"""Random layers, compiled and compared with PyTorch: ``python -m espalier.tools.differential``."""
