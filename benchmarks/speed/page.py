"""The tables of docs/performance.md, from the results that are kept.

    python benchmarks/speed/page.py

puts them in anew; `bench.py` does it for its own.
"""

from pathlib import Path
from typing import Any

from ecgtune.utils import formatting
from ecgtune.utils.files import read_json, write_text

PAGE = Path(__file__).parents[2] / "docs" / "performance.md"
RESULTS = Path(__file__).parents[1] / "results"


def table(result: dict[str, Any]) -> str:
    """Markdown: what was run on what, then a line per row of the result."""
    encoder, rates, machine = result["encoder"], result["rates"], result["machine"]
    leads, samples = result["signal"]
    device = machine["accelerator"] if result["device"] != "cpu" else machine["processor"]
    spelled = (
        f"{device}, {machine['threads']} threads, PyTorch {machine['versions']['torch']}, {result['date'][:10]}.",
        f"Encoder of {encoder['depth']} layers, width {encoder['width']}, {result['weights']} weights;",
        f"windows of {leads} x {samples} samples, batch {result['batch']},",
        f"an epoch of {result['epoch_windows']} windows; medians of {result['rounds']} rounds.",
        f"Measured on this machine in the same run: {rates['bf16'] / 1e9:,.0f} GFLOP/s in bf16,",
        f"{rates['fp32'] / 1e9:,.0f} in float32, {rates['bytes'] / 1e9:.1f} GB/s.",
    )
    lines = [
        " ".join(spelled),
        "",
        "| work | original | ours | ratio | must | aim | floor: arithmetic, traffic | ours / floor |",
        "|---|---|---|---|---|---|---|---|",
    ]
    notes = []
    for row in result["rows"]:
        mark = ""
        if row["note"]:
            notes.append(f"{len(notes) + 1}. {row['title']}: {row['note']}.")
            mark = f" ({len(notes)})"
        floor = row["floor"]
        cells = (
            row["title"] + mark,
            _amount(row["original"], row["unit"]),
            _amount(row["ours"], row["unit"]),
            _times(row["ratio"]),
            f"{row['must']:g}x",
            f"{row['aim']:g}x",
            "" if floor is None else f"{_amount(floor['arithmetic'], 's')}, {_amount(floor['traffic'], 's')}",
            _times(row["ours_over_floor"]),
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, *([""] if notes else []), *notes]) + "\n"


def tried(folder: Path = RESULTS) -> str:
    """Markdown: what the benchmarks of single changes found, a line for each size and dtype."""
    lines = ["| change | where | before | after | ratio |", "|---|---|---|---|---|"]

    def line(change: str, where: str, before: float, after: float) -> None:
        lines.append(f"| {change} | {where} | {before:,.0f} ms | {after:,.0f} ms | {before / after:.2f}x |")

    for row in read_json(folder / "attention.json")["rows"]:
        line("explicit attention products", f"{row['size']}, {row['dtype']}", row["fused"], row["explicit"])
    for row in read_json(folder / "lora_layer.json")["rows"]:
        line("LoRA's update as one product", f"{row['size']}, {row['dtype']}", row["peft"], row["one product"])
    for row in read_json(folder / "oft_layer.json")["rows"]:
        line("OFT's rotation in the weights", f"{row['size']}, {row['dtype']}", row["peft"], row["turned weights"])
    for row in read_json(folder / "positional.json")["rows"]:
        where = f"{row['size']}, {row['taps']} taps, {row['dtype']}, one forward pass"
        line("frozen positional convolution by its spectrum", where, row["convolution"], row["spectrum"])
    for row in read_json(folder / "qkv.json")["rows"]:
        line(
            "queries, keys, values as one product (not made)",
            f"{row['size']}, {row['dtype']}",
            row["three"],
            row["one"],
        )
    for row in read_json(folder / "torch_compile.json")["rows"]:
        line("torch.compile (not made)", f"{row['size']}, bfloat16", row["as it is"], row["compiled"])
    for row in read_json(folder / "frozen_casts.json")["rows"]:
        where = f"{row['size']}, {row['method']}, bfloat16"
        line("frozen weights held in bf16 outside LoRA (not made)", where, row["cast"], row["held"])
    faults = read_json(folder / "page_faults.json")
    before, after = faults["given back"]["milliseconds"], faults["kept"]["milliseconds"]
    line("freed memory is kept", "ecg-fm-tiny, r4, 64 windows of 6 s, bfloat16", before, after)
    return "\n".join(lines) + "\n"


