"""Charts as SVG of rectangles and lines: attributes only, since the page's policy allows no style but its own sheet.

Every chart stands beside a table with the same numbers; to a screen reader it is an image with a sentence.
"""

from markupsafe import Markup

from luthier.reports.survey import Lengths

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 760, 240, 64, 48, 26
TICKS = 5


def bar(share: float, *, kind: str = "") -> Markup:
    """A bar of that share of its width, between 0 and 1."""
    width = max(0.0, min(1.0, share)) * 100
    return Markup(
        '<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true" focusable="false">'
        '<rect class="rail" width="100" height="10"/><rect class="fill {}" width="{:.2f}" height="10"/></svg>'
    ).format(kind, width)


def length_chart(lengths: Lengths) -> Markup:
    """Rows by their tokens; what lies beyond the cut-off is of another colour, and the cut-off a line."""
    most = max(each.rows for each in lengths.bins)
    slot = (WIDTH - LEFT) / len(lengths.bins)
    parts = []
    for number, each in enumerate(lengths.bins):
        height = (HEIGHT - TOP - BOTTOM) * each.rows / most
        if each.rows:
            height = max(height, 1.5)  # one row in a million is there
        parts.append(
            Markup('<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>').format(
                "beyond" if each.low > lengths.max_length else "within",
                LEFT + number * slot + 0.5,
                HEIGHT - BOTTOM - height,
                max(slot - 1, 0.5),
                height,
            )
        )
    parts += [*_axis_x(lengths, slot), *_axis_y(most), *_cut_off(lengths, slot)]
    label = (
        f"Histogram of row lengths: the shortest has {lengths.shortest:,} tokens, half have up to {lengths.median:,}, "
        f"the longest has {lengths.longest:,}. The cut-off is at {lengths.max_length:,}."
    )
    return Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        WIDTH, HEIGHT, label, Markup("").join(parts)
    )


def _axis_x(lengths: Lengths, slot: float) -> list[Markup]:
    every = max(1, -(-len(lengths.bins) // TICKS))
    parts = [
        Markup('<line class="axis" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(
            LEFT, WIDTH, HEIGHT - BOTTOM, HEIGHT - BOTTOM
        )
    ]
    for number in range(0, len(lengths.bins), every):
        x = LEFT + number * slot
        parts.append(
            Markup('<text class="tick" x="{:.1f}" y="{}">{:,}</text>').format(
                x, HEIGHT - BOTTOM + 19, lengths.bins[number].low - 1
            )
        )
    parts.append(
        Markup('<text class="tick end" x="{}" y="{}">tokens a row{}</text>').format(
            WIDTH, HEIGHT - 3, ", each bin wider than the last" if lengths.is_log else ""
        )
    )
    return parts


def _axis_y(most: int) -> list[Markup]:
    parts = []
    for share in (0.5, 1.0):
        y = HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share
        parts.append(
            Markup('<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>').format(LEFT, WIDTH, y, y)
        )
        parts.append(
            Markup('<text class="tick end" x="{}" y="{:.1f}">{:,.0f}</text>').format(
                LEFT - 6, y + 4, most * share
            )
        )
    return parts


def _cut_off(lengths: Lengths, slot: float) -> list[Markup]:
    """The line at max_length; at the right edge with an arrow if it lies beyond."""
    at = lengths.max_length
    if at > lengths.bins[-1].high:
        return [
            Markup('<text class="cut-text end" x="{}" y="{}">cut-off at {:,} →</text>').format(
                WIDTH, TOP - 8, at
            )
        ]
    x = LEFT + slot * _place(lengths, at)
    end = " end" if x > WIDTH / 2 else ""
    return [
        Markup('<line class="cut" x1="{:.1f}" x2="{:.1f}" y1="{}" y2="{}"/>').format(
            x, x, TOP - 14, HEIGHT - BOTTOM
        ),
        Markup('<text class="cut-text{}" x="{:.1f}" y="{}">cut-off at {:,}</text>').format(
            end, x + (-6 if end else 6), TOP - 8, at
        ),
    ]


def _place(lengths: Lengths, at: int) -> float:
    """Where a length lies, in bins from the left; a row of exactly the cut-off is still within."""
    for number, each in enumerate(lengths.bins):
        if at <= each.high:
            return number + (at + 1 - each.low) / (each.high + 1 - each.low)
    return float(len(lengths.bins))
