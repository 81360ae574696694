"""Builds the compiled core; where that cannot be done, a pure wheel instead of a platform wheel with nothing in it."""

import os
import sys

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import BaseError, CCompilerError

EXTENSION_REQUIRED = "CIBUILDWHEEL" in os.environ or os.environ.get("GAESESS_REQUIRE_EXTENSION") == "1"


class ExtensionNotBuilt(Exception):
    """The compiler is missing or failed."""


class BuildExt(build_ext):
    """Says that it failed, so that the second pass can do without."""

    def run(self):
        try:
            super().run()
        except (BaseError, CCompilerError, OSError) as error:
            raise ExtensionNotBuilt(str(error)) from error


def build(ext_modules):
    setup(ext_modules=ext_modules, cmdclass={"build_ext": BuildExt})


def main():
    if sys.implementation.name != "cpython" or os.environ.get("GAESESS_PURE") == "1":
        return build([])
    try:
        build(cythonize([Extension("gaesess._speedups", ["src/gaesess/_speedups.pyx"])], build_dir="build"))
    except ExtensionNotBuilt as error:
        if EXTENSION_REQUIRED:
            raise
        print(
            f"gaesess: the compiled core was not built ({error}); going on with the pure-Python one.", file=sys.stderr
        )
        build([])


main()
