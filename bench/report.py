"""What the numbers say: medians, ratios, the terminal's lines and the README's table."""

from statistics import median

from bench.peers import FAMILIES, family

BEGIN, END = "<!-- bench:begin {} -->", "<!-- bench:end -->"
TABLES = ("dense", "images")  # of the README


def duration(seconds):
    """Write a time with three digits and its unit.

    >>> duration(4.92e-05), duration(0.3333), duration(1.0), duration(9.996e-7)
    ('49.2 µs', '333 ms', '1.00 s', '1.00 µs')
    """
    if seconds <= 0:
        return "0 s"
    for scale, unit in ((1e-9, "ns"), (1e-6, "µs"), (1e-3, "ms"), (1.0, "s")):
        value = float(f"{seconds / scale:.3g}")
        if value < 1000 or unit == "s":
            break
    digits = 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{digits}f} {unit}"


def rounds(entry, clock="wall"):
    """Return {peer: its seconds in every round}.

    The CPU clock serves pinned single threads on a busy machine; with more threads it would
    add them up, so those keep the wall clock.
    """
    clock = clock if entry["threads"] == 1 else "wall"
    return {name: peer[clock] for name, peer in entry["peers"].items() if peer[clock]}


def times(entry, clock="wall"):
    """Return {peer: median seconds}, fastest first."""
    found = {name: median(seconds) for name, seconds in rounds(entry, clock).items()}
    return dict(sorted(found.items(), key=lambda item: item[1]))


def limit(entry):
    """Return the seconds that the matrix products need at the run's best GFLOP/s, or None."""
    return entry["flops"] / (entry["gflops"] * 1e9) if entry["gflops"] else None


def ratios(entry, clock="wall"):
    """Return {our set-up: time of the best peer / its time}."""
    found = times(entry, clock)
    others = [t for name, t in found.items() if family(name) != "pybp"]
    ours = {name: t for name, t in found.items() if family(name) == "pybp"}
    return {name: min(others) / t for name, t in ours.items()} if others else {}


def factor(ratio):
    """Write a ratio with as many digits as a noisy machine justifies.

    >>> factor(0.071), factor(1.449), factor(12.4)
    ('0.07x', '1.45x', '12x')
    """
    return f"{ratio:.2f}x" if ratio < 10 else f"{ratio:.0f}x"


def lines(entry, clock="wall"):
    """Yield the terminal's lines for one entry."""
    for name, seconds in times(entry, clock).items():
        peer, raw = entry["peers"][name], rounds(entry, clock)[name]
        spread = (max(raw) - min(raw)) / seconds
        text = f"    {name:<20}{duration(seconds):>9} per {entry['unit']}  spread {spread:4.0%}"
        if "loss_end" in peer:
            path = (peer["loss_start"], peer["loss_first"], peer["loss_end"])
            text += "  loss " + " -> ".join(f"{value:.3g}" for value in path)
            if not peer["loss_end"] < peer["loss_start"]:
                text += "  DOES NOT LEARN"
        yield text
    for name, ratio in ratios(entry, clock).items():
        yield f"    best peer / {name} = {factor(ratio)}"
    if limit(entry):
        yield f"    FLOP limit {duration(limit(entry))} at {entry['gflops']:.0f} GFLOP/s"


def _cell(found, key):
    """Return the README cell of one library: its fastest set-up, or both of ours."""
    mine = {name: t for name, t in found.items() if family(name) == key}
    if not mine:
        return "-"
    if key != "pybp":
        return duration(min(mine.values()))
    return " / ".join(f"**{duration(mine[name])}**" for name in sorted(mine))


def table(report, clock="wall"):
    """Return the README's Markdown for a report: one row per workload and thread count."""
    entries = [e for e in report["entries"] if times(e)]
    used = {family(name) for e in entries for name in e["peers"]}
    columns = [key for key in FAMILIES if key in used]
    names = [FAMILIES[key] for key in columns]
    head = ["workload", "threads", *names, "best peer / pybp", "FLOP limit"]
    rows = [head, ["---", *["---:"] * (len(head) - 1)]]
    for e in entries:
        found = times(e, clock)
        ratio = " / ".join(factor(r) for _, r in sorted(ratios(e, clock).items())) or "-"
        bound = duration(limit(e)) if limit(e) else "-"
        title = f"{e['title']}, per {e['unit']}"
        title += " (random rows)" if e["data"] == "random" and e["workload"] != "T4" else ""
        cells = [_cell(found, key) for key in columns]
        rows.append([title, str(e["threads"]), *cells, ratio, bound])
    body = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    return f"{body}\n\n{_legend(report, clock)}"


def _legend(report, clock):
    machine, settings = report["machine"], report["settings"]
    seen = {}
    for e in report["entries"]:
        for name, peer in e["peers"].items():
            seen[FAMILIES[family(name)]] = peer["version"]
    versions = ", ".join(f"{name} {version}" for name, version in sorted(seen.items()))
    text = (
        f"Medians of {settings['rounds']} interleaved rounds on {machine['cpu']} "
        f"({machine['cores']} cores), {report['date']}; each library in its fastest set-up. "
        f"Prediction: `predict` / bound `predictor`. FLOP limit: the matrix products at the "
        f"best gemm rate of the same run. {versions}."
    )
    if clock == "cpu":
        text += " One thread: process CPU time."
    return text + (" A quick run: not for comparison." if settings["quick"] else "")


def write(readme, text, name):
    """Put `text` between the markers of one of the TABLES of the file `readme`."""
    old, begin = readme.read_text(encoding="utf-8"), BEGIN.format(name)
    before, _, rest = old.partition(begin)
    _, found, after = rest.partition(END)
    if old.count(begin) != 1 or not found:
        raise ValueError(f"{readme} needs one line {begin} and after it a line {END}")
    new = f"{before}{begin}\n{text}\n{END}{after}"
    readme.write_text(new, encoding="utf-8")
