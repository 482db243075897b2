"""A flood of one is refused, and takes nothing of what the others may ask."""

from tests.api.served import Api

ALLOWANCE = 5
FLOOD = 60
RATES = {f"rate_{kind}": ALLOWANCE for kind in ("submit", "status", "list", "cancel", "metrics", "login")}


def test_a_flood_of_one_user_takes_no_allowance_of_others(serve):
    api: Api = serve(RATES)
    flooding = api.as_("member")
    flood = [flooding.get("/organizations/acme/jobs").status_code for _ in range(FLOOD)]
    assert (flood.count(200), flood.count(429)) == (ALLOWANCE, FLOOD - ALLOWANCE)
    for user, organization in (("colleague", "acme"), ("admin", "acme"), ("other-member", "other")):
        client, jobs = api.as_(user, organization), f"/organizations/{organization}/jobs"
        assert [client.get(jobs).status_code for _ in range(ALLOWANCE)] == [200] * ALLOWANCE
        submitted = [client.post(jobs, json={"job_type": "report"}).status_code for _ in range(ALLOWANCE)]
        assert submitted == [201] * ALLOWANCE


def test_a_flood_without_a_credential_or_with_a_wrong_one_takes_no_allowance_of_anybody(serve):
    api: Api = serve(RATES)
    for client, status in ((api.client(), {401}), (api.client("fl_wrong"), {401, 429})):
        assert {client.get("/organizations/acme/jobs").status_code for _ in range(FLOOD)} <= status
    assert [api.as_("member").get("/organizations/acme/jobs").status_code for _ in range(ALLOWANCE)] == [
        200
    ] * ALLOWANCE


def test_a_flood_into_the_organization_of_others_takes_nothing_of_its_members(serve):
    api: Api = serve(RATES)
    stranger = api.as_("other-member", "other")
    assert {stranger.get("/organizations/acme/jobs").status_code for _ in range(FLOOD)} == {404, 429}
    assert [api.as_("member").get("/organizations/acme/jobs").status_code for _ in range(ALLOWANCE)] == [
        200
    ] * ALLOWANCE
