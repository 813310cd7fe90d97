"""Lists the packages by itself, so that a new folder needs no registration, and ships the dialect's IRDL."""

import os
import subprocess
import sys
from pathlib import Path

from setuptools import find_namespace_packages, setup
from setuptools.command.build_py import build_py

TOP = ("sparse_dialect", "pipelines", "frontends", "runtime", "tools")
FOUND = find_namespace_packages(".", include=[name for top in TOP for name in (top, f"{top}.*")])


class BuildWithIRDL(build_py):
    """Writes ``sparse_dialect/sparse.irdl.mlir`` beside the modules just built, by running them."""

    irdl = "espalier/sparse_dialect/sparse.irdl.mlir"

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            command = [sys.executable, "-m", "espalier.sparse_dialect", "--irdl"]
            # Before what is there: pip's build isolation lends the bindings through PYTHONPATH.
            paths = [str(Path(self.build_lib).resolve()), *filter(None, [os.environ.get("PYTHONPATH")])]
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
            with (Path(self.build_lib) / self.irdl).open("wb") as file:
                subprocess.run(command, env=environment, cwd=self.build_lib, check=True, stdout=file)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        extra = [] if self.editable_mode else [os.path.join(self.build_lib, self.irdl)]
        return [*super().get_outputs(include_bytecode), *extra]


setup(packages=["espalier", *(f"espalier.{name}" for name in FOUND)], cmdclass={"build_py": BuildWithIRDL})
