"""What a network costs on AArch64, counted under emulation: ``espalier bench MODEL --target ... --count``.

Counts of executed instructions and bytes, and static cycles of inner loops. No figure of it is a time.
"""
