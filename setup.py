"""The one build step that pyproject.toml cannot say: `conf/` of the checkout becomes `contextseg/packaged_conf/`."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildPackage(build_py):
    """Build the package with the configuration in it. An editable install reads the checkout's own."""

    def run(self) -> None:
        if not self.editable_mode:
            shutil.rmtree(self.build_lib, ignore_errors=True)  # else files deleted since the last build get in
        super().run()
        if not self.editable_mode:
            shutil.copytree("conf", Path(self.build_lib) / "contextseg" / "packaged_conf")


setup(cmdclass={"build_py": BuildPackage})
