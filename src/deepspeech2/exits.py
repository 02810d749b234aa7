"""How a recipe ends on an error: in one message where the user can mend it, in a traceback where only we can."""

import sys
import traceback
from pathlib import Path

OURS = Path(__file__).parent


def end_run(program: str, error: Exception) -> None:
    """
    Ends the process with the error's message, if this package raised it: such a message says what to do.

    An error that comes out of other code was not foreseen: it is raised on, with its traceback.
    """
    raised_in = Path(traceback.extract_tb(error.__traceback__)[-1].filename)
    if raised_in.is_relative_to(OURS):
        sys.exit(f"{program}: {error}")
    raise error
