"""What `luthier advise base` prints: a line a candidate, the evidence for each, and the choice."""

from typing import TYPE_CHECKING

from luthier.cli.output import table
from luthier.floor.units import format_count

if TYPE_CHECKING:
    from luthier.reports.base_advice import BaseAdvice, Candidate


def base_text(advice: "BaseAdvice") -> str:
    """One screen."""
    head = ("model", "taken for", "parameters", "context", "licence", "bytes a token", "bits a byte", "suits")
    rows = [head, *(_row(each) for each in advice.candidates)]
    lines = table(rows, right=(2, 3, 5, 6)).splitlines()
    for each in advice.candidates:
        lines += ["", f"{each.name}: {each.why}"]
        lines += [
            f"  {'for' if piece.weight < 0 else 'against'} a base: {piece.says}" for piece in each.evidence
        ]
        lines += [f"  mind: {warning}" for warning in each.warnings]
    chosen = advice.recommended or "none of these"
    lines += ["", f"take     {chosen} (confidence: {advice.confidence}): {advice.why}"]
    if advice.recommended:
        lines.append(f"next     luthier plan RECIPE model.name={advice.recommended}")
    return "\n".join(lines)


def _row(each: "Candidate") -> tuple[str, ...]:
    kind = f"{each.kind} ({each.domain})" if each.kind == "specialized" else each.kind
    return (
        each.name,
        f"{kind}, {each.kind_confidence}",
        format_count(each.parameters) if each.parameters else "unknown",
        f"{each.context_tokens:,}" if each.context_tokens else "unknown",
        each.licence or "unknown",
        f"{each.bytes_per_token:.2f}" if each.bytes_per_token else "",
        f"{each.bits_per_byte:.3f}" if each.bits_per_byte else "",
        each.suits,
    )
