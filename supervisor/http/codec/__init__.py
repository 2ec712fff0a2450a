"""The codec: the Open Inference Protocol's JSON and binary tensors, both ways."""
