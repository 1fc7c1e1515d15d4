"""Write quantities for people: bytes, durations, counts."""


def format_bytes(count: float) -> str:
    """`1.5 GiB`: binary units, as memory is sold and measured."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        digits = 0 if unit == "B" else 1
        if abs(round(count, digits)) < 1024:
            return f"{count:.{digits}f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def count_of(count: int, noun: str) -> str:
    """`1 row`, `2,000 rows`: a number and what is counted, which takes an s where it is not one."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def format_duration(seconds: float) -> str:
    """`1 h 02 min`, `3 min 05 s`, `12.3 s`."""
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def format_count(count: float) -> str:
    """`7.35 M`: three significant digits with a decimal unit."""
    for unit in ("", " k", " M", " G", " T"):
        if abs(float(f"{count:.3g}")) < 1000 or unit == " T":
            break
        count /= 1000
    return f"{count:.0f}{unit}" if count == int(count) or abs(count) >= 100 else f"{count:.3g}{unit}"
