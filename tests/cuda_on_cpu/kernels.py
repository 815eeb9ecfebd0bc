#!/usr/bin/env python3
"""The table of kernels, tests/cuda_on_cpu/kernels.txt, from what nvcc left in build/device.

    kernels.py write build/device     writes it anew (make kernel-table)
    kernels.py check build/device     says what has grown or vanished; ends with status 1 then

Registers, shared memory and spills are ptxas's; mma (mma.sync or wgmma), async (cp.async of 16 bytes) and wide
(loads and stores of 16 bytes) are counted in the PTX of sm_80 and sm_90a, whichever has more; dynamic is the largest dynamic shared memory of the tests'
launches. Blocks per multiprocessor follow NVIDIA's occupancy rules: registers are given to warps in units of
256 and warps to four quarters of the register file, shared memory to blocks with 1 KiB of their own.
"""
import glob
import os
import re
import subprocess
import sys

TABLE = os.path.join(os.path.dirname(__file__), "kernels.txt")
COLUMNS = ["file", "threads", "regs80", "regs90", "regs100", "static", "dynamic", "A100", "H100", "mma", "async", "wide", "kernel"]
SHARED_PER_SM = {"A100": 164 << 10, "H100": 228 << 10}


def demangled(names):
    out = subprocess.run(["c++filt"], input="\n".join(names), capture_output=True, text=True, check=True).stdout
    short = []
    for text in out.splitlines():
        text = re.sub(r"^void ", "", text).replace("__nv_bfloat16", "bf16").replace("gpu::", "")
        depth = 0
        for i, c in enumerate(text):  # up to the parameter list
            depth += (c == "<") - (c == ">")
            if c == "(" and depth == 0 and not text.startswith("(anonymous", i):
                text = text[:i]
                break
        short.append(text.replace(", ", ","))
    return dict(zip(names, short))


def blocks(card, threads, registers, shared):
    warps = (threads + 31) // 32
    per_warp = (registers * 32 + 255) // 256 * 256
    by_registers = (65536 // 4 // per_warp) * 4 // warps
    by_shared = SHARED_PER_SM[card] // ((shared + 1024 + 127) // 128 * 128)
    return min(by_registers, by_shared, 64 // warps, 32)


def found(device):
    """(file, symbol): what nvcc says of the kernel."""
    kernels = {}
    for log in sorted(glob.glob(os.path.join(device, "cuda", "*.log"))):
        file = os.path.basename(log)[:-4] + ".cu"
        name = arch = None
        for line in open(log):
            if m := re.search(r"Compiling entry function '(\w+)' for 'sm_(\d+)a?'", line):
                name, arch = m.groups()
            elif name and (m := re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores", line)):
                k = kernels.setdefault((file, name), {"spills": 0, "static": 0})
                k["spills"] = max(k["spills"], int(m[1]), int(m[2]))
            elif name and (m := re.search(r"Used (\d+) registers", line)):
                kernels[file, name]["regs" + arch] = int(m[1])
                if m := re.search(r"(\d+) bytes smem", line):
                    kernels[file, name]["static"] = max(kernels[file, name]["static"], int(m[1]))
        ptx = open(log[:-4] + ".ptx").read()
        for m in re.finditer(r"\.entry (\w+)\((.*?)\n}\n", ptx, re.S):
            k, body = kernels[file, m[1]], m[2]
            threads = re.search(r"\.maxntid (\d+)(?:, (\d+))?(?:, (\d+))?", body)
            k["threads"] = eval("*".join(x or "1" for x in threads.groups())) if threads else 1024
            for column, pattern in (("mma", r"\b(?:mma\.sync|wgmma\.mma_async)"), ("async", r"\bcp\.async\.cg\S*shared"),
                                    ("wide", r"\b(?:ld|st)\.(?:\w+\.)*(?:v4\.[a-z]32|v2\.[a-z]64|b128)\b")):
                k[column] = max(k.get(column, 0), len(re.findall(pattern, body)))
    return kernels


def version():
    out = subprocess.run(["nvcc", "--version"], capture_output=True, text=True, check=True).stdout
    return re.search(r"release [\d.]+, V([\d.]+)", out)[1]


def write(device):
    kernels = found(device)
    dynamic = {}
    for line in open(os.path.join(device, "launches")):
        name, _, shared = line.split()
        dynamic[name] = max(dynamic.get(name, 0), int(shared))
    names = demangled(sorted({name for _, name in kernels}))
    rows = []
    for (file, name), k in kernels.items():
        k["dynamic"] = dynamic.get(name, 0)
        for card, regs in (("A100", k["regs80"]), ("H100", k["regs90"])):
            k[card] = blocks(card, k["threads"], regs, k["static"] + k["dynamic"])
        rows.append([file, *(str(k[c]) for c in COLUMNS[1:-1]), names[name]])
    rows.sort(key=lambda row: (row[0], row[-1]))
    widths = [max(len(row[i]) for row in rows + [COLUMNS]) for i in range(len(COLUMNS) - 1)]
    with open(TABLE, "w") as out:
        print(f"# nvcc {version()}; written by make kernel-table, explained in kernels.py. static and dynamic: bytes "
              "of shared memory;\n# A100, H100: blocks per multiprocessor.", file=out)
        for row in [COLUMNS] + rows:
            print("  ".join([row[0].ljust(widths[0])] + [x.rjust(w) for x, w in zip(row[1:-1], widths[1:])] + [row[-1]]), file=out)
    print(f"{TABLE}: {len(rows)} kernels")


def check(device):
    lines = open(TABLE).read().splitlines()
    table_version = lines[0].split()[2].rstrip(";")
    rows = [dict(zip(COLUMNS, line.split(None, len(COLUMNS) - 1))) for line in lines[3:]]
    table = {(row["file"], row["kernel"]): row for row in rows}
    kernels = found(device)
    names = demangled(sorted({name for _, name in kernels}))
    bad = []
    for (file, symbol), k in sorted(kernels.items()):
        name = names[symbol]
        row = table.pop((file, name), None)
        if k["spills"]:
            bad.append(f"{file} {name}: {k['spills']} bytes of spills or stack")
        if row is None:
            bad.append(f"{file} {name}: not in the table")
            continue
        if 49152 - k["static"] < int(row["dynamic"]) <= 36864:
            bad.append(f"{file} {name}: {k['static']} + {row['dynamic']} bytes of shared memory, which launch_configured does not ask for")
        for column in ("regs80", "regs90", "regs100", "static"):
            if k[column] > int(row[column]) and version() == table_version:
                bad.append(f"{file} {name}: {column} has grown from {row[column]} to {k[column]}")
        for column in ("mma", "async", "wide"):
            if int(row[column]) and not k[column]:
                bad.append(f"{file} {name}: no {column} any more, there were {row[column]}")
    bad += [f"{file} {name}: in the table, but there is no such kernel" for file, name in table]
    for line in bad:
        print(line)
    if bad:
        print("if that is meant: make kernel-table, and commit tests/cuda_on_cpu/kernels.txt")
    else:
        print(f"kernel table: {len(kernels)} kernels are as it says")
    return bool(bad)


if __name__ == "__main__":
    sys.exit({"write": write, "check": check}[sys.argv[1]](sys.argv[2]))
