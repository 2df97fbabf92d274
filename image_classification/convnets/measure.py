"""A stopwatch for layers, and the drawings: family tree, three costs, stacked bars."""

import time
from collections import Counter

import matplotlib.pyplot as plt
import torch
from matplotlib.patheffects import withStroke
from torch import nn

SORTS = ["3x3, 5x5", "1x1", "grouped, depthwise", "fully connected"]
SORTS += ["norm, ReLU, pooling", "rest: add, concatenate, shuffle"]

FAMILY = {  # name and year: (place in the picture, idea, parents)
    "LeNet 1998": ((0, 0), "convolve, pool,\nrepeat", []),
    "AlexNet 2012": ((1, 0), "larger, ReLU,\ntrained on GPUs", ["LeNet 1998"]),
    "NiN 2013": ((2, 1), "1x1 convolutions,\nno hidden layers", ["AlexNet 2012"]),
    "VGG 2014": ((2, -1), "only 3x3,\nmore layers", ["AlexNet 2012"]),
    "Inception 2014": ((3, 1), "several sizes\nside by side", ["NiN 2013"]),
    "ResNet 2015": ((3, -1), "add the\ninput", ["VGG 2014"]),
    "DenseNet 2016": ((4, 1), "keep all earlier\nfeature maps", ["ResNet 2015"]),
    "MobileNet 2017": ((4, -1), "each channel\nalone, then 1x1", ["VGG 2014"]),
    "ShuffleNet 2017": ((5, 1), "groups, their\nchannels mixed", ["ResNet 2015", "MobileNet 2017"]),
    "EfficientNet 2019": ((5, -1), "scale all sizes\nat once", ["MobileNet 2017"]),
}
COLOURS = ["#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7", "#7A5230"]
MARKERS = "sv^Do*Ph"


def seconds():
    """On a CPU the seconds that this program computed, whatever else runs there; else a clock."""
    if not torch.cuda.is_available():
        return time.process_time()
    torch.cuda.synchronize()  # wait for the work that is under way
    return time.perf_counter()


def sort_of(layer):
    """What sort of work a layer does, one of SORTS."""
    if isinstance(layer, nn.Conv2d):
        dense = "1x1" if layer.kernel_size == (1, 1) else "3x3, 5x5"
        return dense if layer.groups == 1 else "grouped, depthwise"
    return "fully connected" if isinstance(layer, nn.Linear) else "norm, ReLU, pooling"


