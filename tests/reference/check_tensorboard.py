#!/usr/bin/env python3
"""Reads the event files of runs with the PyPI package tensorboard and compares them with metrics.jsonl.

    check_tensorboard.py RUN...     every number of every step must be there, once, in f32
    check_tensorboard.py            prints the golden bytes of tests/report/tensorboard_test.cpp
"""
import glob
import io
import json
import sys

import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.summary.writer.record_writer import RecordWriter


def golden():
    version = Event(wall_time=1.5, file_version="brain.Event:2")
    scalars = Event(wall_time=1.5, step=300)
    scalars.summary.value.add(tag="loss", simple_value=0.5)
    scalars.summary.value.add(tag="seconds/decode", simple_value=-2)
    for event in (version, scalars):
        out = io.BytesIO()
        out.close, close = (lambda: None), out.close
        RecordWriter(out).write(event.SerializeToString())
        print(out.getvalue().hex())


def numbers(line, prefix=""):
    for key, value in line.items():
        if isinstance(value, dict):
            yield from numbers(value, prefix + key + "/")
        elif isinstance(value, (int, float)) and not isinstance(value, bool) and prefix + key != "step":
            yield prefix + key, value


def check(run):
    files = glob.glob(f"{run}/events.out.tfevents.*")
    assert len(files) == 1, files
    events = EventAccumulator(files[0], size_guidance={"scalars": 0, "tensors": 0})
    events.Reload()
    found = {}
    for tag in events.Tags()["scalars"]:
        for point in events.Scalars(tag):
            assert (tag, point.step) not in found, f"{tag} stands twice at step {point.step}"
            found[tag, point.step] = point.value
    for tag in events.Tags()["tensors"]:  # newer versions turn scalars into tensors while reading
        for point in events.Tensors(tag):
            assert (tag, point.step) not in found, f"{tag} stands twice at step {point.step}"
            found[tag, point.step] = point.tensor_proto.float_val[0]
    lines = [json.loads(line) for line in open(f"{run}/metrics.jsonl")]
    wanted = {(tag, line["step"]): value for line in lines for tag, value in numbers(line)}
    assert found.keys() == wanted.keys(), sorted(found.keys() ^ wanted.keys())[:5]
    for key, value in wanted.items():
        assert np.float32(value) == np.float32(found[key]), (key, value, found[key])
    print(f"{run}: {len(lines)} steps, {len(wanted)} numbers agree")


for name in sys.argv[1:]:
    check(name)
if len(sys.argv) == 1:
    golden()
