"""The devices that schedules are measured on, and what each of them can measure."""

# By kind, the first by itself. All but the host are compiled for with a --target.
DEVICES = {"host": ("time",), "qemu": ("instructions", "static-cycles"), "adb": ("time",), "ssh": ("time",),
           "local": ("time",)}
