"""A checkpoint becomes a file that rt can open, in reading order.

cli.py      export-trt
graph.py    SpeckNet to ONNX
parity.py   how far the file is from the network, in pixels
"""
