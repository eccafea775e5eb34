"""Networks, the hearts they learn from, and how good they are; the only room of torch. In reading order.

specknet.py    the network
head.py        cost volumes, power, intersection, soft argmax
losses.py      what training minimises
train.py       train-tracker: config.py (settings), data.py (examples), augment.py, checkpoint.py
evaluate.py    eval-tracker: metrics.py (figures), classical.py (Lucas-Kanade, DIS flow to compare with)
calibration.py confidence that means a probability
phantom.py     synthetic echo: heart.py (motion), anatomy.py (brightness), ultrasound.py (the scanner)
simulate.py    simulate-echo: clip_format.py (the training clip)
"""
