"""Builds the compiled core; where that cannot be done, a pure wheel instead of an empty platform wheel."""

import os
import sys

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import BaseError, CCompilerError

# No debug information: a fifth as large, and the same bytes wherever it is built. Who sets CFLAGS decides himself.
COMPILE_ARGS = [] if "CFLAGS" in os.environ or os.name == "nt" else ["-g0"]
LINK_ARGS = ["-Wl,-s"] if COMPILE_ARGS and sys.platform == "linux" else []  # no names of its own functions either
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
        core = Extension(
            "gaesess._speedups",
            ["src/gaesess/_speedups.pyx"],
            extra_compile_args=COMPILE_ARGS,
            extra_link_args=LINK_ARGS,
        )
        build(cythonize([core], build_dir="build"))
    except ExtensionNotBuilt as error:
        if EXTENSION_REQUIRED:
            raise
        print(
            f"gaesess: the compiled core was not built ({error}); going on with the pure-Python one.", file=sys.stderr
        )
        build([])


main()
