"""The one error that is the user's to mend."""


class InputError(Exception):
    """One line: what is wrong, where, and the mend. `python -m toy` and `-m real` print it and exit 2."""
