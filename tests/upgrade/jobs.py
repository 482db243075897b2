"""The application whose workers run under several releases: only what Fairlane promises to keep."""

import os

from fairlane import Fairlane, JobContext

fl = Fairlane()


@fl.job_type("double", dedup_window=0, max_retries=0)
async def double(ctx: JobContext, number: int) -> int:
    """A handler that ends at once, and has told a file of it that is none of Fairlane's."""
    file = os.open(os.environ["EFFECTS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{ctx.job_id}\n".encode())
    os.close(file)
    return 2 * number
