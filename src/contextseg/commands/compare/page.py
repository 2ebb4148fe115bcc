"""The page of a comparison: tables and pictures in one HTML file that opens offline."""

import html
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from contextseg.classes import ClassSet
from contextseg.commands import html_page
from contextseg.commands.compare import choose
from contextseg.commands.compare.draw import COLOURS, panel, scatter
from contextseg.commands.compare.predictions import Predictions
from contextseg.commands.compare.regions import GAINED, LOST, MARKED, Region, connected, regions
from contextseg.commands.compare.tables import by_class
from contextseg.statistics import Resampling, difference
from contextseg.viz import Picture, save


@dataclass
class Page:
    """What a page is made from.

    image  number of an image -> its pixels uint8 (H, W, 3)
    facts  what was compared, in sentences
    """

    found: Predictions
    classes: ClassSet
    image: Callable[[int], Picture]
    folder: Path
    facts: Sequence[str]
    count: int
    boxes: int
    least: float

    def document(self) -> str:
        """Draw the pictures into `pictures/` and write the page, which holds them."""
        names = self.found.networks
        title = f"{' and '.join(names[1:])} against {names[0]}"
        parts = [f"<p>{html.escape(' '.join(self.facts))}</p>", self.scores(), self.by_class()]
        parts += [self.against(other) for other in range(1, len(names))]
        parts += [self.confusions(), *(self.extremes(network) for network in range(len(names)))]
        return html_page.document(title, STYLE + with_contents("\n".join(parts)))

    def scores(self) -> str:
        """Write a row for each network: its scores, and what it gains and loses to the first."""
        found, rows = self.found, []
        pixels = found.pixels.sum()
        for number, name in enumerate(found.networks):
            totals = found.counts[number].totals.sum(0)
            miou = np.nanmean(by_class(found)[number])
            cells = [name, f"{miou:.2f}", f"{100 * totals[:, 0].sum() / pixels:.2f}"]
            if number:
                apart = difference([found.counts[number]], [found.counts[0]], Resampling())
                both = (apart["miou"], apart["pix_acc"])
                cells += [f"{one.value:+.2f} ({one.low:+.2f} to {one.high:+.2f})" for one in both]
                cells += [f"{100 * value / pixels:.2f}" for value in found.changed(number).sum(0)]
            else:
                cells += [""] * 4
            rows.append(cells)
        first = found.networks[0]
        header = ["network", "mIoU", "PixAcc", f"Δ mIoU to {first}", "Δ PixAcc", "gained, % of pixels", "lost, %"]
        note = (
            "In brackets: 95 % interval of the difference over other such images, the networks as they are. Gained: "
            f"right here, wrong by {first}; lost: the reverse."
        )
        return html_page.table(header, rows) + f"<p>{html.escape(note)}</p>"

    def by_class(self) -> str:
        """Write the IoU of every class."""
        scores = by_class(self.found)
        names = self.found.networks
        rows = [
            [
                name,
                *(f"{value:.1f}" for value in scores[:, k]),
                *(f"{value - scores[0, k]:+.1f}" for value in scores[1:, k]),
            ]
            for k, name in enumerate(self.classes.names)
            if not np.isnan(scores[:, k]).all()
        ]
        rows = [[cell.replace("+nan", "").replace("nan", "") for cell in row] for row in rows]
        return "<h2>Classes, IoU</h2>" + html_page.table(["class", *names, *(f"Δ {name}" for name in names[1:])], rows)

    def against(self, other: int) -> str:
        """Write the images where a network beats the first, then those where the first beats it."""
        found, first, name = self.found, self.found.networks[0], self.found.networks[other]
        parts = [f"<h2>{html.escape(name)} and {html.escape(first)}, image by image</h2>"]
        if len(found.names) > 1:
            drawn = scatter(found.accuracy(0), found.accuracy(other), (first, name))
            parts.append(self.embedded(drawn, f"scatter_{other}.png", f"pixel accuracy by {first} and by {name}"))
        for kind, places in (
            (GAINED, choose.gains(found, other, self.count)),
            (LOST, choose.losses(found, other, self.count)),
        ):
            winner, loser = (name, first) if kind == GAINED else (first, name)
            parts.append(f"<h2>Where {html.escape(winner)} beats {html.escape(loser)}</h2>")
            parts.append(self.key(name))
            parts += [self.pictured(place, other, kind) for place in places]
            if not places:
                parts.append("<p>No image.</p>")
        return "\n".join(parts)

    def key(self, other: str) -> str:
        """Say what the colours of a change from the first network mean."""
        names = html.escape(other), html.escape(self.found.networks[0])
        gained = f"<span class={GAINED}>▬</span> gained: {names[0]} is right, {names[1]} is wrong"
        lost = f"<span class={LOST}>┅</span> lost: the reverse"
        return f"<p>{gained}; {lost}. Grey: light where both are right, dark where both are wrong.</p>"

    def pictured(self, place: int, other: int, section: str) -> str:
        """Draw an image with the largest regions gained and lost, and list them."""
        found = self.found
        labels = found.labels(place)
        every = regions(labels[0], labels[1], labels[1 + other], self.least)
        boxed = [one for kind in (GAINED, LOST) for one in [r for r in every if r.kind == kind][: self.boxes]]
        gained, lost = 100 * found.changed(other)[place] / found.pixels[place]
        accuracy = [found.accuracy(number)[place] for number in (0, other)]
        title = (
            f"{found.names[place]}: {gained:.1f} % of the pixels gained, {lost:.1f} % lost; pixel accuracy "
            f"{accuracy[0]:.1f} → {accuracy[1]:.1f}"
        )
        picture = panel(self.image(place), labels, found.networks, other, self.classes, boxed)
        names = (found.networks[0], found.networks[other])
        listed = "".join(f"<li class={one.kind}>{html.escape(self.said(one, names))}" for one in boxed)
        return self.figure(picture, f"{section}_{other}_{place}.jpg", title, f"<ol>{listed}</ol>")

    def said(self, region: Region, names: Sequence[str]) -> str:
        """Describe a region in words."""
        truth, first, other = (self.classes.names[k] for k in (region.truth, region.first, region.other))
        said = f"{names[0]} says {first}" if region.kind == GAINED else f"{names[1]} says {other}"
        return f"{region.kind}: {truth}, {region.pixels:,} pixels; {said}"

    def confusions(self) -> str:
        """Write the classes that are confused most, with an image of each."""
        found, names = self.found, self.found.networks
        chosen = choose.confused(found, self.count)
        of_class = [np.maximum(counts.confusion.sum(1), 1) for counts in found.counts]
        rows = [
            [
                self.classes.names[one.truth],
                self.classes.names[one.prediction],
                *(f"{100 * n / of_class[i][one.truth]:.1f}" for i, n in enumerate(one.pixels)),
                found.names[one.image],
            ]
            for one in chosen
        ]
        header = ["truth", "taken for", *(f"{name}, % of its pixels" for name in names), "most in"]
        parts = [
            "<h2>Classes that are confused most</h2>",
            html_page.table(header, rows),
            self.key(names[1] if len(names) == 2 else "the other network"),
        ]
        for one in chosen:
            labels, other = found.labels(one.image), one.network or 1
            cell = (labels[0] == one.truth) & (labels[1 + one.network] == one.prediction)
            marked = connected(MARKED, cell, labels[0], labels[1], labels[1 + other])
            boxed = sorted(marked, key=lambda region: -region.pixels)[: self.boxes]
            title = (
                f"{self.classes.names[one.truth]} taken for {self.classes.names[one.prediction]} by "
                f"{names[one.network]}: {found.names[one.image]}, {int(cell.sum()):,} pixels"
            )
            drawn = panel(self.image(one.image), labels, names, other, self.classes, boxed)
            parts.append(self.figure(drawn, f"confused_{one.truth}_{one.prediction}.jpg", title))
        return "\n".join(parts)

    def extremes(self, network: int) -> str:
        """Write the worst and the best images of a network."""
        found, name = self.found, self.found.networks[network]
        parts, other = [], network or 1
        for word, places in zip(("Worst", "Best"), choose.extremes(found, network, self.count), strict=True):
            parts += [f"<h2>{word} images of {html.escape(name)}, by mIoU</h2>", self.key(found.networks[other])]
            for place in places:
                drawn = panel(self.image(place), found.labels(place), found.networks, other, self.classes, [])
                scores = ", ".join(f"{n} {found.miou(i)[place]:.1f}" for i, n in enumerate(found.networks))
                title = f"{found.names[place]}: mIoU {scores}"
                parts.append(self.figure(drawn, f"{word.lower()}_{network}_{place}.jpg", title))
        return "\n".join(parts)

    def figure(self, picture: Picture, file: str, title: str, below: str = "") -> str:
        """Write a picture under its title."""
        return f"<h3>{html.escape(title)}</h3><div class=panel>{self.embedded(picture, file, title)}</div>{below}"

    def embedded(self, picture: Picture, file: str, meaning: str) -> str:
        """Save a picture as a file of its own, and embed it."""
        path = self.folder / "pictures" / file
        save(picture, path)
        return html_page.picture(path, meaning)


def with_contents(body: str) -> str:
    """Number the headings of a page, and put links to them before the first."""
    titles = re.findall("<h2>(.*?)</h2>", body)
    for number, title in enumerate(titles):
        body = body.replace(f"<h2>{title}</h2>", f"<h2 id=part{number}>{title}</h2>", 1)
    links = " · ".join(f"<a href=#part{number}>{title}</a>" for number, title in enumerate(titles))
    return body.replace("<h2", f"<p>{links}</p><h2", 1)


STYLE = (
    "<style>"
    f".gained {{ color: rgb{COLOURS[GAINED]} }} .lost {{ color: rgb{COLOURS[LOST]} }} "
    "h3 { font-size: 1em; margin: 2em 0 .3em } img { margin: .3em 0 } ol { margin-top: .2em } "
    ".panel img { min-width: 50em }"  # on a phone a panel scrolls, as a table does
    "</style>"
)
