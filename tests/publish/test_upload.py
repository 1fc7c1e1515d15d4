"""Publishing to a real server on loopback: what arrives, what is not sent twice, and what the hub may do to it."""

from luthier.config.recipe import Recipe
from luthier.floor.rundir import RunDir
from luthier.publish.stage import publish
from tests.publish.hub import Site
from tests.publish.published_run import REPO, prepared


def test_one_commit_holds_every_file_and_the_report_says_so(run: tuple[Recipe, RunDir], site: Site) -> None:
    report = publish(prepared(*run))
    repo = site.repos[REPO]
    assert repo.private
    assert len(repo.commits) == 2, "the hub's own first commit, and ours"
    assert report.commits == 1
