"""`python -m fuzz.worker TARGET [LIBFUZZER ARGUMENT ...]`: fuzzes one target, in a process that libFuzzer will end.

With GAESESS_PURE=0 in the environment it does so in the compiled package, where no coverage leads it.
"""

import logging
import os
import sys

os.environ.setdefault("GAESESS_PURE", "1")  # what is compiled shows no coverage; its twin leads the fuzzer

import atheris

with atheris.instrument_imports(include=["gaesess"]):
    from fuzz import targets

if len(targets.CORES) < 2:
    sys.exit("the extension gaesess._speedups is not built: there is nothing to compare")
logging.disable()  # every record that is refused is logged
target, *arguments = sys.argv[1:]
atheris.Setup([sys.argv[0], *arguments], getattr(targets, target))
atheris.Fuzz()
