#!/usr/bin/env python3
"""Breaks each barrier, atomic and wait of cuda/ once and shows what notices.

    mutate.py [FILE...]      cuda/*.cu and cuda/*.cuh by default; minutes per fault, run by hand

A barrier is removed, an atomic becomes a plain read and write, a wait for asynchronous copies or for earlier
launches returns at once.
The access checker runs first; where it is silent, the kernels' tests run in three orders of threads. Works on a
copy in build/mutate; ends with status 1 if something went unnoticed, which then is a test that is missing or
a barrier that is not needed.
"""
import glob
import os
import re
import shutil
import subprocess
import sys

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "../.."))
COPY = os.path.join(ROOT, "build", "mutate")
ORDERS = ["forward", "reverse", "random"]
CALLS = re.compile(r"__syncthreads(?:_or|_and|_count)?\(|__syncwarp\(|\batomic(?:Add|Max|Min|Exch|CAS)\(|\.(?:template )?wait<[^<>]+>\(|"
                   r"\bwait_for_earlier_launches\(")


def closing(text, start):
    """The place after the bracket that closes the one before `start`."""
    depth = 1
    while depth:
        depth += {"(": 1, ")": -1}.get(text[start], 0)
        start += 1
    return start


def faults(text):
    for m in CALLS.finditer(text):
        if text[text.rfind("\n", 0, m.start()) + 1:m.start()].lstrip().startswith("//"):
            continue
        end = closing(text, m.end())
        call, arguments = m[0], text[m.end():end - 1]
        if "void wait" in text[m.start() - 20:m.end()]:
            continue
        if "wait<" in call:
            changed = text[:m.start()] + text[m.start():m.end()].replace("wait<", "wait<99 + ") + text[m.end():]
        else:
            if call.startswith("atomic"):
                to, value = arguments.split(",", 1)
                with_ = {"atomicAdd(": f"(*({to}) += {value})", "atomicMax(": f"(*({to}) = max(*({to}), {value}))",
                         "atomicMin(": f"(*({to}) = min(*({to}), {value}))"}.get(call)
                if not with_:
                    continue
            elif "_or(" in call or "_and(" in call or "_count(" in call:
                with_ = f"({arguments})"  # every thread its own vote
            else:
                with_ = "((void)0)"
            changed = text[:m.start()] + with_ + text[end:]
        line = text.count("\n", 0, m.start()) + 1
        yield line, call.strip("(."), changed


def run(command, **env):
    return subprocess.run(command, cwd=COPY, env={**os.environ, "OMP_WAIT_POLICY": "passive", **env},
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=1800)


def build(target):
    done = run(["make", "-s", "-j2", f"CXX={os.environ.get('CXX', 'g++')}", f"build/{target}"])
    if done.returncode:
        sys.exit(f"mutate.py: make {target} failed\n{done.stdout}")


def tests(program, suites, **env):
    return run([f"build/{program}", "--gtest_brief=1", "--gtest_fail_fast", f"--gtest_filter={suites}-*Slow*"], **env)


def noticed(file=None):
    build("cuda_checked")
    if file:  # the suite of the file's name is likely to notice, and soon
        done = tests("cuda_checked", f"Gpu{re.split('[_.]', os.path.basename(file))[0].capitalize()}*")
    if not file or not done.returncode:
        done = tests("cuda_checked", "Gpu*")
    if done.returncode:
        kinds = sorted(set(re.findall(r"(?:read|write)-(?:read|write) race|uninitialised|deadlock|meets the others", done.stdout)))
        return "checker: " + (", ".join(kinds) or "a test fails")
    build("cuda_tests")
    wrong = [order for order in ORDERS
             if tests("cuda_tests", "Gpu*", CUSIM_ORDER=order, CUSIM_STREAMS="lazy").returncode]
    return "orders: " + ", ".join(wrong) if wrong else None


def main():
    shutil.rmtree(COPY, ignore_errors=True)
    os.makedirs(os.path.join(COPY, "build"))
    for name in ("src", "cuda", "tests", "Makefile"):
        copy = shutil.copytree if os.path.isdir(os.path.join(ROOT, name)) else shutil.copy2
        copy(os.path.join(ROOT, name), os.path.join(COPY, name))
    for name in ("src", "tests", "standin", "checked", "cuda_tests", "cuda_checked", "backend"):
        path = os.path.join(ROOT, "build", name)
        if os.path.isdir(path):
            shutil.copytree(path, os.path.join(COPY, "build", name))
        elif os.path.exists(path):
            shutil.copy2(path, os.path.join(COPY, "build", name))
    files = sys.argv[1:] or sorted(glob.glob("cuda/*.cu*", root_dir=ROOT))
    if before := noticed():
        sys.exit(f"mutate.py: the unchanged kernels already fail ({before})")
    unnoticed = 0
    for file in files:
        path = os.path.join(COPY, file)
        text = open(path).read()
        for line, call, changed in faults(text):
            open(path, "w").write(changed)
            try:
                what = noticed(file)
            except subprocess.TimeoutExpired:
                what = "does not end"
            unnoticed += what is None
            print(f"{file}:{line:<4} {call:<16} {what or 'NOTHING NOTICES'}", flush=True)
        open(path, "w").write(text)
    print(f"{unnoticed} went unnoticed")
    return unnoticed > 0


sys.exit(main())
