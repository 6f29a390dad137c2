"""Attention that serves every encoding and knows none of them.

`kernels` computes softmax(q·k/√d + bias)·v, `cache` keeps what decoding has seen, and `self_attention` is the
layer that asks an encoding what to do with its queries and keys.
"""
