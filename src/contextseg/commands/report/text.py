"""Writing a comparison: the cells of its table, its caption, and both as markdown and LaTeX."""

import re
from collections.abc import Mapping
from typing import Any

from contextseg.commands.report.beside import difference, ours_beside, spread
from contextseg.commands.report.columns import COSTS, SUCCESSES, TITLES
from contextseg.commands.report.compare import Comparison, Line
from contextseg.commands.report.detected import COLUMN
from contextseg.commands.report.kendall import MIN_ROWS, Agreement
from contextseg.commands.report.protocols import ENDINGS, KINDS
from contextseg.runs.store import Group, settings

SPECIAL = {character: f"\\{character}" for character in "&%$#_{}"}
SPECIAL |= {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}"}
SPECIAL |= {"±": r"$\pm$", "Δ": r"$\Delta$", "τ": r"$\tau$", "<": "$<$", ">": "$>$"}


def title(comparison: Comparison) -> str:
    return f"{comparison.source}: {comparison.about}"


def header(comparison: Comparison) -> list[str]:
    """Return the names of the columns."""
    names = ["row"]
    for column, metric in comparison.pairs:
        ours = TITLES[metric]
        delta = f"Δ {ours}" if len(comparison.pairs) > 1 else "Δ"
        names += [f"{column} published", f"{ours} ours", f"{delta} published", f"{delta} ours"]
    for column in comparison.beside:
        names += [f"{column} published", f"{column} ours"]
    return [*names, "note"] if any(notes(comparison, line) for line in comparison.lines) else names


def body(comparison: Comparison) -> list[list[str]]:
    """Return the cells below `header`."""
    names = header(comparison)
    rows = []
    for line in comparison.lines:
        cells = [line.label]
        for column, metric in comparison.pairs:
            cells += [
                str(line.published.get(column, "")),
                ours(line, metric),
                *differences(comparison, line, column, metric),
            ]
        for column in comparison.beside:
            cells += [str(line.published.get(column, "")), ours_beside(comparison, line, column)]
        if names[-1] == "note":
            cells.append(notes(comparison, line))
        rows.append(cells)
    return rows + [quoted(comparison, label, published) for label, published in comparison.quoted]


def quoted(comparison: Comparison, label: str, published: Mapping[str, Any]) -> list[str]:
    """Return the cells of a row that the paper quotes: no number of ours, and none of the paper's own."""
    cells = [f"{label} (quoted)"]
    for column, _ in comparison.pairs:
        cells += [str(published.get(column, "")), "", "", ""]
    for column in comparison.beside:
        cells += [str(published.get(column, "")), ""]
    return [*cells, *[""] * (len(header(comparison)) - len(cells))]


def ours(line: Line, metric: str) -> str:
    """Write our mean ± sd (seeds), or the reason why there is none."""
    if values := line.values(metric):
        return spread(values)
    if line.group and (line.test or metric.endswith(ENDINGS)):
        return "not scored"
    return {"failed": f"failed ({line.failed})", "finished": ""}.get(line.state, "not run")


def differences(comparison: Comparison, line: Line, column: str, metric: str) -> tuple[str, str]:
    """Write the differences to the base row, published and ours, the latter ± standard error."""
    if line is comparison.base_of(line):
        return "base", "base"
    published, mine = comparison.published_difference(line, column), comparison.our_difference(line, metric)
    return "" if published is None else f"{published:+.2f}", difference(mine)


def notes(comparison: Comparison, line: Line) -> str:
    """Write the notes on a row."""
    found = [line.note] if line.note else []
    if line.over:
        found.append(f"delta to {line.over}")
    if line.twin:
        found.append(f"the runs of the row {line.twin}")
    if line.test == "ms" and line.group and (protocol := line.protocols.get("ms")):
        found.append(f"by eval={protocol}")
    if line.group and len(kinds(comparison)) > 1:
        found.append(line.group.setting)
    if line.group and line.failed:
        found.append(f"failed besides: {line.failed}")
    if line.lost:
        found.append(f"run without {' '.join(line.lost)}")
    if line.group and line.others:
        found.append("run too, not shown: " + "; ".join(apart(group, line.group) for group in line.others))
    if line.trials and not line.group:
        found.append(f"trial runs of {' and '.join(f'{steps:,}' for steps in line.trials)} steps do not count")
    return "; ".join(found)


def apart(group: Group, shown: Group) -> str:
    """Name the difference of another group of a row to the one shown: its setting, or if that is the same, options."""
    if group.setting != shown.setting:
        return group.setting
    options = sorted(set(settings(group.config)) - set(settings(shown.config)))
    return ", ".join(f"{option}={value}" for option, value in options[:3])


def kinds(comparison: Comparison) -> set:
    """Return the kinds of runs among the rows: data, recipe, budget."""
    return {line.kind for line in comparison.ran}


