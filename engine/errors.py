"""The one error that users see."""


class UserError(ValueError):
    """Bad input or a missing file. The message names the thing and, where there is one, the command that
    mends it; the command line prints it without a traceback and exits with code 2."""
