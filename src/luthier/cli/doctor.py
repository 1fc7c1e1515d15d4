"""`luthier doctor`: what this machine has, and what to install for the rest."""

from luthier.cli.options import AsJson


def doctor(as_json: AsJson = False) -> None:
    """Look at Python, torch, GPU, memory, disk, permissions, packages and extras; exit code 5 if something stops work."""
    import typer

    from luthier.cli.examine import examine
    from luthier.cli.output import show, show_json, table

    findings = examine()
    is_fit = all(finding.state != "bad" for finding in findings)
    if as_json:
        show_json({"is_fit": is_fit, "findings": [finding.as_json() for finding in findings]})
    else:
        rows = [("", "what", "found")]
        rows += [(finding.state, finding.name, finding.text) for finding in findings]
        show(table(rows))
        fixes = [
            f"{finding.name}: {finding.fix}" for finding in findings if finding.fix and finding.state != "ok"
        ]
        if fixes:
            show("\n" + "\n".join(fixes))
    if not is_fit:
        raise typer.Exit(5)
