"""The one family of errors that the command line shows without a traceback."""


class UserError(ValueError):
    """Something the user can mend; the message says what was found, expected and to be changed."""


class ContextExceeded(UserError):
    """A prompt or a game is longer than the model can read."""
