"""Faults that earlier versions had, or could have: each is put back, and must be found.

The first line of a patch says what is wrong with it, the second which case shows it, and with how many faults.
"""