def utilisation(results: dict[str, Any]) -> str:
    """Markdown: how much of the matrix rate LoRA's step reaches, a line per device and kind of window."""
    lines = [
        "| device | windows | batch | a step | products per second | of the measured rate | must, on a GPU |",
        "|---|---|---|---|---|---|---|",
    ]
    ends = []
    for result in results.values():
        machine = result["machine"]
        device = machine["processor"] if result["device"] == "cpu" else machine["accelerator"]
        for row in result["rows"]:
            cells = (
                f"{device}, {result['date'][:10]}",
                row["title"],
                f"{row['batch']:,}",
                _amount(row["seconds"], "s"),
                f"{row['operations'] / row['seconds'] / 1e12:.2f} TFLOP/s",
                f"{100 * row['utilisation']:.0f} %",
                f"{100 * row['must']:.0f} %",
            )
            lines.append("| " + " | ".join(cells) + " |")
        long = result["rows"][-1]
        ends.append(
            f"{result['epochs']} epochs of {result['windows']:,} windows of one lead on {device}: "
            f"{formatting.duration(60 * long['minutes'])}, from the steps of an epoch of {long['windows']:,} "
            f"(must, on a GPU: under {result['must_minutes']:g} minutes)."
        )
    return "\n".join([*lines, "", *ends]) + "\n"


