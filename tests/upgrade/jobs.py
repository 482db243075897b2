"""The application whose workers run under several releases: only what Fairlane promises to keep."""

from fairlane import Fairlane, JobContext

fl = Fairlane()


@fl.job_type("double", dedup_window=0, max_retries=0)
async def double(ctx: JobContext, number: int) -> int:
    """A handler that ends at once."""
    return 2 * number
