"""Settings files that ship with the product: daemon.yaml for rt-serve, train/*.yaml for train-tracker."""