def look(model, x, passes=5):
    """FLOPs for one image and seconds for the batch of a forward pass, Counters by SORTS.

    Layers count their FLOPs and seconds; what no layer does is the last of SORTS, and with it
    what the stopwatch itself costs.
    """
    flops, spent, began = Counter(dict.fromkeys(SORTS, 0)), Counter(dict.fromkeys(SORTS, 0)), {}

    def before(layer, inputs):
        began[layer] = seconds()

    def after(layer, inputs, output):
        spent[sort_of(layer)] += (seconds() - began[layer]) / passes
        if isinstance(layer, (nn.Conv2d, nn.Linear)):  # each weight is used once at each position
            flops[sort_of(layer)] += 2 * layer.weight.numel() * output[0, 0].numel()

    model(x)  # warms up
    hooks = []
    for layer in model.modules():
        if not list(layer.children()):
            hooks.append(layer.register_forward_pre_hook(before))
            hooks.append(layer.register_forward_hook(after))
    start = seconds()
    for _ in range(passes):
        model(x)
    spent[SORTS[-1]] = (seconds() - start) / passes - sum(spent.values())
    for hook in hooks:
        hook.remove()
    return Counter({sort: count // passes for sort, count in flops.items()}), spent


def family_tree():
    """Draw who took over whose ideas."""
    figure, axes = plt.subplots(figsize=(10.4, 3.2))
    axes.set(xlim=(-0.5, 5.55), ylim=(-1.5, 1.5))
    axes.axis("off")
    texts = {}
    for name, (place, idea, _) in FAMILY.items():
        box = {"boxstyle": "round,pad=0.45", "fc": "#D6EAF6", "ec": "#0072B2"}
        words = f"{name}\n{idea}"
        texts[name] = axes.text(*place, words, ha="center", va="center", fontsize=9, bbox=box)
    for name, (place, _, parents) in FAMILY.items():
        for parent in parents:
            start = FAMILY[parent][0]
            around = start[1] == place[1] and place[0] - start[0] > 1.5  # past a box between them
            arrow = {"arrowstyle": "-|>", "color": "#555555", "lw": 1.3, "shrinkA": 0, "shrinkB": 0}
            arrow["connectionstyle"] = "arc3,rad=-0.35" if around else "arc3"
            arrow["patchA"] = texts[parent].get_bbox_patch()
            arrow["patchB"] = texts[name].get_bbox_patch()
            axes.annotate("", place, start, arrowprops=arrow)
    return figure


def label(axes, points, gap):
    """Write each name beside its point {name: (x, y)}, moved up where it would cover another."""
    placed = []
    low, high = axes.get_xlim()
    reach = (high / low) ** 0.28  # a name is about so wide on the logarithmic axis
    for index, (name, (x, y)) in sorted(enumerate(points.items()), key=lambda item: item[1][1][1]):
        covered = [(a, h) for a, h in points.values() if x < a < reach * x]
        near = covered + [(a, h) for a, h in placed if max(x, a) < reach * min(x, a)]
        height = y
        while any(abs(height - h) < gap for _, h in near):
            height += gap / 8
        placed.append((x, height))
        start = x * (high / low) ** 0.03
        axes.plot([x, start], [y, height], color=COLOURS[index], lw=0.7)
        text = axes.text(start, height, f" {name}", va="center", fontsize=8.5, color=COLOURS[index])
        text.set_path_effects([withStroke(linewidth=2.5, foreground="white")])


def three_costs(rows, budgets):
    """Accuracy over FLOPs, parameters and seconds.

    rows: {name: (accuracy, accuracy and seconds of the short training, parameters, seconds)};
    budgets: FLOPs of the short training and of the whole one.
    """
    figure, panels = plt.subplots(1, 3, figsize=(11.4, 4.2), sharey=True)
    points = [{}, {}, {}]
    for index, (name, (top, low, brief, size, seconds)) in enumerate(rows.items()):
        points[0][name], points[1][name], points[2][name] = (
            (budgets[1], top),
            (size / 1e6, top),
            (seconds, top),
        )
        style = {"color": COLOURS[index], "marker": MARKERS[index]}
        panels[0].plot(budgets, [low, top], lw=1, ms=7, **style)
        panels[1].plot([size / 1e6], [top], ms=8, **style)
        panels[2].plot([brief, seconds], [low, top], lw=1, ms=7, **style)
    heights = [height for row in rows.values() for height in row[:2]]
    gap = 0.05 * (max(heights) - min(heights))
    names = ["training FLOPs", "million parameters", "training time in core seconds"]
    for axes, name, places in zip(panels, names, points, strict=True):
        axes.set(xscale="log", xlabel=name)
        axes.minorticks_off()
        low, high = axes.get_xlim()
        axes.set_xlim(low, high * (high / low) ** 0.4)  # room for the names
        label(axes, places, gap)
    panels[0].set_xticks(
        budgets, [f"{flops:.2g}".replace("e+", "e").replace("e0", "e") for flops in budgets]
    )
    for axes, choices in ((panels[1], (1, 2, 5)), (panels[2], (1, 2, 5))):
        low, high = axes.get_xlim()
        ticks = [c * 10.0**power for power in range(-4, 6) for c in choices]
        ticks = [tick for tick in ticks if low <= tick <= high]
        ticks = ticks[:: 1 + len(ticks) // 6]
        axes.set_xticks(ticks, [f"{tick:,g}" for tick in ticks])
    panels[0].set_ylabel("test accuracy in percent")
    return figure


def stacked(looks):
    """Horizontal bars. looks: {network: {title: {sort of work: number}}}; each bar is 100 %."""
    titles = next(iter(looks.values()))
    columns = {title: {name: each[title] for name, each in looks.items()} for title in titles}
    fills = ["#0072B2", "#56B4E9", "#D55E00", "#000000", "#E69F00", "#BBBBBB"]
    figure, panels = plt.subplots(1, len(columns), figsize=(10.4, 3.6), sharey=True)
    for axes, (title, rows) in zip(panels, columns.items(), strict=True):
        left = dict.fromkeys(rows, 0.0)
        for sort, fill in zip(next(iter(rows.values())), fills, strict=True):
            widths = [100 * row[sort] / sum(row.values()) for row in rows.values()]
            axes.barh(list(rows), widths, left=list(left.values()), color=fill, label=sort)
            left = {name: left[name] + wide for name, wide in zip(rows, widths, strict=True)}
        axes.set(xlabel="percent of a forward pass", title=title, xlim=(0, 100))
        axes.grid(False)
    panels[0].invert_yaxis()
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=3, fontsize=9)
    return figure
