"""`luthier demo`: the whole straight line on the embedded base and the bundled data, in about two minutes on two cores."""

from luthier.cli.options import AsJson


def demo(as_json: AsJson = False) -> None:
    """Prepare, train, judge base and tuned model, and show both side by side."""
    from luthier.cli.straight_line import run_demo

    run_demo(as_json=as_json)
