"""A checkpoint becomes a file that rt can open, in reading order.

cli.py          export-trt
graph.py        SpeckNet to ONNX
versions.py     what made a file, for its card
match_graph.py  its matching head, for engines whose features stay on a device
half.py         FP32 ONNX to strongly typed FP16, by a precision plan
audit.py        what a device would compute wrongly without a word: refused, with the node's name
model_files.py  all files of a model; confidence.py (calibration)
verification.py how far they are from the network; comparison.py (clips and the table; rt/parity.py)
plan_files.py   TensorRT plans of a model: cache, checks, card; build_config.py, plan_table.py (--list, --inspect)
trt_build.py    ONNX to one plan

Trackers of others (docs/baselines.md)
baseline_command.py   export-trt NAME:WEIGHTS
baseline_export.py    their files: FP32, FP16 (baseline_half.py), cards (baseline_manifest.py)
baselines.py          each by name: baseline_stages.py (how it is cut), baseline_follow.py (how a host drives its file)
baseline_graph.py     stages to one graph
baseline_parity.py    how far a file is from the network
"""
