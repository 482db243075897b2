"""Fairlane in a few lines: one organization, one member, one job type, one job. Run: python examples/quickstart.py"""

from fairlane import Fairlane, JobContext

fl = Fairlane("sqlite:///:memory:")  # or a file, "sqlite:///jobs.db", or "postgresql://…"


@fl.job_type("greet")
async def greet(ctx: JobContext, name: str) -> str:
    ctx.progress(50, f"thinking of {name}")
    return f"Hello, {name}!"


def main() -> None:
    fl.migrate()
    fl.organizations.create("acme", name="Acme")
    fl.members.add("acme", "ana")
    job = fl.submit("greet", organization="acme", user="ana", parameters={"name": "World"})
    fl.worker().drain()
    print(fl.result(job.id, organization="acme"))


if __name__ == "__main__":
    main()
