"""Every operation that PyTorch has samples for, compiled and compared with PyTorch.

    python -m espalier.tools.operations --only 'nn.functional.*' --dtypes float32,float16 --samples 5

Each sample runs in a process that may crash or hang (``child.py``). An operation passes that computes what
PyTorch does, or that is refused in one line. Whatever else happens (a wrong number, a crash, a hang, another
exception) is a fault; the exit status is then 1.
"""
