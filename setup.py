"""Builds the compiled modules; where that cannot be done, a pure wheel instead of an empty platform wheel."""

import os
import sys
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import BaseError, CCompilerError

# The core by hand, and from their own Python source the modules that have a .pxd: those on every request's road.
PACKAGE = Path("src/gaesess")
SOURCES = [PACKAGE / "_speedups.pyx", *(file.with_suffix(".py") for file in sorted(PACKAGE.glob("*.pxd")))]
# annotation_typing: annotations are for people and mypy; Cython would refuse subclasses of str and dict where Python
# takes them. nonecheck: an attribute of None is an AttributeError, as in Python, not a crash.
DIRECTIVES = {"language_level": 3, "annotation_typing": False, "nonecheck": True}
# No debug information: five times as small, and the same bytes wherever it is built. Who sets CFLAGS decides himself.
COMPILE_ARGS = [] if "CFLAGS" in os.environ or os.name == "nt" else ["-g0"]
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
        extensions = [
            Extension(f"gaesess.{source.stem}", [str(source)], extra_compile_args=COMPILE_ARGS) for source in SOURCES
        ]
        build(cythonize(extensions, build_dir="build", compiler_directives=DIRECTIVES))
    except ExtensionNotBuilt as error:
        if EXTENSION_REQUIRED:
            raise
        print(
            f"gaesess: the compiled core was not built ({error}); going on with the pure-Python one.", file=sys.stderr
        )
        build([])


main()
