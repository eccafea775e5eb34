"""Started by torchrun with a configuration: one run of several processes, each of which keeps its parameters."""

import sys
from pathlib import Path

import torch

from specktrack.training.config import load_train_config
from specktrack.training.train import Trainer

if __name__ == "__main__":
    trainer = Trainer(load_train_config(Path(sys.argv[1])))
    trainer.run()
    parameters = {name: value.detach() for name, value in trainer.network.named_parameters()}
    torch.save(parameters, trainer.out / f"rank{trainer.fabric.global_rank}.pt")
