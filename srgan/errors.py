"""The one exception for mistakes that the person at the keyboard can mend."""


class UserError(Exception):
    """One sentence: what was wrong with which input, and what to do. Shown without a traceback."""
