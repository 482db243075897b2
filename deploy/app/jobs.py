"""The application that deploy/compose.yaml runs: put your own in its place."""

from fairlane import Fairlane, JobContext

fl = Fairlane()


@fl.job_type("greet")
async def greet(ctx: JobContext, name: str) -> str:
    """Return a greeting, which is also kept as a file."""
    ctx.artifact("greeting.txt", f"Hello, {name}!\n")
    return f"Hello, {name}!"
