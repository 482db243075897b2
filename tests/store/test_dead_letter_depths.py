"""The depths that the alarm compares."""

from sqlalchemy import Connection

from fairlane.store.dead_letter_alarm import depths
from tests.store.races.scene import BROKEN, Scene


def test_undecided_dead_letters_of_many_organizations_are_counted_in_one_statement_up_to_a_bound(
    database_url: str,
) -> None:
    with Scene(database_url) as scene:
        mine = [scene.dead_letter() for _ in range(4)]
        theirs = scene.submit(organization="rival", user="rita")
        scene.end(*scene.worker().claim(), outcome=BROKEN)

        def counted(connection: Connection) -> list[dict[str, int]]:
            everybody = ["acme", "nobody", "rival"]
            return [depths(connection, everybody, up_to=bound) for bound in (3, 50)]

        assert scene.write(counted) == [{"acme": 3, "nobody": 0, "rival": 1}, {"acme": 4, "nobody": 0, "rival": 1}]
        scene.fl.dead_letters.ignore(theirs.id, organization="rival")
        scene.fl.dead_letters.resolve(mine[0].id, organization="acme")
        assert scene.write(counted)[1] == {"acme": 3, "nobody": 0, "rival": 0}
