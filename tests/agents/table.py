"""The table at the end: one line a turn and request."""


def table(results):
    """Program, version, turn, what it sent and was answered, what it was told, what the rows say."""
    lines = [("program", "version", "turn", "s", "requests", "told", "rows", "audit", "")]
    for r in results:
        sent = [f"{request} ×{n}" if n > 1 else request for request, n in r.requests.items()] or ["-"]
        told = f"skipped: {r.why}"[:90] if r.verdict == "skipped" else r.told
        lines.append((r.program, r.version, r.kind, f"{r.seconds:.1f}", sent[0], told, r.rows, r.audit, r.verdict))
        lines += [("", "", "", "", more, "", "", "", "") for more in sent[1:]]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([text[0], "-" * len(text[0]), *text[1:]])