def caption(comparison: Comparison) -> list[str]:
    """Describe the two sides of the table, in sentences."""
    where = "" if comparison.data == "not applicable" else f"{comparison.data}, with "
    sentences = [f"Published: {where}the paper's own backbone, schedule and test."]
    if not comparison.ran:
        none = ["Ours: no row has finished runs."] if comparison.pairs else []
        return [*sentences, *none, *costs(comparison)]
    groups = [line.group for line in comparison.lines if line.group]
    settings = dict.fromkeys(map(conditions, groups))
    sentences.append(f"Ours: {'; or '.join(settings)}; mean ± standard deviation over the seeds (their number).")
    if not {group.choices["data"] for group in groups} <= set(comparison.data.split(", ")):
        sentences.append("The data sets differ, so only differences and orders compare, not the values.")
    sentences += [*tests(comparison), *costs(comparison)]
    bases = dict.fromkeys(comparison.base_of(line).label for line in comparison.lines)
    named = " or, with the same backbone, ".join(f'"{label}"' for label in bases)
    sentences.append(f"Δ: difference to the row {named}; ours ± its standard error.")
    if len(kinds(comparison)) > 1:
        sentences.append("The rows were run with different data or budgets, and are not compared across them.")
    for column, metric in comparison.pairs:
        sentences.append(ordering(TITLES[metric], comparison.agreement(column, metric), comparison, column, metric))
    return sentences


def tests(comparison: Comparison) -> list[str]:
    """Say by which protocols ours were scored where the table has a single-scale and a multi-scale test."""
    rows = [line.test for line in comparison.ran]
    kinds = [kind for kind in KINDS if kind in rows or any(metric.endswith(kind) for _, metric in comparison.pairs)]
    by = [
        f"{kind}: {f'eval={protocol}' if (protocol := comparison.ran[0].protocols.get(kind)) else 'not scored yet'}"
        for kind in kinds
    ]
    return [f"Ours by test, of one training each (`evaluate ckpt=FILE eval=[...]`): {', '.join(by)}."] if by else []


def costs(comparison: Comparison) -> list[str]:
    """Say what columns beside the scores are, and which rows are quoted."""
    said = []
    if SUCCESSES in comparison.beside:
        said.append("Successes ours: runs whose loss stayed finite, of all; runs that failed otherwise do not count.")
    if set(comparison.beside) & set(COSTS):
        about = comparison.counted.get("", {}).get("about")
        way = f"`contextseg complexity table={comparison.name} time=true output=FOLDER` below runs= fills them"
        said.append(f"Costs ours: {about}" if about else f"Costs ours: none counted here; {way}.")
    if COLUMN in comparison.beside:
        said.append("AP ours: of runs of `contextseg instances` below runs=, on the data in brackets.")
    if comparison.quoted:
        said.append("Quoted: rows that the paper has from other work; neither the paper nor we ran them.")
    return said


def conditions(group: Group) -> str:
    """Describe our runs of a row: data, network, budget and test."""
    config = group.config
    width = f"width {config['width']}" if config.get("width") else "the paper's width"
    batch = f", batches of {config['data']['batch_size']}" if "batch_size" in config.get("data", {}) else ""
    return f"{group.setting}{batch}, {width}, eval={group.choices['eval']}"


def ordering(name: str, found: Agreement | None, comparison: Comparison, column: str, metric: str) -> str:
    """Describe how far our means of a metric order the rows as the published values do, in a sentence or two."""
    if not any(column in line.published for line in comparison.lines):
        return f"No {name} is published here, so there is no order to compare."
    rows = len(comparison.comparable(column, metric))
    if found is None:
        reason = f"{MIN_ROWS} are needed" if rows < MIN_ROWS else "all of one side are equal"
        return f"Order by {name}: {rows} comparable row{'' if rows == 1 else 's'} ({reason}), so no statement is made."
    text = (
        f"Order of {rows} rows by {name}: Kendall's τ-b {found.tau:.2f}; p = {found.chance:.2g}, the share of all "
        "orders of our rows that agree with the paper at least as well"
    )
    if found.low is None:
        return f"{text}; one seed each, so how much the seeds move τ is unknown."
    still = f", {found.single} of them with one seed, which stay" if found.single else ""
    return (
        f"{text}; 95 % of τ within {found.low:.2f} to {found.high:.2f} when the mean of each row is sampled again from "
        f"its seeds (bootstrap, deviations enlarged by √(n/(n-1)){still})."
    )


def markdown(comparison: Comparison) -> str:
    """Write title, table and caption in markdown."""
    names = header(comparison)
    lines = [f"| {' | '.join(names)} |", "|" + "---|" * len(names)]
    lines += [f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |" for cells in body(comparison)]
    return f"## {title(comparison)}\n\n" + "\n".join(lines) + f"\n\n{' '.join(caption(comparison))}\n"


def latex(comparison: Comparison) -> str:
    """Write a LaTeX table environment that needs no package."""
    names = header(comparison)
    lines = [r"\begin{table}", r"\centering\small", rf"\begin{{tabular}}{{l{'r' * 4 * len(comparison.pairs)}"]
    lines[-1] += "r" * 2 * len(comparison.beside) + ("l}" if names[-1] == "note" else "}")
    rows = [" & ".join(map(escaped, cells)) + r" \\" for cells in (names, *body(comparison))]
    lines += [r"\hline", rows[0], r"\hline", *rows[1:], r"\hline", r"\end{tabular}"]
    lines += [rf"\caption{{{escaped(f'{title(comparison)}. ' + ' '.join(caption(comparison)))}}}"]
    return "\n".join([*lines, rf"\label{{tab:{comparison.name}}}", r"\end{table}"]) + "\n"


def escaped(text: str) -> str:
    """Escape a text for LaTeX; the hyphen before a number becomes a minus."""
    text = "".join(SPECIAL.get(character, character) for character in text)
    text = re.sub(r"√\((.*?)\)", r"$\\sqrt{\1}$", text)
    return re.sub(r"(?<!\S)([+-])(?=\d)", r"$\1$", text)