def planned(result: dict[str, Any]) -> str:
    """Markdown: what `ecgtune plan` told and what then happened, a line per method."""
    machine = result["machine"]
    lines = [
        f"{machine['processor']}, {machine['threads']} threads, {result['date'][:10]}: {result['model']}, "
        f"{result['windows']:,} simulated windows, {result['epochs']} epochs, batch {result['batch_size']}.",
        "",
        "| method | time: told, taken | peak memory: told, taken | disk: told, taken | file: told, written |",
        "|---|---|---|---|---|",
    ]
    for row in result["methods"]:
        told, real, ratio = row["estimated"], row["happened"], row["estimated_over_happened"]
        cells = [row["method"]]
        for name, text in (
            ("seconds", formatting.duration),
            ("peak_memory_bytes", formatting.size),
            ("disk_bytes", formatting.size),
            ("file_bytes", formatting.size),
        ):
            cells.append(f"{text(told[name])}, {text(real[name])} ({ratio[name]:.2f})")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def limited(result: dict[str, Any]) -> str:
    """Markdown: what `max_memory` chose and the peak of the training, a line per limit."""
    machine = result["machine"]
    lines = [
        f"{machine['processor']}, {machine['threads']} threads, {result['date'][:10]}: LoRA on {result['model']}, "
        f"{result['windows']:,} simulated windows of one lead, one epoch, batch {result['batch_size']}.",
        "",
        "| `--max-memory` | pieces of a batch | checkpointing | peak |",
        "|---|---|---|---|",
    ]
    for row in result["rows"]:
        cells = (
            row["limit"] or "not given",
            str(row["accumulate"]),
            "yes" if row["checkpointing"] else "no",
            formatting.size(row["peak_memory_bytes"]),
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def epochs(result: dict[str, Any]) -> str:
    """Markdown: seconds of an epoch of ecg-fm-tiny, a line per way of training it."""
    machine = result["machine"]
    lines = [
        f"{machine['processor']}, {machine['threads']} threads, {result['date'][:10]}: "
        f"{result['windows']:,} windows of {result['samples']} samples, {result['precision']}.",
        "",
        "| ecg-fm-tiny | trainable | s before the first epoch | s an epoch |",
        "|---|---|---|---|",
    ]
    for arm in result["arms"]:
        before, epoch = (formatting.seconds(arm[name]) for name in ("seconds_before", "seconds_per_epoch"))
        lines.append(f"| {arm['arm']} | {100 * arm['trainable_share']:.2f} % | {before} | {epoch} |")
    return "\n".join(lines) + "\n"


def methods_table(result: dict[str, Any]) -> str:
    """Markdown: what a step of each method costs, a table per encoder."""
    machine = result["machine"]
    lines = [f"{machine['processor']}, {machine['threads']} threads, {result['date'][:10]}, bf16."]
    for size in result["sizes"]:
        lines += [
            "",
            f"| {size['size']} | trainable | a step, encoder run anew | beside LoRA's | encoder computed once | beside "
            "LoRA's | kept for the backward pass | beside LoRA's |",
            "|---|---|---|---|---|---|---|---|",
        ]
        for row in size["rows"]:
            cells = (
                row["method"],
                f"{100 * row['trainable_share']:.2f} %",
                _amount(row["seconds"], "s"),
                f"{row['seconds_over_lora']:.2f}x",
                _amount(row["seconds_once"], "s"),
                f"{row['seconds_once_over_lora']:.2f}x",
                formatting.size(row["kept_bytes"]),
                f"{row['kept_bytes_over_lora']:.2f}x",
            )
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def growth_table(result: dict[str, Any]) -> str:
    """Markdown: what a doubling of each size costs, a line per method, and the figure."""
    machine, base, axes = result["machine"], result["base"], result["axes"]
    methods = list(dict.fromkeys(row["method"] for row in result["rows"]))
    lines = [
        f"{machine['processor']}, {machine['threads']} threads, {result['date'][:10]}, bf16. What the last doubling",
        "multiplies by, of training windows for an epoch of ecg-fm-tiny, of the others for a step of ECG-FM",
        f"({base['depth']} layers, {base['leads']} x {base['samples']} samples, rank {base['rank']},",
        f"batch {base['batch']}, random weights):",
        "",
        "| time, memory | " + " | ".join(f"{title} {_doubling(result, axis)}" for axis, title in axes.items()) + " |",
        "|---" * (1 + len(axes)) + "|",
    ]
    for method in methods:
        cells = [method, *(_factors(result, axis, method) for axis in axes)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", "![How time and memory grow](../benchmarks/results/growth.svg)"]) + "\n"


def _doubling(result: dict[str, Any], axis: str) -> str:
    before, after = sorted({row["value"] for row in result["rows"] if row["axis"] == axis})[-2:]
    return f"{before:,} to {after:,}"


def _factors(result: dict[str, Any], axis: str, method: str) -> str:
    rows = [row for row in result["rows"] if (row["axis"], row["method"]) == (axis, method)]
    if not rows:
        return ""
    before, after = sorted(rows, key=lambda row: row["value"])[-2:]
    return ", ".join(f"{after[key] / before[key]:.2f}x" for key in ("seconds", "bytes"))


def records(result: dict[str, Any]) -> str:
    """Markdown: what the first pass over a folder of recordings takes, beside the libraries alone."""
    spent, memory = result["seconds"], result["peak_memory_bytes"]
    epoch = {way: min(times) for way, times in result["epoch_seconds"].items()}
    lines = [
        f"{result['recordings']:,} simulated recordings of 12 leads, 10 s at 500 Hz as WFDB "
        f"({formatting.size(result['file_bytes'])}), resampled to 100 Hz, "
        f"{result['workers']} processes, {result['date']}.",
        "",
        "| | seconds | peak memory of all processes |",
        "|---|---|---|",
        f"| wfdb and scipy alone, nothing is kept | {spent['alone']:.1f} | {formatting.size(memory['alone'])} |",
        f"| first pass, with all checks, into the cache | {spent['first']:.1f} | {formatting.size(memory['first'])} |",
        f"| from the cache, every sample touched | {spent['second']:.1f} | {formatting.size(memory['second'])} |",
        f"| an epoch of the residual network from memory | {epoch['memory']:.1f} | |",
        f"| the same from the cache | {epoch['cache']:.1f} | |",
        "",
        f"The first pass goes at {result['speed_over_alone']:.2f} times the speed of the libraries alone.",
    ]
    return "\n".join(lines) + "\n"


def int8(result: dict[str, Any]) -> str:
    """Markdown: a linear layer by each format, and how often predictions are those of float32."""
    formats = ("fp32", "bf16", "int8")
    lines = ["| processor time of a layer | float32 | bf16 | int8 | int8 beside bf16 |", "|---|---|---|---|---|"]
    for row in result["layers"]:
        times = " | ".join(f"{row[name]:.1f} ms" for name in formats)
        lines.append(f"| {' to '.join(map(str, row['layer']))} | {times} | {row['bf16'] / row['int8']:.2f}x |")
    lines += [
        "",
        "| after fine-tuning on simulated windows | AUROC of its test split | windows | bf16: same answer, largest "
        "difference | int8: same answer, largest difference |",
        "|---|---|---|---|---|",
    ]
    for model in result["models"]:
        rows = {row["precision"]: row for row in model["predictions"]}
        cells = [
            f"{100 * rows[name]['agreement']:.1f} %, {rows[name]['largest_difference']:.3f}" for name in formats[1:]
        ]
        lines.append(f"| {model['model']} | {model['auroc']:.3f} | {model['windows']:,} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def into_page(name: str, text: str) -> None:
    """Put `text` where docs/performance.md has its place, between two comments with its name."""
    page = PAGE.read_text(encoding="utf-8")
    start, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
    before, rest = page.split(start)
    write_text(PAGE, before + start + text + end + rest.split(end)[1])


def _amount(value: float | None, unit: str) -> str:
    if value is None:
        return "not measured"
    if unit == "bytes":
        return formatting.size(value)
    if unit == "records/s":
        return f"{value:.3g} records/s"
    if value >= 1:
        return f"{value:.1f} s"
    return f"{1e3 * value:.3g} ms" if value >= 1e-3 else f"{1e6 * value:.3g} µs"


def _times(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}x" if value < 1000 else f"{value:,.0f}x"


def contents() -> dict[str, str]:
    """All tables by the name of their place, from the results that are kept; what is not measured yet says so."""
    makers = {"speed": table, "plan": planned, "lora_epoch": epochs, "methods": methods_table, "growth": growth_table}
    kept = {name: RESULTS / f"{name}.json" for name in makers}
    makers["utilisation"], kept["utilisation"] = utilisation, RESULTS / "utilisation.json"
    makers["plan_full_size"], kept["plan_full_size"] = planned, RESULTS / "plan_full_size.json"
    makers["max_memory"], kept["max_memory"] = limited, RESULTS / "max_memory.json"
    makers["int8"], kept["int8"] = int8, RESULTS / "int8.json"
    makers["records"], kept["records"] = records, RESULTS / "records_cache.json"
    missing = "Not measured yet.\n"
    tables = {name: makers[name](read_json(file)) if file.exists() else missing for name, file in kept.items()}
    for file in sorted(RESULTS.glob("speed_*.json")):  # those of other devices
        tables["speed"] += "\n" + table(read_json(file))
    return {**tables, "tried": tried()}


if __name__ == "__main__":
    for place, content in contents().items():
        into_page(place, content)
