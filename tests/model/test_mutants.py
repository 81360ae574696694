"""A fault that is put back into the library is found."""

import pytest

from model.mutants.__main__ import look_for, mutants

QUICK = [mutant for mutant in mutants() if mutant.faults < 2]  # `make model` looks for the others too


@pytest.mark.parametrize("mutant", QUICK, ids=[mutant.path.stem for mutant in QUICK])
def test_fault_is_found(mutant):
    found, printed = look_for(mutant)
    assert found, f"{mutant.title}: not found\n{printed}"
