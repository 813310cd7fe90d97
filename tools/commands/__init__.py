"""The subcommands of ``espalier``, one a module; a module's heavy imports happen when it runs."""
